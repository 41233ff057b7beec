#include "workload/traffic/multi_turn.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "tests/support/status_matchers.h"
#include "tests/workload/traffic/trace_file.h"

namespace kvferry {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

using Ids = std::vector<int64_t>;

bool starts_with(const Ids& ids, const Ids& prefix) {
  return ids.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), ids.begin());
}

std::vector<TraceRequest> make(const MultiTurnOptions& options) {
  auto requests = make_multi_turn_workload(options);
  EXPECT_THAT(requests, IsOk());
  return requests ? *std::move(requests) : std::vector<TraceRequest>{};
}

TEST(MultiTurn, EqualOptionsGiveEqualRequests) {
  EXPECT_EQ(make({.requests = 200, .seed = 5}), make({.requests = 200, .seed = 5}));
  EXPECT_NE(make({.requests = 200, .seed = 5}), make({.requests = 200, .seed = 6}));
}

TEST(MultiTurn, MakesRequestsThatAReaderAccepts) {
  const MultiTurnOptions options{.requests = 500, .max_prompt_tokens = 4096};
  const auto requests = make(options);
  ASSERT_THAT(requests, SizeIs(500));
  int64_t now_ms = 0;
  for (const TraceRequest& request : requests) {
    EXPECT_GE(request.timestamp_ms, now_ms);
    now_ms = request.timestamp_ms;
    EXPECT_LE(request.input_length, options.max_prompt_tokens);
    EXPECT_GT(request.input_length, options.system_prompt_tokens);
  }
  const TraceFile file("");
  ASSERT_THAT(write_trace(file.path(), requests), IsOk());
  EXPECT_THAT(read_trace(file.path()), IsOkAndHolds(requests));
}

TEST(MultiTurn, ConversationsGrowByTurns) {
  const auto requests = make({.requests = 100, .conversations = 1, .max_prompt_tokens = 8192});
  int continued = 0;
  for (size_t i = 1; i < requests.size(); ++i) {
    const TraceRequest& before = requests[i - 1];
    if (!starts_with(requests[i].hash_ids, before.hash_ids)) continue;
    ++continued;
    EXPECT_GT(requests[i].input_length, before.input_length + before.output_length);
  }
  EXPECT_GT(continued, 80);
  EXPECT_LT(continued, 99) << "no conversation ended";
}

TEST(MultiTurn, ConversationsShareSystemPromptsAndNothingElse) {
  const MultiTurnOptions options{
      .requests = 300, .conversations = 20, .system_prompts = 3, .system_prompt_tokens = 1300};
  std::set<Ids> system_prompts;
  std::set<int64_t> shared;
  const auto requests = make(options);
  for (const TraceRequest& request : requests) {
    ASSERT_GE(request.hash_ids.size(), 3u);
    system_prompts.emplace(request.hash_ids.begin(), request.hash_ids.begin() + 2);
    shared.insert(request.hash_ids.begin(), request.hash_ids.begin() + 2);
  }
  EXPECT_THAT(system_prompts, SizeIs(3));
  EXPECT_THAT(shared, SizeIs(6));
  for (const TraceRequest& one : requests) {
    for (const TraceRequest& two : requests) {
      const Ids& shorter = std::min(one.hash_ids, two.hash_ids,
                                    [](const Ids& a, const Ids& b) { return a.size() < b.size(); });
      const Ids& longer = &shorter == &one.hash_ids ? two.hash_ids : one.hash_ids;
      const bool same_conversation = one.hash_ids[2] == two.hash_ids[2];
      EXPECT_EQ(starts_with(longer, shorter), same_conversation);
    }
  }
}

TEST(MultiTurn, OptionOutOfBoundsIsNamed) {
  const auto refuses = [](const MultiTurnOptions& options, const std::string& part) {
    EXPECT_THAT(make_multi_turn_workload(options),
                StatusIs(StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("multi-turn workload: "), HasSubstr(part))));
  };
  refuses({.requests = 0}, "requests is 0; it must be from 1 to");
  refuses({.requests = -3}, "requests is -3");
  refuses({.conversations = 0}, "conversations is 0");
  refuses({.system_prompts = 0}, "system_prompts is 0");
  refuses({.system_prompt_tokens = -1}, "system_prompt_tokens is -1");
  refuses({.system_prompt_tokens = 8192}, "system_prompt_tokens is 8192");
  refuses({.turn_tokens = 0}, "turn_tokens is 0");
  refuses({.output_tokens = -1}, "output_tokens is -1");
  refuses({.max_prompt_tokens = int64_t{1} << 40}, "max_prompt_tokens is 1099511627776");
  refuses({.interval_ms = -1}, "interval_ms is -1");
  refuses({.requests = 1'000'000, .system_prompt_tokens = 100'000, .max_prompt_tokens = 200'000},
          "ask for fewer requests");
}

TEST(MultiTurn, SmallestOptionsWork) {
  const auto requests = make({.requests = 5,
                              .conversations = 1,
                              .system_prompts = 1,
                              .system_prompt_tokens = 0,
                              .turn_tokens = 1,
                              .output_tokens = 0,
                              .max_prompt_tokens = 1,
                              .interval_ms = 0});
  for (const TraceRequest& request : requests) EXPECT_EQ(request.input_length, 1);
}

TEST(MultiTurn, SampleTraceIsWhatTheGeneratorMakes) {
  const std::string shipped_path = KVFERRY_SOURCE_DIR "/workload/traffic/traces/sample.jsonl";
  const std::string made_path = ::testing::TempDir() + "kvferry_sample.jsonl";
  const auto requests = make(sample_trace_options());
  ASSERT_THAT(write_trace(made_path, requests), IsOk());

  const auto text_of = [](const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  ASSERT_EQ(text_of(shipped_path), text_of(made_path))
      << "if the generator was meant to change: cp " << made_path << " " << shipped_path;
  EXPECT_LT(std::filesystem::file_size(shipped_path), 64u << 10);
  EXPECT_THAT(read_trace(shipped_path), IsOkAndHolds(requests));
  std::filesystem::remove(made_path);
}

}  // namespace
}  // namespace kvferry
