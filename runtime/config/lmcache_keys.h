#pragma once

#include <span>
#include <string_view>

namespace kvferry {

/// A key that LMCache has and kvferry does not, with what to do instead; `advice` may be empty.
struct LmcacheKey {
  std::string_view name;
  std::string_view advice;
};

/// All of them, those of older versions included.
std::span<const LmcacheKey> lmcache_only_keys();

/// Null if LMCache has no such key, or kvferry has it, too.
const LmcacheKey* find_lmcache_only_key(std::string_view name);

}  // namespace kvferry
