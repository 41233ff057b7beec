#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/xxh3.h"
#include "kvferry/chunk_record.h"
#include "tests/fuzz/fuzz_input.h"

// A header that passes its checks is the one that its record would be written with. The checksum at
// its end is put right first, or no input would get past it.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvferry;
  const auto input = fuzz_bytes(data, size);
  decode_chunk_record_header(input);
  std::vector<std::byte> bytes(input.begin(), input.end());
  const auto header_bytes = chunk_record_header_bytes(bytes);
  if (header_bytes && *header_bytes <= bytes.size() && *header_bytes >= sizeof(uint64_t)) {
    const auto body = std::span(bytes).first(*header_bytes - sizeof(uint64_t));
    const uint64_t checksum = detail::xxh3_64(body);
    for (size_t i = 0; i < sizeof(checksum); ++i) {
      bytes[body.size() + i] = static_cast<std::byte>(checksum >> (8 * i));
    }
  }
  const auto record = decode_chunk_record_header(bytes);
  if (!record) return 0;
  const auto encoded = encode_chunk_record_header(*record);
  if (!encoded || !std::ranges::equal(*encoded, std::span(bytes).first(encoded->size()))) {
    std::abort();
  }
  return 0;
}
