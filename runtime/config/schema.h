#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "kvferry/cache_config.h"
#include "runtime/config/yaml_tree.h"

namespace kvferry {

enum class KeyHome : uint8_t {
  kLmcache,  ///< LMCache's name, unit and default, at the top of the file
  kKvferry,  ///< ours, in the `kvferry:` map
};

/// What a value means to its key; both texts are empty when there is nothing to say.
struct Verdict {
  std::string error;
  std::string warning;
};

// Where a value goes, and by that what it must look like.
using BoolField = bool& (*)(CacheConfig&);
using CountField = int64_t& (*)(CacheConfig&);
using BytesField = size_t& (*)(CacheConfig&);
using TimeField = Duration& (*)(CacheConfig&);
using TextField = std::string& (*)(CacheConfig&);
struct ChoiceField {
  std::vector<std::string_view> names;  ///< in the order of the enumerators
  int (*get)(const CacheConfig&);
  void (*set)(CacheConfig&, int);
};
/// A value with rules of its own.
struct CustomField {
  std::string_view type;
  Verdict (*set)(CacheConfig&, const YamlNode&);      ///< null: handled by whoever loads
  std::string (*show)(const CacheConfig&) = nullptr;  ///< without secrets; null: as written
};
using Field =
    std::variant<BoolField, CountField, BytesField, TimeField, TextField, ChoiceField, CustomField>;

/// Everything about one key. Its default is what a fresh CacheConfig holds.
struct KeySpec {
  std::string_view name;
  KeyHome home = KeyHome::kLmcache;
  Field field;
  std::string_view unit = "";  ///< of the value as written
  double scale = 1;            ///< bytes or nanoseconds in one unit
  double least = 0;            ///< of numbers, in units
  double most = 0;
  std::string_view meaning;
};

/// All keys, LMCache's first. Values are applied in this order.
std::span<const KeySpec> config_schema();

/// Null if there is no such key.
const KeySpec* find_key(std::string_view name);

}  // namespace kvferry
