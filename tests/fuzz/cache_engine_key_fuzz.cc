#include <cstdlib>

#include "kvferry/cache_engine_key.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvferry;
  const auto key = CacheEngineKey::parse(fuzz_text(data, size));
  if (!key) return 0;
  const auto again = CacheEngineKey::parse(key->to_string());
  if (!again || again->to_string() != key->to_string() || !key->validate().is_ok()) std::abort();
  return 0;
}
