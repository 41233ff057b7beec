#pragma once

#include <cstdint>
#include <vector>

#include "kvferry/status.h"
#include "workload/traffic/trace.h"

namespace kvferry {

/// Sizes are means; each draw lies between half of it and one and a half times it.
struct MultiTurnOptions {
  int64_t requests = 60;
  int64_t conversations = 8;            ///< held at the same time
  int64_t system_prompts = 2;           ///< each conversation starts with one of them
  int64_t system_prompt_tokens = 1024;  ///< exact, not a mean
  int64_t turn_tokens = 400;            ///< that the user adds in a turn
  int64_t output_tokens = 200;          ///< that the model answers; part of the next prompt
  int64_t max_prompt_tokens = 8192;  ///< a conversation that would pass this ends, a new one begins
  int64_t interval_ms = 500;         ///< between requests
  uint64_t seed = 1;
};

/// The built-in workload: conversations that share system prompts and grow by turns.
///
/// Each request is one conversation's next turn: its prompt is the prompt and the answer of the
/// turn before, and new tokens; so prefixes repeat as in chat serving. Equal options give equal
/// requests, on every host.
///
/// Errors: kInvalidArgument naming the option, its value and its bounds.
Result<std::vector<TraceRequest>> make_multi_turn_workload(const MultiTurnOptions& options);

/// The options that made workload/traffic/traces/sample.jsonl.
MultiTurnOptions sample_trace_options();

}  // namespace kvferry
