#include "tools/demo/demo_options.h"

#include <functional>
#include <optional>

#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// What a machine has that can run all of these.
constexpr int64_t kAvailable = int64_t{16} << 30;

DemoFlags small_flags() {
  DemoFlags flags;
  flags.memory = "400MiB";
  flags.requests = "3";
  return flags;
}

TEST(PlanDemo, FitsCachesPoolsAndScratchIntoTheBound) {
  for (const ModelShape& model : list_models()) {
    DemoFlags flags = small_flags();
    flags.model = model.name;
    flags.memory = "4GiB";
    const auto plan = plan_demo(flags, kAvailable);
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
  const auto refused = plan_demo(flags, kAvailable);
  ASSERT_THAT(refused, StatusIs(StatusCode::kInvalidArgument,
                                AllOf(HasSubstr("--memory"), HasSubstr("at least"))));
  const std::string message(refused.error().message());
  flags.memory = message.substr(message.rfind(' ') + 1);
  EXPECT_THAT(plan_demo(flags, kAvailable), IsOk()) << *flags.memory;
}

TEST(PlanDemo, BothProcessesMustFitIntoWhatIsAvailable) {
  DemoFlags flags = small_flags();
  flags.memory = "1GiB";
  EXPECT_THAT(plan_demo(flags, int64_t{2} << 30), IsOk());
  EXPECT_THAT(plan_demo(flags, std::nullopt), IsOk()) << "unknown, so not judged";
  EXPECT_THAT(
      plan_demo(flags, (int64_t{2} << 30) - 2),
      StatusIs(StatusCode::kResourceExhausted,
               AllOf(HasSubstr("--memory: 1GiB"), HasSubstr("2047MiB"), HasSubstr("1023MiB"))));
}

TEST(PlanDemo, WithoutABoundItTakesAQuarterOfWhatIsAvailable) {
  DemoFlags flags = small_flags();
  flags.memory.reset();
  const auto plan = plan_demo(flags, kAvailable);
  ASSERT_THAT(plan, IsOk());
  EXPECT_EQ(plan->memory_bytes, kAvailable / 4);
  EXPECT_THAT(plan_demo(flags, std::nullopt),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("--memory")));
  EXPECT_THAT(plan_demo(flags, int64_t{64} << 20),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("a quarter of what is available")));
}

TEST(PlanDemo, NamesTheFlagThatIsWrong) {
  static constexpr const char* kHuge = "99999999999999999999";
  struct Case {
    const char* expected;
    std::function<void(DemoFlags&)> spoil;
  };
  const std::vector<Case> cases = {
      {"--requests: '0' is no whole number from 1 to 1000000",
       [](DemoFlags& f) { f.requests = "0"; }},
      {"--requests", [](DemoFlags& f) { f.requests = "-1"; }},
      {"--requests", [](DemoFlags& f) { f.requests = "1000001"; }},
      {"--requests", [](DemoFlags& f) { f.requests = kHuge; }},
      {"--requests", [](DemoFlags& f) { f.requests = ""; }},
      {"--max-tokens: '0' is no whole number from 1", [](DemoFlags& f) { f.max_tokens = "0"; }},
      {"--max-tokens", [](DemoFlags& f) { f.max_tokens = kHuge; }},
      {"--corrupt-one-in: '0' is no whole number from 2",
       [](DemoFlags& f) { f.corrupt_one_in = "0"; }},
      {"--corrupt-one-in", [](DemoFlags& f) { f.corrupt_one_in = "1"; }},
      {"--corrupt-one-in", [](DemoFlags& f) { f.corrupt_one_in = kHuge; }},
      {"--seed: '-1' is no whole number", [](DemoFlags& f) { f.seed = "-1"; }},
      {"--seed", [](DemoFlags& f) { f.seed = kHuge; }},
      {"--memory", [](DemoFlags& f) { f.memory = "much"; }},
      {"--memory", [](DemoFlags& f) { f.memory = ""; }},
      {"--memory: 1 B for a process", [](DemoFlags& f) { f.memory = "1"; }},
      {"--memory: 0.5MiB for a process", [](DemoFlags& f) { f.memory = "0.5MiB"; }},
      {"--path", [](DemoFlags& f) { f.path = "ether"; }},
      {"--trace", [](DemoFlags& f) { f.trace = ""; }},
      {"--host: 'localhost' is no IPv4 address", [](DemoFlags& f) { f.host = "localhost"; }},
      {"--host", [](DemoFlags& f) { f.host = ""; }},
      {"--prefill-netns: /dev/null is no network namespace",
       [](DemoFlags& f) { f.prefill_netns = "/dev/null"; }},
      {"--decode-netns: /proc/self/ns/mnt is no network namespace",
       [](DemoFlags& f) { f.decode_netns = "/proc/self/ns/mnt"; }},
  };
  for (const Case& each : cases) {
    DemoFlags flags = small_flags();
    each.spoil(flags);
    EXPECT_THAT(plan_demo(flags, kAvailable),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(each.expected)));
  }
}

TEST(PlanDemo, ANamespaceThatIsNotThereIsNamed) {
  DemoFlags flags = small_flags();
  flags.decode_netns = "/no/such/netns";
  EXPECT_THAT(plan_demo(flags, kAvailable),
              StatusIs(StatusCode::kNotFound, HasSubstr("--decode-netns: cannot open /no/such")));
}

TEST(PlanDemo, AnUnknownModelGetsTheNearestName) {
  DemoFlags flags = small_flags();
  flags.model = "llama-3.1-8";
  EXPECT_THAT(plan_demo(flags, kAvailable),
              StatusIs(StatusCode::kNotFound, HasSubstr("llama-3.1-8b")));
}

}  // namespace
}  // namespace kvferry
