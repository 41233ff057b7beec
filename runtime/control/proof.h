#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kvferry/status.h"

namespace kvferry {

/// Which end of a control connection speaks. Part of a proof, so that neither side's can be thrown
/// back at it.
enum class ControlRole : uint8_t { kConnector, kListener, kInspector };

using Nonce = std::array<std::byte, 16>;
using Proof = std::array<std::byte, 32>;

/// Shows that the speaker knows `token`, without showing the token: HMAC-SHA256 (RFC 2104) keyed
/// with it, over the role, both sides' fresh nonces, and what the speaker says of itself.
///
/// It keeps strangers out. It does not encrypt, and does not stop one who can change what is under
/// way between two peers: for that the network must be trusted, or a tunnel used.
///
/// Errors: kInternal if the cryptographic library refuses.
Result<Proof> prove(std::string_view token, ControlRole speaker, const Nonce& connector,
                    const Nonce& listener, std::span<const std::byte> statement);

/// In a time that does not depend on where they differ.
bool are_equal(const Proof& a, const Proof& b);

}  // namespace kvferry
