#pragma once

#include <optional>
#include <string>
#include <vector>

namespace kvferry {

/// As they were typed.
struct PluginCheckFlags {
  std::string library;                    ///< path, or a name on KVFERRY_PLUGIN_PATH
  std::optional<std::string> class_name;  ///< may be left out if the library has one only
  std::vector<std::string> settings;      ///< KEY=VALUE each
  std::optional<std::string> config;
  std::optional<std::string> timeout;  ///< of one case, in seconds
  std::optional<std::string> json;
  std::optional<std::string> log;
  std::optional<std::string> case_name;  ///< this one only, in this process
  int report_fd = -1;  ///< where the case tells of itself: it is run for another process
};

/// `kvferry plugin check`: holds a backend of a library against the contract, and says of each case
/// whether it holds. A case has a process of its own, so that one that crashes or hangs costs its
/// verdict only. Exit code 0; 1 if a case failed; 2 if the library or a flag is wrong.
int run_plugin_check(const PluginCheckFlags& flags);

struct PluginNewFlags {
  std::string name;
  std::optional<std::string> folder;
};

/// `kvferry plugin new`: writes a project that builds a backend against the installed package.
/// Exit code 0; 1 if a file cannot be written; 2 for a wrong name or a folder that exists.
int run_plugin_new(const PluginNewFlags& flags);

}  // namespace kvferry
