#include "transports/ucx/ucx_address.h"

#include <gtest/gtest.h>

namespace kvferry {
namespace {

TEST(UcxAddress, RoundTrips) {
  const std::string worker_address("worker\0address", 14);
  const std::string address = encode_ucx_address(PeerClass::kNetwork, worker_address);
  EXPECT_EQ(address.size(), worker_address.size() + 20);
  const auto decoded = decode_ucx_address(PeerClass::kNetwork, address);
  ASSERT_TRUE(decoded.has_value()) << decoded.error().to_string();
  EXPECT_EQ(*decoded, worker_address);
}

TEST(UcxAddress, RefusesAnotherClass) {
  const std::string address = encode_ucx_address(PeerClass::kNetwork, "address");
  const auto decoded = decode_ucx_address(PeerClass::kSameHostShm, address);
  ASSERT_FALSE(decoded.has_value());
  EXPECT_EQ(decoded.error().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(decoded.error().message().find("network"), std::string_view::npos);
}

TEST(UcxAddress, RefusesEveryDamagedOrCutAddress) {
  const std::string address = encode_ucx_address(PeerClass::kNetwork, "a worker's address");
  for (size_t i = 0; i < address.size(); ++i) {
    std::string damaged = address;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    EXPECT_FALSE(decode_ucx_address(PeerClass::kNetwork, damaged).has_value()) << "byte " << i;
    EXPECT_FALSE(decode_ucx_address(PeerClass::kNetwork, address.substr(0, i)).has_value())
        << "cut to " << i;
  }
  EXPECT_FALSE(decode_ucx_address(PeerClass::kNetwork, std::string(1 << 20, 'x')).has_value());
}

}  // namespace
}  // namespace kvferry
