#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/config/load_config.h"
#include "tests/support/temp_file.h"

namespace kvferry {

/// What a file with this text is loaded as, below an environment and flags. In what is said about
/// it the file is called F, as in "F:3: key 'x' ...".
inline tl::expected<LoadedConfig, ConfigErrors> load_text(
    std::string_view text, std::map<std::string, std::string> environment = {},
    std::vector<std::string> flags = {}) {
  const TempFile file(text, "config.yaml");
  auto loaded = load_config(
      {.path = file.path(), .environment = std::move(environment), .flags = std::move(flags)});
  const auto shorten = [&](auto& notices) {
    for (auto& notice : notices) {
      if (notice.where.starts_with(file.path())) notice.where.replace(0, file.path().size(), "F");
    }
  };
  if (!loaded) {
    shorten(loaded.error().errors);
    shorten(loaded.error().warnings);
  } else {
    shorten(loaded->warnings);
    shorten(loaded->effective);
  }
  return loaded;
}

inline std::vector<std::string> lines(const std::vector<ConfigNotice>& notices) {
  std::vector<std::string> texts;
  texts.reserve(notices.size());
  for (const ConfigNotice& notice : notices) texts.push_back(notice.line());
  return texts;
}

/// The errors of a text, one a line; empty if there are none.
inline std::vector<std::string> errors_of(std::string_view text) {
  const auto loaded = load_text(text);
  return loaded ? std::vector<std::string>() : lines(loaded.error().errors);
}

}  // namespace kvferry
