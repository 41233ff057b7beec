#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>

#include "kvferry/status.h"
#include "tools/plugin/plugin_command.h"
#include "tools/plugin/plugin_templates.h"

namespace kvferry {
namespace {

constexpr size_t kMaxNameBytes = 64;

/// Targets of CMake, and what a configuration of kvferry takes for a tier of its own.
constexpr std::array<std::string_view, 11> kTaken = {
    "all",     "clean",      "help", "install", "kvferry", "local_cpu",
    "package", "local_disk", "peer", "remote",  "test"};

bool is_name(const std::string& name) {
  if (name.empty() || name.size() > kMaxNameBytes || name[0] < 'a' || name[0] > 'z') return false;
  return name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string::npos;
}

/// my_store: MyStoreBackend.
std::string class_of(const std::string& name) {
  std::string text;
  bool is_first = true;
  for (const char c : name) {
    if (c != '_') text += is_first && c >= 'a' ? static_cast<char>(c - 'a' + 'A') : c;
    is_first = c == '_';
  }
  return text + "Backend";
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at)) {
    text.replace(at, what.size(), with);
    at += with.size();
  }
  return text;
}

int fail(int code, const std::string& why) {
  std::fprintf(stderr, "kvferry plugin new: %s\n", why.c_str());
  return code;
}

}  // namespace

int run_plugin_new(const PluginNewFlags& flags) {
  if (!is_name(flags.name)) {
    return fail(2,
                "a name is lower-case letters, digits and '_', at most 64, and starts with a "
                "letter");
  }
  if (std::ranges::find(kTaken, flags.name) != kTaken.end()) {
    return fail(2, "'" + flags.name + "' is taken by CMake or by kvferry; choose another name");
  }
  const std::filesystem::path folder = flags.folder.value_or(flags.name);
  std::error_code error;
  if (std::filesystem::exists(folder, error)) {
    return fail(2, folder.string() + " exists; give another --folder");
  }
  if (!std::filesystem::create_directories(folder, error)) {
    return fail(1, folder.string() + ": " + error.message());
  }
  const auto named = [&](std::string_view text) {
    return replaced(replaced(std::string(text), "@NAME@", flags.name), "@CLASS@",
                    class_of(flags.name));
  };
  for (const PluginTemplate& each : kPluginTemplates) {
    const std::filesystem::path path = folder / named(each.path);
    std::ofstream file(path);
    file << named(each.text);
    if (!file.flush()) return fail(1, path.string() + " cannot be written");
    std::printf("%s\n", path.c_str());
  }
  const std::string path = folder.string();
  const std::string build = (folder / "build").string();
  std::printf(
      "\nNext: cmake -S %s -B %s && cmake --build %s\n"
      "      kvferry plugin check %s/lib%s.so\n"
      "More: %s/README.md\n",
      path.c_str(), build.c_str(), build.c_str(), build.c_str(), flags.name.c_str(), path.c_str());
  return 0;
}

}  // namespace kvferry
