#pragma once

#include <string>

namespace kvferry {

/// The library of bench_plugin.c, which lies beside this program: class "Answers" answers at once,
/// "Silent" never.
std::string bench_plugin_path();

}  // namespace kvferry
