#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kvferry {

struct YamlEntry;

/// A piece of a YAML document that knows its line. Scalars stay text: what a text means depends on
/// the key that it belongs to.
struct YamlNode {
  enum class Kind : uint8_t { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  bool is_quoted = false;
  int64_t line = 0;  ///< from 1 on
  std::string text;  ///< of a scalar
  std::vector<YamlNode> items;
  std::vector<YamlEntry> entries;  ///< in file order, no key twice
};

struct YamlEntry {
  std::string key;
  int64_t line = 0;
  YamlNode value;
};

struct YamlProblem {
  int64_t line = 0;
  std::string text;
};

struct YamlDocument {
  YamlNode root;
  std::vector<YamlProblem> problems;  ///< empty: it could be read
};

constexpr size_t kMaxYamlBytes = 256 * 1024;
constexpr int64_t kMaxYamlNodes = 10'000;  ///< with what aliases repeat
constexpr size_t kMaxYamlDepth = 16;

/// Reads one document, plain YAML 1.1 or JSON in UTF-8. Refused, with the line: syntax errors, keys
/// that come twice, tags, merge keys, control characters, a second document, and what is above the
/// bounds. Aliases are read.
YamlDocument parse_yaml(std::string_view text);

/// A scalar as it was written; lists and maps as JSON.
std::string yaml_text(const YamlNode& node);

}  // namespace kvferry
