#include "runtime/control/proof.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "core/wire.h"

namespace kvferry {

Result<Proof> prove(std::string_view token, ControlRole speaker, const Nonce& connector,
                    const Nonce& listener, std::span<const std::byte> statement) {
  WireWriter message;
  message.raw("kvferry control 1");
  message.u8(static_cast<uint8_t>(speaker));
  message.bytes(connector);
  message.bytes(listener);
  message.bytes(statement);
  Proof proof{};
  unsigned int size = 0;
  const unsigned char* const made =
      ::HMAC(::EVP_sha256(), token.data(), static_cast<int>(token.size()),
             reinterpret_cast<const unsigned char*>(message.view().data()), message.size(),
             reinterpret_cast<unsigned char*>(proof.data()), &size);
  if (made == nullptr || size != proof.size()) {
    return make_error(StatusCode::kInternal,
                      "OpenSSL makes no HMAC-SHA256, so peers cannot be told from strangers");
  }
  return proof;
}

bool are_equal(const Proof& a, const Proof& b) {
  return ::CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace kvferry
