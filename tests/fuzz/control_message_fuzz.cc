#include <cstdlib>

#include "runtime/control/messages.h"
#include "tests/fuzz/fuzz_input.h"

// What decodes is what was meant: encoding it and decoding that changes nothing any more.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvferry;
  const auto message = decode_message(fuzz_bytes(data, size));
  if (!message) return 0;
  const auto encoded = encode(*message);
  if (!encoded) std::abort();
  const auto again = decode_message(*encoded);
  if (!again || again->index() != message->index()) std::abort();
  const auto twice = encode(*again);
  if (!twice || *twice != *encoded) std::abort();
  return 0;
}
