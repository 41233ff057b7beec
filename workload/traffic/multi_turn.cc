#include "workload/traffic/multi_turn.h"

#include <algorithm>
#include <string>

#include "workload/mix64.h"

namespace kvferry {
namespace {

constexpr int64_t kMaxRequests = 1'000'000;
constexpr int64_t kMaxConversations = 65536;
constexpr int64_t kMaxIntervalMs = 3'600'000;
constexpr int64_t kMaxIds = TraceLimits{}.max_hash_ids;

Status check_bounds(const char* name, int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return {};
  return {StatusCode::kInvalidArgument, std::string("multi-turn workload: ") + name + " is " +
                                            std::to_string(value) + "; it must be from " +
                                            std::to_string(min) + " to " + std::to_string(max)};
}

Status check(const MultiTurnOptions& options) {
  KVFERRY_RETURN_IF_ERROR(check_bounds("requests", options.requests, 1, kMaxRequests));
  KVFERRY_RETURN_IF_ERROR(
      check_bounds("conversations", options.conversations, 1, kMaxConversations));
  KVFERRY_RETURN_IF_ERROR(
      check_bounds("system_prompts", options.system_prompts, 1, kMaxConversations));
  KVFERRY_RETURN_IF_ERROR(
      check_bounds("max_prompt_tokens", options.max_prompt_tokens, 1, kMaxTraceTokens));
  KVFERRY_RETURN_IF_ERROR(check_bounds("system_prompt_tokens", options.system_prompt_tokens, 0,
                                       options.max_prompt_tokens - 1));
  KVFERRY_RETURN_IF_ERROR(
      check_bounds("turn_tokens", options.turn_tokens, 1, options.max_prompt_tokens));
  KVFERRY_RETURN_IF_ERROR(
      check_bounds("output_tokens", options.output_tokens, 0, options.max_prompt_tokens));
  return check_bounds("interval_ms", options.interval_ms, 0, kMaxIntervalMs);
}

struct Conversation {
  int64_t num_tokens = 0;  ///< prompt and answer of all turns so far
  std::vector<int64_t> hash_ids;
};

class Generator {
 public:
  explicit Generator(const MultiTurnOptions& options) : options_(options), random_(options.seed) {
    const int64_t shared_blocks = options.system_prompt_tokens / kTraceBlockTokens;
    system_prompts_.resize(static_cast<size_t>(options.system_prompts));
    for (std::vector<int64_t>& prompt : system_prompts_) add_ids(prompt, shared_blocks);
    conversations_.resize(static_cast<size_t>(options.conversations));
    for (Conversation& conversation : conversations_) conversation = begin();
  }

  TraceRequest next() {
    Conversation& conversation = conversations_[pick(conversations_.size())];
    const int64_t turn = std::max<int64_t>(1, draw(options_.turn_tokens));
    if (conversation.num_tokens + turn > options_.max_prompt_tokens) conversation = begin();

    TraceRequest request;
    request.timestamp_ms = now_ms_;
    request.input_length = std::min(conversation.num_tokens + turn, options_.max_prompt_tokens);
    request.output_length = draw(options_.output_tokens);
    add_ids(conversation.hash_ids, num_trace_blocks(request.input_length));
    request.hash_ids = conversation.hash_ids;
    conversation.num_tokens = request.input_length + request.output_length;
    now_ms_ += draw(options_.interval_ms);
    return request;
  }

 private:
  /// A conversation that holds its system prompt only. A last block of it that is not full is the
  /// conversation's own, since the rest of that block is.
  Conversation begin() {
    return {.num_tokens = options_.system_prompt_tokens,
            .hash_ids = system_prompts_[pick(system_prompts_.size())]};
  }

  void add_ids(std::vector<int64_t>& ids, int64_t wanted) {
    while (static_cast<int64_t>(ids.size()) < wanted) ids.push_back(next_id_++);
  }

  size_t pick(size_t count) {
    return static_cast<size_t>(random_.between(0, static_cast<int64_t>(count) - 1));
  }
  int64_t draw(int64_t mean) { return random_.between(mean - mean / 2, mean + mean / 2); }

  MultiTurnOptions options_;
  detail::SplitMix64 random_;
  std::vector<std::vector<int64_t>> system_prompts_;
  std::vector<Conversation> conversations_;
  int64_t next_id_ = 0;
  int64_t now_ms_ = 0;
};

}  // namespace

Result<std::vector<TraceRequest>> make_multi_turn_workload(const MultiTurnOptions& options) {
  KVFERRY_RETURN_IF_ERROR(check(options));
  Generator generator(options);
  std::vector<TraceRequest> requests;
  int64_t num_ids = 0;
  for (int64_t i = 0; i < options.requests; ++i) {
    requests.push_back(generator.next());
    num_ids += static_cast<int64_t>(requests.back().hash_ids.size());
    if (num_ids > kMaxIds) {
      return make_error(StatusCode::kInvalidArgument,
                        "multi-turn workload: " + std::to_string(options.requests) +
                            " requests need more than " + std::to_string(kMaxIds) +
                            " hash ids; ask for fewer requests or shorter prompts");
    }
  }
  return requests;
}

MultiTurnOptions sample_trace_options() {
  MultiTurnOptions options;
  options.seed = 2026;
  return options;
}

}  // namespace kvferry
