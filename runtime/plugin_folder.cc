#include "runtime/plugin_folder.h"

#include <dlfcn.h>
#include <sys/auxv.h>

#include <filesystem>
#include <system_error>

namespace kvferry {
namespace {

/// The start of the program or library that `code` lies in, and its file.
Dl_info object_of(const void* code) {
  Dl_info info{};
  if (::dladdr(code, &info) == 0) info = {};
  return info;
}

}  // namespace

std::string installed_plugin_folder() {
  const Dl_info ours = object_of(reinterpret_cast<const void*>(&installed_plugin_folder));
  // The linker knows the program by the name that it was called by, which may be no path.
  const Dl_info program = object_of(reinterpret_cast<const void*>(::getauxval(AT_PHDR)));
  const bool is_program = ours.dli_fbase == program.dli_fbase;
  if (ours.dli_fname == nullptr) return "";
  std::error_code error;
  const std::filesystem::path file =
      std::filesystem::canonical(is_program ? "/proc/self/exe" : ours.dli_fname, error);
  if (error) return "";
  const char* way = is_program ? KVFERRY_PLUGINS_FROM_BIN : "kvferry/plugins";
  return (file.parent_path() / way).lexically_normal().string();
}

std::vector<std::string> plugin_search_path(const PluginConfig& config) {
  std::vector<std::string> folders = config.search_path;
  const std::string installed = installed_plugin_folder();
  if (!installed.empty()) folders.push_back(installed);
  return folders;
}

}  // namespace kvferry
