#pragma once

#include <string>

#include "kvferry/cache_config.h"
#include "runtime/config/schema.h"

namespace kvferry {

/// Puts a value where it belongs; a null (or an empty text) is the default. On an error `config` is
/// as it was.
Verdict apply_value(const KeySpec& spec, const YamlNode& node, CacheConfig& config);

/// The value in its unit, without secrets; empty for nothing, and for what has no text of its own
/// (external backends).
std::string show_value(const KeySpec& spec, CacheConfig config);

/// "bool", "number", "text", ...
std::string type_name(const KeySpec& spec);
/// "1 to 65536", "LRU, FIFO, S3FIFO", or empty.
std::string range_text(const KeySpec& spec);

/// A number as people write it: 5, 0.5.
std::string number_text(double number);

}  // namespace kvferry
