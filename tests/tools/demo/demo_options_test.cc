#include "tools/demo/demo_options.h"

#include <fstream>

#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(ParseBytes, KnowsTheUnitsThatPeopleWrite) {
  EXPECT_THAT(parse_bytes("4096"), IsOkAndHolds(4096));
  EXPECT_THAT(parse_bytes("512MiB"), IsOkAndHolds(int64_t{512} << 20));
  EXPECT_THAT(parse_bytes("6g"), IsOkAndHolds(int64_t{6} << 30));
  EXPECT_THAT(parse_bytes("1.5GB"), IsOkAndHolds(1'500'000'000));
}

TEST(ParseBytes, RefusesWhatIsNoSize) {
  for (const char* text : {"", "lots", "-1", "1x", "nan", "inf", "1e300", "9999999999GiB", "GiB"}) {
    EXPECT_THAT(parse_bytes(text), StatusIs(StatusCode::kInvalidArgument, HasSubstr("no size")))
        << text;
  }
}

DemoFlags small_flags() {
  DemoFlags flags;
  flags.memory = "400MiB";
  flags.requests = 3;
  return flags;
}

TEST(PlanDemo, FitsCachesPoolsAndScratchIntoTheBound) {
  for (const ModelShape& model : list_models()) {
    DemoFlags flags = small_flags();
    flags.model = model.name;
    flags.memory = "4GiB";
    const auto plan = plan_demo(flags);
    ASSERT_THAT(plan, IsOk());
    const int64_t block_bytes = model.token_bytes() * model.block_tokens;
    EXPECT_GT(plan->num_blocks, 0);
    EXPECT_LT((plan->num_blocks + plan->scratch_blocks) * block_bytes +
                  2 * plan->pool_chunks * plan->chunk_bytes,
              plan->memory_bytes);
  }
}

TEST(PlanDemo, SaysWhatIsTheLeastMemoryAndThatMuchIsEnough) {
  DemoFlags flags = small_flags();
  flags.memory = "1MiB";
  const auto refused = plan_demo(flags);
  ASSERT_THAT(refused, StatusIs(StatusCode::kInvalidArgument,
                                AllOf(HasSubstr("--memory"), HasSubstr("at least"))));
  const std::string message(refused.error().message());
  flags.memory = message.substr(message.rfind(' ') + 1);
  EXPECT_THAT(plan_demo(flags), IsOk()) << flags.memory;
}

TEST(PlanDemo, NamesTheFlagThatIsWrong) {
  struct Case {
    const char* expected;
    std::function<void(DemoFlags&)> spoil;
  };
  const std::vector<Case> cases = {
      {"--requests", [](DemoFlags& f) { f.requests = -1; }},
      {"--requests", [](DemoFlags& f) { f.requests = 1'000'001; }},
      {"--max-tokens", [](DemoFlags& f) { f.max_tokens = -5; }},
      {"--corrupt-one-in", [](DemoFlags& f) { f.corrupt_one_in = 1; }},
      {"--corrupt-one-in", [](DemoFlags& f) { f.corrupt_one_in = -2; }},
      {"--memory", [](DemoFlags& f) { f.memory = "much"; }},
      {"--path", [](DemoFlags& f) { f.path = "ether"; }},
  };
  for (const Case& each : cases) {
    DemoFlags flags = small_flags();
    each.spoil(flags);
    EXPECT_THAT(plan_demo(flags), StatusIs(StatusCode::kInvalidArgument, HasSubstr(each.expected)));
  }
}

TEST(PlanDemo, AnUnknownModelGetsTheNearestName) {
  DemoFlags flags = small_flags();
  flags.model = "llama-3.1-8";
  EXPECT_THAT(plan_demo(flags), StatusIs(StatusCode::kNotFound, HasSubstr("llama-3.1-8b")));
}

}  // namespace
}  // namespace kvferry
