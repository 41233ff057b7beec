#pragma once

#include <string>
#include <vector>

#include "kvferry/plugin_abi.h"
#include "kvferry/status.h"
#include "kvferry/storage_backend.h"

namespace kvferry {

/// A class of a library that is loaded, for good.
struct PluginClass {
  std::string library_path;
  std::string plugin_version;
  kvferry_backend_class table{};  ///< entries that the plugin does not have are null

  BackendTraits traits() const;
};

/// The file that `module_path` names: a path, or a name in one of the folders of `search_path`.
///
/// Errors: kNotFound saying what was looked for where, and what to set.
Result<std::string> find_plugin_library(const std::string& module_path,
                                        const std::vector<std::string>& search_path);

/// The file itself, links resolved, which nobody else can have put there.
///
/// Errors: kPermissionDenied naming who could put code into this process: the file or its folder
///   is writable for all, or belongs to another user than root and this one. kNotFound.
Result<std::string> trusted_plugin_file(const std::string& path);

/// Loads a library (never to be unloaded) and finds the class called `class_name`; the only one
/// if that is empty.
///
/// Errors: kPermissionDenied, kInvalidArgument, kUnimplemented, kNotFound as make_external_backend.
Result<PluginClass> load_plugin_class(const std::string& path, const std::string& class_name);

/// The same for tables that are in hand.
Result<PluginClass> find_plugin_class(const kvferry_plugin* plugin, const std::string& path,
                                      const std::string& class_name);

}  // namespace kvferry
