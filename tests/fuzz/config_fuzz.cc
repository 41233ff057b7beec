#include <cstdlib>

#include "core/printable.h"
#include "runtime/config/external_backends.h"
#include "runtime/config/schema.h"
#include "runtime/config/values.h"
#include "tests/fuzz/fuzz_input.h"

// Any text is a document within its bounds, or problems with lines of the text. Any value of any
// key is taken or refused with one short printable line.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvferry;
  const YamlDocument document = parse_yaml(fuzz_text(data, size));
  const auto num_lines = static_cast<int64_t>(size) + 1;
  for (const YamlProblem& problem : document.problems) {
    if (problem.line < 1 || problem.line > num_lines) std::abort();
    if (problem.text.empty() || problem.text.size() > 400) std::abort();
    if (!detail::is_printable(problem.text)) std::abort();
  }
  CacheConfig config;
  const auto check = [&](const KeySpec& spec, const YamlNode& value) {
    const Verdict verdict = apply_value(spec, value, config);
    for (const std::string& text : {verdict.error, verdict.warning}) {
      if (text.size() > 400 || !detail::is_printable(text)) std::abort();
    }
    show_value(spec, config);
    setting_text(spec.name, value);
  };
  for (const YamlEntry& entry : document.root.entries) {
    if (const KeySpec* spec = find_key(entry.key)) check(*spec, entry.value);
  }
  // The whole input as one value of each key.
  YamlNode whole;
  whole.kind = YamlNode::Kind::kScalar;
  whole.text = fuzz_text(data, size);
  for (const KeySpec& spec : config_schema()) check(spec, whole);
  return 0;
}
