#include "runtime/control/proof.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "core/wire.h"

namespace kvferry {

Proof prove(std::string_view token, ControlRole speaker, const Nonce& connector,
            const Nonce& listener, std::span<const std::byte> statement) {
  WireWriter message;
  message.raw("kvferry control 1");
  message.u8(static_cast<uint8_t>(speaker));
  message.bytes(connector);
  message.bytes(listener);
  message.bytes(statement);
  Proof proof{};
  unsigned int size = 0;
  ::HMAC(::EVP_sha256(), token.data(), static_cast<int>(token.size()),
         reinterpret_cast<const unsigned char*>(message.view().data()), message.size(),
         reinterpret_cast<unsigned char*>(proof.data()), &size);
  return proof;
}

bool are_equal(const Proof& a, const Proof& b) {
  return ::CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace kvferry
