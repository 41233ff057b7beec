#pragma once

#include "kvferry/plugin_abi.h"

namespace kvferry {

class PluginInstance;

/// The host's table for `instance`, which must live as long as the plugin may call.
kvferry_host make_host_table(PluginInstance& instance);

}  // namespace kvferry
