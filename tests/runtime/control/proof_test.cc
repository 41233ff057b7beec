#include "runtime/control/proof.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "core/wire.h"

namespace kvferry {
namespace {

constexpr Nonce kConnectorNonce{std::byte{1}};
constexpr Nonce kListenerNonce{std::byte{2}};

Proof proof_of(std::string_view token, ControlRole speaker, const Nonce& connector,
               const Nonce& listener, std::string_view statement) {
  return prove(token, speaker, connector, listener, std::as_bytes(std::span(statement))).value();
}

// From Python: hmac.new(b"secret", b"kvferry control 1" + bytes([0]) + bytes([1] + [0]*15) +
// bytes([2] + [0]*15) + b"me", "sha256").hexdigest()
TEST(Proof, IsTheHmacThatTheProtocolNames) {
  const Proof proof =
      proof_of("secret", ControlRole::kConnector, kConnectorNonce, kListenerNonce, "me");
  std::string hex;
  for (const std::byte byte : proof) {
    char digits[3];
    std::snprintf(digits, sizeof(digits), "%02x", std::to_integer<unsigned>(byte));
    hex += digits;
  }
  EXPECT_EQ(hex, "10d663f67e0b281f3b457da0dec4b62d5384316b3e5f69897bac66a86ebce848");
}

TEST(Proof, DependsOnAllThatItIsOver) {
  const Proof proof =
      proof_of("secret", ControlRole::kConnector, kConnectorNonce, kListenerNonce, "me");
  EXPECT_TRUE(are_equal(
      proof, proof_of("secret", ControlRole::kConnector, kConnectorNonce, kListenerNonce, "me")));
  EXPECT_FALSE(are_equal(
      proof, proof_of("secres", ControlRole::kConnector, kConnectorNonce, kListenerNonce, "me")));
  EXPECT_FALSE(are_equal(
      proof, proof_of("secret", ControlRole::kListener, kConnectorNonce, kListenerNonce, "me")));
  EXPECT_FALSE(are_equal(
      proof, proof_of("secret", ControlRole::kConnector, kListenerNonce, kConnectorNonce, "me")));
  EXPECT_FALSE(are_equal(
      proof, proof_of("secret", ControlRole::kConnector, kConnectorNonce, kListenerNonce, "you")));
}

}  // namespace
}  // namespace kvferry
