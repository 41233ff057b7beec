#pragma once

#include <array>
#include <string_view>

namespace kvferry {

/// A file of the project that `kvferry plugin new` writes. @NAME@ and @CLASS@ stand for the names.
struct PluginTemplate {
  std::string_view path;
  std::string_view text;
};

inline constexpr size_t kNumPluginTemplates = 4;
extern const std::array<PluginTemplate, kNumPluginTemplates> kPluginTemplates;

}  // namespace kvferry
