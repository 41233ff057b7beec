#pragma once

#include "tools/demo/demo_options.h"

namespace kvferry {

/// Runs `kvferry demo` and prints its report. Exit codes: 0 all verified; 1 not, or a worker died,
/// or the report could not be written; 2 a flag or file is wrong, nothing was started; 128 and the
/// signal when interrupted.
int run_demo(const DemoFlags& flags);

}  // namespace kvferry
