#include <algorithm>
#include <cstdlib>

#include "runtime/control/messages.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvferry;
  const auto bytes = fuzz_bytes(data, size);
  const auto header = decode_fragment_header(bytes);
  if (header && !std::ranges::equal(encode(*header), bytes)) std::abort();
  return 0;
}
