#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "backends/remote/redis_protocol.h"
#include "core/printable.h"
#include "tests/fuzz/fuzz_input.h"

namespace kvferry {
namespace {

struct Read {
  std::vector<std::string> answers;
  bool is_broken = false;
};

/// Everything that a server which sends `bytes`, so many at once, has answered.
Read read_in_pieces(std::span<const std::byte> bytes, size_t piece_bytes) {
  RedisReplyReader reader;
  Read read;
  const size_t total = bytes.size();
  while (!read.is_broken && !bytes.empty()) {
    const auto piece = bytes.first(std::min(piece_bytes, bytes.size()));
    bytes = bytes.subspan(piece.size());
    if (!reader.feed(piece).is_ok()) std::abort();
    for (;;) {
      std::string value;
      const auto answer = reader.next([&](std::span<const std::byte> part) {
        if (part.size() > total) std::abort();
        value.assign(reinterpret_cast<const char*>(part.data()), part.size());
      });
      if (!answer) {
        if (!detail::is_printable(answer.error().message())) std::abort();
        read.is_broken = true;
        break;
      }
      if (!answer->has_value()) break;
      const RedisAnswer& got = **answer;
      if (got.text.size() > 210 || !detail::is_printable(got.text)) std::abort();
      if (got.kind == RedisAnswer::Kind::kError && redis_error(got.text).is_ok()) std::abort();
      read.answers.push_back(std::to_string(static_cast<int>(got.kind)) + " " +
                             std::to_string(got.integer) + " " + got.text + " " + value);
    }
  }
  return read;
}

}  // namespace
}  // namespace kvferry

// A server's bytes are answers, or no answers; in how many pieces they come changes nothing.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvferry;
  const auto bytes = fuzz_bytes(data, size);
  const Read whole = read_in_pieces(bytes, std::max<size_t>(size, 1));
  for (const size_t piece_bytes : {size_t{1}, size_t{7}}) {
    const Read pieces = read_in_pieces(bytes, piece_bytes);
    if (pieces.answers != whole.answers || pieces.is_broken != whole.is_broken) std::abort();
  }
  return 0;
}
