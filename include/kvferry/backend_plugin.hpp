#pragma once

#include "kvferry/plugin/backend.hpp"
#include "kvferry/plugin/class_table.hpp"
#include "kvferry/plugin/host.hpp"
#include "kvferry/plugin/requests.hpp"
#include "kvferry/plugin_abi.h"

// Storage backends in C++ for kvferry, built apart from it: inherit kvferry::plugin::Backend,
// override, export. docs/plugin-author.md starts with an empty folder.
//
// Needs plugin_abi.h and the standard library only, so that a plugin depends on no version of
// kvferry's own types. What is promised about threads, memory and versions stands there.

/// Exports backend classes, once in a library: KVFERRY_EXPORT_BACKENDS("1.0", MyBackend, Another)
#define KVFERRY_EXPORT_BACKENDS(version, ...)                                         \
  extern "C" KVFERRY_PLUGIN_EXPORT const kvferry_plugin* kvferry_plugin_query(void) { \
    return ::kvferry::plugin::detail::plugin_of<__VA_ARGS__>(version);                \
  }                                                                                   \
  static_assert(true, "a semicolon follows")
