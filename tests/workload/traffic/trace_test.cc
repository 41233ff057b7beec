#include "workload/traffic/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/support/status_matchers.h"
#include "tests/workload/traffic/trace_file.h"

namespace kvferry {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

const std::string kFirst =
    R"({"timestamp": 0, "input_length": 700, "output_length": 12, "hash_ids": [0, 1]})";
const std::string kSecond =
    R"({"timestamp": 27, "input_length": 1024, "output_length": 0, "hash_ids": [0, 9007199254740992]})";

TraceRequest first_request() {
  return {.timestamp_ms = 0, .input_length = 700, .output_length = 12, .hash_ids = {0, 1}};
}
TraceRequest second_request() {
  return {.timestamp_ms = 27,
          .input_length = 1024,
          .output_length = 0,
          .hash_ids = {0, int64_t{1} << 53}};
}

TEST(Trace, ReadsRequestsInOrder) {
  const TraceFile file(kFirst + "\n" + kSecond + "\n");
  EXPECT_THAT(read_trace(file.path()),
              IsOkAndHolds(ElementsAre(first_request(), second_request())));
}

TEST(Trace, AcceptsCrLfBlankEndAndNoFinalNewline) {
  const std::vector<std::string> texts = {kFirst + "\r\n" + kSecond + "\r\n",
                                          kFirst + "\n" + kSecond,
                                          kFirst + "\n" + kSecond + "\n\n \t\r\n\n"};
  for (const std::string& text : texts) {
    const TraceFile file(text);
    EXPECT_THAT(read_trace(file.path()),
                IsOkAndHolds(ElementsAre(first_request(), second_request())))
        << text;
  }
}

TEST(Trace, IgnoresOtherFieldsWhateverTheyHold) {
  const TraceFile file(
      R"({"type": "chat", "extra": {"timestamp": -1, "hash_ids": [[1.5, {}], null]}, )"
      R"("hash_ids": [0, 1], "output_length": 12, "input_length": 700, "timestamp": 0, "x": [1]})");
  EXPECT_THAT(read_trace(file.path()), IsOkAndHolds(ElementsAre(first_request())));
}

TEST(Trace, StopsReadingAtMaxRequests) {
  const TraceFile file(kFirst + "\n" + kSecond + "\nrubbish\n");
  EXPECT_THAT(read_trace(file.path(), {.max_requests = 2}), IsOkAndHolds(SizeIs(2)));
  EXPECT_THAT(read_trace(file.path(), {.max_requests = 3}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr(":3: ")));
  EXPECT_THAT(read_trace(file.path(), {.max_requests = 0}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("at least 1")));
}

TEST(Trace, WritesWhatItReads) {
  const TraceFile file("");
  const std::vector<TraceRequest> requests = {first_request(), second_request()};
  ASSERT_THAT(write_trace(file.path(), requests), IsOk());
  EXPECT_THAT(file.text(), kFirst + "\n" + kSecond + "\n");
  EXPECT_THAT(read_trace(file.path()), IsOkAndHolds(requests));
}

TEST(Trace, WriteNamesFileAndCause) {
  EXPECT_THAT(write_trace("/nonexistent/a.jsonl", {first_request()}),
              StatusIs(StatusCode::kUnavailable,
                       AllOf(HasSubstr("/nonexistent/a.jsonl"), HasSubstr("No such file"))));
  EXPECT_THAT(write_trace("/dev/full", {first_request()}),
              StatusIs(StatusCode::kUnavailable, HasSubstr("No space left")));
}

TEST(ExpandTokens, LengthIsBoundedByPromptAndByCaller) {
  EXPECT_THAT(expand_tokens(first_request(), 1 << 20), SizeIs(700));
  EXPECT_THAT(expand_tokens(first_request(), 513), SizeIs(513));
  EXPECT_THAT(expand_tokens(first_request(), 0), SizeIs(0));
  EXPECT_THAT(expand_tokens(first_request(), -5), SizeIs(0));
  const TraceRequest short_of_ids{.input_length = 2000, .hash_ids = {4}};
  EXPECT_THAT(expand_tokens(short_of_ids, 2000), SizeIs(512));
}

std::vector<uint32_t> block(const std::vector<uint32_t>& tokens, size_t index) {
  std::vector<uint32_t> result;
  for (size_t i = index * 512; i < (index + 1) * 512 && i < tokens.size(); ++i) {
    result.push_back(tokens[i]);
  }
  return result;
}

TEST(ExpandTokens, EqualIdsHaveEqualTokensWhereverTheyStand) {
  const auto one = expand_tokens({.input_length = 1536, .hash_ids = {7, 8, 9}}, 1536);
  const auto two = expand_tokens({.input_length = 1400, .hash_ids = {8, 7, 9}}, 1400);
  EXPECT_EQ(block(one, 0), block(two, 1));
  EXPECT_EQ(block(one, 1), block(two, 0));
  std::vector<uint32_t> partial = block(one, 2);
  partial.resize(1400 - 1024);
  EXPECT_EQ(partial, block(two, 2));
}

TEST(ExpandTokens, DifferentIdsDifferInEveryPairOfTokens) {
  std::set<uint64_t> pairs;
  const std::vector<int64_t> ids = {
      0, 1, 2, 255, 256, 511, 512, kMaxTraceNumber - 1, kMaxTraceNumber};
  for (const int64_t id : ids) {
    const auto tokens = expand_tokens({.input_length = 512, .hash_ids = {id}}, 512);
    for (size_t i = 0; i < tokens.size(); i += 2) {
      pairs.insert(tokens[i] | uint64_t{tokens[i + 1]} << 32);
    }
  }
  EXPECT_THAT(pairs, SizeIs(ids.size() * 256));
}

}  // namespace
}  // namespace kvferry
