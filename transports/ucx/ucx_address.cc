#include "transports/ucx/ucx_address.h"

#include <xxhash.h>

#include <cstdint>
#include <cstring>

namespace kvferry {
namespace {

constexpr std::string_view kMagic = "KVFU";
constexpr uint8_t kVersion = 1;
constexpr size_t kPrefixBytes = 20;
constexpr size_t kMaxAddressBytes = 64 * 1024;

void append_little_endian(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

std::string prefix_of(PeerClass peer_class, std::string_view worker_address) {
  std::string prefix(kMagic);
  append_little_endian(prefix, kVersion, 1);
  append_little_endian(prefix, static_cast<uint8_t>(peer_class), 1);
  append_little_endian(prefix, 0, 2);
  append_little_endian(prefix, worker_address.size(), 4);
  append_little_endian(prefix, XXH3_64bits(worker_address.data(), worker_address.size()), 8);
  return prefix;
}

}  // namespace

std::string encode_ucx_address(PeerClass peer_class, std::string_view worker_address) {
  return prefix_of(peer_class, worker_address).append(worker_address);
}

Result<std::string_view> decode_ucx_address(PeerClass peer_class, std::string_view address) {
  if (address.size() <= kPrefixBytes || address.size() > kMaxAddressBytes ||
      !address.starts_with(kMagic) || static_cast<uint8_t>(address[4]) != kVersion) {
    return make_error(StatusCode::kInvalidArgument,
                      "the peer's address (" + std::to_string(address.size()) +
                          " bytes) is none of this version's ucx addresses; pass what its "
                          "link's address() returned");
  }
  const auto peer = static_cast<PeerClass>(address[5]);
  if (peer != peer_class) {
    return make_error(StatusCode::kInvalidArgument,
                      "the peer opened its link for class " + std::string(peer_class_name(peer)) +
                          ", this one is for " + std::string(peer_class_name(peer_class)) +
                          "; both sides must choose the same");
  }
  const std::string_view worker_address = address.substr(kPrefixBytes);
  if (address.substr(0, kPrefixBytes) != prefix_of(peer_class, worker_address)) {
    return make_error(StatusCode::kInvalidArgument, "the peer's ucx address (" +
                                                        std::to_string(address.size()) +
                                                        " bytes) was cut or damaged on its way");
  }
  return worker_address;
}

}  // namespace kvferry
