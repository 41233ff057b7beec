#pragma once

#include "tools/replay/replay_options.h"

namespace kvferry {

/// `kvferry replay`: drives a cache engine with the requests of a trace and reports hit rates,
/// latencies and bounds.
///
/// Returns the exit code: 0 when every retrieved chunk was right and every bound held; 1 when not;
/// 2 for a bad flag, trace or configuration, or a sink that cannot be made, and nothing ran; 128
/// and the signal when it was interrupted.
int run_replay(const ReplayFlags& flags);

}  // namespace kvferry
