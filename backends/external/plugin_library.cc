#include "backends/external/plugin_library.h"

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "core/printable.h"

namespace kvferry {
namespace {

// Of what a plugin calls itself, in messages.
constexpr size_t kMaxNameBytes = 128;

bool is_file(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// `package.module` as LMCache's module_path has it; not a file name.
bool is_dotted_name(const std::string& module_path) {
  return module_path.find('.') != std::string::npos && !ends_with(module_path, ".so") &&
         module_path.find(".so.") == std::string::npos;
}

std::vector<std::string> file_names(const std::string& module_path) {
  if (ends_with(module_path, ".so")) return {module_path};
  const std::string name =
      is_dotted_name(module_path) ? module_path.substr(module_path.rfind('.') + 1) : module_path;
  return {"lib" + name + ".so", name + ".so", name};
}

Status not_found(const std::string& module_path, const std::vector<std::string>& search_path,
                 const std::vector<std::string>& names) {
  std::string message = "module_path '" + module_path + "' names no library: ";
  if (search_path.empty()) {
    message += "no folder to search for " + names.front();
  } else {
    message += names.front() + (names.size() > 1 ? " or " + names[1] : "") + " is not in ";
    for (size_t i = 0; i < search_path.size(); ++i) message += (i > 0 ? ", " : "") + search_path[i];
  }
  if (is_dotted_name(module_path)) {
    message +=
        ". It looks like a Python module of LMCache, which kvferry does not load; build the "
        "backend as a library (docs/plugin-author.md)";
  }
  message += ". Set module_path to the file's path, or KVFERRY_PLUGIN_PATH to its folder";
  return Status(StatusCode::kNotFound, std::move(message));
}

std::string user_name(uid_t user) { return "user " + std::to_string(user); }

Status check_owner(const std::string& what, const struct stat& info) {
  if (info.st_uid == 0 || info.st_uid == ::geteuid()) return Status();
  return Status(StatusCode::kPermissionDenied,
                what + " belongs to " + user_name(info.st_uid) +
                    ", who could run code in this process; chown it to root or to " +
                    user_name(::geteuid()));
}

/// The error text of dlopen and dlsym, which is there once.
std::string loader_error() {
  const char* text = ::dlerror();
  return text != nullptr ? text : "no reason given";
}

std::string shown(const char* text) {
  return text == nullptr
             ? ""
             : detail::printable({text, ::strnlen(text, kMaxNameBytes + 1)}, kMaxNameBytes);
}

bool has_name(const kvferry_backend_class* table) {
  return table != nullptr && KVFERRY_HAS(table, kvferry_backend_class, name) &&
         table->name != nullptr;
}

std::string class_names(const kvferry_plugin& plugin) {
  constexpr size_t kMaxNames = 16;
  std::string names;
  for (size_t i = 0; i < plugin.class_count; ++i) {
    if (!has_name(plugin.classes[i])) continue;
    if (i >= kMaxNames) return names + ", ...";
    names += (names.empty() ? "" : ", ") + shown(plugin.classes[i]->name);
  }
  return names.empty() ? "none" : names;
}

/// A copy as long as we know the table; what the plugin does not have stays null.
kvferry_backend_class copy_table(const kvferry_backend_class& table) {
  kvferry_backend_class copy{};
  std::memcpy(&copy, &table, std::min(table.size, sizeof(copy)));
  copy.size = std::min(table.size, sizeof(copy));
  return copy;
}

Status check_table(const kvferry_backend_class& table, const std::string& name) {
  const auto broken = [&name](const char* what) {
    return Status(StatusCode::kInvalidArgument, "class " + name + " has no " + what +
                                                    "(); its author must set it in the "
                                                    "kvferry_backend_class");
  };
  if (!KVFERRY_HAS(&table, kvferry_backend_class, close)) {
    return Status(StatusCode::kInvalidArgument, "class " + name + " has a table of " +
                                                    std::to_string(table.size) +
                                                    " bytes, shorter than that of ABI 1.0");
  }
  if (table.create == nullptr) return broken("create");
  if (table.destroy == nullptr) return broken("destroy");
  if (table.contains == nullptr) return broken("contains");
  if (table.put == nullptr) return broken("put");
  if (table.get == nullptr) return broken("get");
  if (table.remove == nullptr) return broken("remove");
  if (table.close == nullptr) return broken("close");
  if ((table.traits & KVFERRY_PINS) != 0 && table.pin == nullptr) return broken("pin");
  return Status();
}

}  // namespace

BackendTraits PluginClass::traits() const {
  BackendTraits traits;
  traits.retains = (table.traits & KVFERRY_RETAINS) != 0;
  traits.pins = (table.traits & KVFERRY_PINS) != 0;
  traits.persists = (table.traits & KVFERRY_PERSISTS) != 0;
  return traits;
}

Result<std::string> find_plugin_library(const std::string& module_path,
                                        const std::vector<std::string>& search_path) {
  if (module_path.empty()) {
    return make_error(StatusCode::kInvalidArgument,
                      "module_path is empty; set it to the plugin's library");
  }
  if (module_path.find('/') != std::string::npos) {
    if (is_file(module_path)) return module_path;
    return make_error(StatusCode::kNotFound,
                      "module_path '" + module_path + "' is not a file; set it to the library");
  }
  const std::vector<std::string> names = file_names(module_path);
  for (const std::string& folder : search_path) {
    for (const std::string& name : names) {
      const std::string path = folder + "/" + name;  // NOLINT(performance-inefficient-*)
      if (is_file(path)) return path;
    }
  }
  return make_error(not_found(module_path, search_path, names));
}

Result<std::string> trusted_plugin_file(const std::string& path) {
  char resolved[PATH_MAX];
  struct stat file {};
  if (::realpath(path.c_str(), resolved) == nullptr || ::stat(resolved, &file) != 0) {
    return make_error(Status::native(StatusCode::kNotFound, ErrorDomain::kErrno, errno,
                                     "library " + path + ": " + std::strerror(errno)));
  }
  const std::string real_path = resolved;
  const std::string folder_path = real_path.substr(0, std::max<size_t>(1, real_path.rfind('/')));
  struct stat folder {};
  if (::stat(folder_path.c_str(), &folder) != 0) {
    return make_error(Status::native(StatusCode::kNotFound, ErrorDomain::kErrno, errno,
                                     "folder " + folder_path + ": " + std::strerror(errno)));
  }
  if ((file.st_mode & S_IWOTH) != 0) {
    return make_error(StatusCode::kPermissionDenied,
                      "library " + real_path +
                          " is writable for everybody; chmod o-w it, and look at what is in it "
                          "first");
  }
  if ((folder.st_mode & S_IWOTH) != 0 && (folder.st_mode & S_ISVTX) == 0) {
    return make_error(StatusCode::kPermissionDenied,
                      "folder " + folder_path + " is writable for everybody, who could replace " +
                          real_path + "; chmod o-w it");
  }
  KVFERRY_RETURN_IF_ERROR(check_owner("library " + real_path, file));
  KVFERRY_RETURN_IF_ERROR(check_owner("folder " + folder_path, folder));
  return real_path;
}

Result<PluginClass> find_plugin_class(const kvferry_plugin* plugin, const std::string& path,
                                      const std::string& class_name) {
  if (plugin == nullptr) {
    return make_error(StatusCode::kInvalidArgument,
                      path +
                          " is a plugin that offers nothing: its kvferry_plugin_query() "
                          "returns NULL");
  }
  if (!KVFERRY_HAS(plugin, kvferry_plugin, abi_minor)) {
    return make_error(StatusCode::kInvalidArgument,
                      path + " is a plugin with a table of " + std::to_string(plugin->size) +
                          " bytes, shorter than that of any version; its author must set `size` "
                          "in the kvferry_plugin");
  }
  if (plugin->abi_major != KVFERRY_ABI_MAJOR) {
    return make_error(StatusCode::kUnimplemented,
                      path + " was built for version " + std::to_string(plugin->abi_major) + "." +
                          std::to_string(plugin->abi_minor) +
                          " of kvferry/plugin_abi.h; this kvferry has " +
                          std::to_string(KVFERRY_ABI_MAJOR) + "." +
                          std::to_string(KVFERRY_ABI_MINOR) + ". Build it again with its headers");
  }
  if (!KVFERRY_HAS(plugin, kvferry_plugin, class_count) ||
      (plugin->classes == nullptr && plugin->class_count > 0)) {
    return make_error(StatusCode::kInvalidArgument,
                      path +
                          " is a plugin without a table of classes; its author must set it in "
                          "the kvferry_plugin");
  }
  for (size_t i = 0; i < plugin->class_count; ++i) {
    const kvferry_backend_class* each = plugin->classes[i];
    if (!has_name(each)) continue;
    const bool is_it = class_name.empty() ? plugin->class_count == 1
                                          : std::strcmp(each->name, class_name.c_str()) == 0;
    if (!is_it) continue;
    PluginClass found;
    found.library_path = path;
    found.plugin_version = shown(plugin->version);
    found.table = copy_table(*each);
    KVFERRY_RETURN_IF_ERROR(check_table(found.table, shown(each->name)).with_context(path));
    return found;
  }
  return make_error(StatusCode::kNotFound,
                    path + " has no class '" + shown(class_name.c_str()) +
                        "'; set class_name to one that it has: " + class_names(*plugin));
}

Result<PluginClass> load_plugin_class(const std::string& path, const std::string& class_name) {
  KVFERRY_ASSIGN_OR_RETURN(const std::string file, trusted_plugin_file(path));
  // Local: its symbols are not for others. For good: its threads may outlive all that we know of.
  void* library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    return make_error(StatusCode::kInvalidArgument,
                      "library " + path + " cannot be loaded: " + loader_error());
  }
  using Query = decltype(&kvferry_plugin_query);
  const auto query = reinterpret_cast<Query>(::dlsym(library, "kvferry_plugin_query"));
  if (query == nullptr) {
    return make_error(
        StatusCode::kInvalidArgument,
        "library " + path + " is no plugin: it does not export kvferry_plugin_query()");
  }
  try {
    return find_plugin_class(query(), path, class_name);
  } catch (...) {
    return make_error(StatusCode::kInvalidArgument,
                      "kvferry_plugin_query() of " + path + " threw an exception");
  }
}

}  // namespace kvferry
