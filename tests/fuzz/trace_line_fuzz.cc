#include <cstdlib>

#include "tests/fuzz/fuzz_input.h"
#include "workload/traffic/trace_line.h"

// A line is a request that makes sense, or one short printable line that says why not.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvferry;
  TraceRequest request;
  const std::string error = detail::parse_trace_line(fuzz_text(data, size), request);
  if (error.empty() && request.input_length < 1) std::abort();
  if (error.size() > 400) std::abort();
  for (const char c : error) {
    if (c < ' ' || c > '~') std::abort();
  }
  return 0;
}
