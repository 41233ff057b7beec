#pragma once

#include <string>
#include <string_view>

#include "kvferry/transport.h"

namespace kvferry {

/// A link's address: a UCX worker address and the class of peers that it is for.
///
/// UCX trusts an address that it is given, so a prefix guards it: "KVFU", version 1, class, two
/// zero bytes, u32 length of the worker address, u64 XXH3-64 of it (little-endian); 20 bytes in
/// all.
std::string encode_ucx_address(PeerClass peer_class, std::string_view worker_address);

/// The worker address within; a view into `address`.
/// Errors: kInvalidArgument for another class or version, a cut or damaged address.
Result<std::string_view> decode_ucx_address(PeerClass peer_class, std::string_view address);

}  // namespace kvferry
