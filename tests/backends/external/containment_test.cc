#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/backends/external/plugin_bench.h"

namespace kvferry {
namespace {

using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr Duration kTimeout = std::chrono::seconds(10);

void call(const char* function) { plugin_function<void()>(BROKEN_PLUGIN, function)(); }
int ask(const char* function) { return plugin_function<int()>(BROKEN_PLUGIN, function)(); }
void release(bool is_released) {
  plugin_function<void(bool)>(BROKEN_PLUGIN, "broken_release")(is_released);
}

ExternalOptions broken(const std::string& fault) {
  ExternalOptions options;
  options.module_path = BROKEN_PLUGIN;
  options.class_name = "BrokenBackend";
  options.settings = {{"fault", fault}};
  options.limits.timeout = kTimeout;
  options.limits.close_timeout = kTimeout;
  return options;
}

/// Each test with a plugin broken in one way; it must come through and clean up.
class ExternalContainment : public testing::Test {
 protected:
  void SetUp() override { release(false); }
  void TearDown() override {
    release(true);
    EXPECT_TRUE(eventually([] { return ask("broken_num_hanging") == 0; }));
    call("broken_answer_kept");
  }

  void open(const ExternalOptions& options) { ASSERT_THAT(bench.open(options), IsOk()); }
  void open(const std::string& fault) { open(broken(fault)); }
  void expect_clean_close() {
    const Ends<bool> closed = bench.close();
    EXPECT_TRUE(closed.first());
    EXPECT_EQ(bench.metrics().counter("external_abandoned"), 0U);
    EXPECT_EQ(bench.pool().usage().used_slots, 0U);
  }
  uint64_t counter(const std::string& name) { return bench.metrics().counter("external_" + name); }
  double gauge(const std::string& name) { return bench.metrics().gauge("external_" + name); }

  const int num_kept = ask("broken_num_kept");  // by tests before
  PluginBench bench;
};

TEST_F(ExternalContainment, HonestPluginIsLeftInPeace) {
  open("");
  EXPECT_THAT(bench.put(1).first(), IsOk());
  EXPECT_THAT(bench.contains(2).all(),
              testing::ElementsAre(IsOkAndHolds(false), IsOkAndHolds(true)));
  const auto got = bench.get(1).first();
  ASSERT_THAT(got, IsOk());
  ASSERT_TRUE(*got);
  EXPECT_THAT(verify_chunk(PluginBench::key(1), **got), IsOk());
  const auto missing = bench.get(3).first();
  ASSERT_THAT(missing, IsOk());
  EXPECT_FALSE(*missing);
  EXPECT_EQ(counter("violations"), 0U);
  EXPECT_EQ(counter("timeouts"), 0U);
}

TEST_F(ExternalContainment, HangInCallCostsItsItemsAndNobodysTime) {
  open("hangs");
  const auto hanging = bench.contains();
  ASSERT_TRUE(eventually([] { return ask("broken_num_hanging") == 1; }));
  const auto behind = bench.put(1);  // returns at once, waits for the thread
  bench.executor().advance(kTimeout);
  EXPECT_THAT(hanging.first(), StatusIs(StatusCode::kDeadlineExceeded, HasSubstr("plug")));
  EXPECT_THAT(behind.first(), StatusIs(StatusCode::kDeadlineExceeded));
  EXPECT_EQ(gauge("stuck"), 1);
  EXPECT_EQ(gauge("quarantined_items"), 1);  // the other never reached the plugin

  // As long as it hangs nothing is queued for it.
  EXPECT_THAT(bench.get(1).first(),
              StatusIs(StatusCode::kUnavailable, HasSubstr("has not returned from a call")));
  release(true);
  ASSERT_TRUE(eventually([this] { return gauge("stuck") == 0; }));
  EXPECT_THAT(bench.put(1).first(), IsOk());
  ASSERT_TRUE(eventually([this] { return gauge("quarantined_items") == 0; }));
  EXPECT_EQ(counter("late_answers"), 1U);
  expect_clean_close();
}

TEST_F(ExternalContainment, APutThatEndsTooLateIsTakenOut) {
  open("keeps_first_put");
  const auto put = bench.put(0);
  ASSERT_TRUE(eventually([this] { return ask("broken_num_kept") == num_kept + 1; }));
  bench.executor().advance(kTimeout);
  EXPECT_THAT(put.first(), StatusIs(StatusCode::kDeadlineExceeded));
  call("broken_answer_kept");
  EXPECT_TRUE(eventually([this] {
    const auto is_held = bench.contains().first();
    return is_held.has_value() && !*is_held;
  }));
}

TEST_F(ExternalContainment, ALatePutTakesNothingOutThatAnotherHasPut) {
  open("keeps_first_put");
  const auto put = bench.put(0);
  ASSERT_TRUE(eventually([this] { return ask("broken_num_kept") == num_kept + 1; }));
  bench.executor().advance(kTimeout);
  EXPECT_THAT(put.first(), StatusIs(StatusCode::kDeadlineExceeded));
  EXPECT_THAT(bench.put(0).first(), IsOk());
  call("broken_answer_kept");
  EXPECT_EQ(counter("late_answers"), 1U);
  EXPECT_THAT(bench.put(2).first(), IsOk()) << "after whatever the late one has queued";
  EXPECT_THAT(bench.contains().first(), IsOkAndHolds(true));
}

TEST_F(ExternalContainment, HungPluginIsLeftBehindByClose) {
  open("hangs");
  const auto hanging = bench.contains();
  ASSERT_TRUE(eventually([] { return ask("broken_num_hanging") == 1; }));
  const auto closed = bench.close();
  EXPECT_EQ(closed.num_ended(), 0U);
  bench.executor().advance(kTimeout);
  EXPECT_TRUE(closed.first());
  EXPECT_FALSE(hanging.first().has_value());
  EXPECT_EQ(counter("abandoned"), 1U);
  const auto lines = bench.log().lines();
  EXPECT_THAT(lines.back(), HasSubstr("external_backend_abandoned backend=plug items_held=1"));
}

TEST_F(ExternalContainment, PluginThatNeverClosesIsLeftBehind) {
  open("never_closes");
  EXPECT_THAT(bench.put(1).first(), IsOk());
  const auto closed = bench.close();
  bench.executor().advance(kTimeout);
  EXPECT_TRUE(closed.first());
  EXPECT_EQ(counter("abandoned"), 1U);
  EXPECT_EQ(bench.pool().usage().used_slots, 0U);
}

TEST_F(ExternalContainment, HangInCloseEndsByTheCloseTimeout) {
  open("hangs_in_close");
  const auto closed = bench.close();
  ASSERT_TRUE(eventually([] { return ask("broken_num_hanging") == 1; }));
  bench.executor().advance(kTimeout);
  EXPECT_TRUE(closed.first());
  EXPECT_EQ(counter("abandoned"), 1U);
}

TEST_F(ExternalContainment, DestructionWithoutCloseWaitsForNothing) {
  open("hangs");
  const auto hanging = bench.contains();
  ASSERT_TRUE(eventually([] { return ask("broken_num_hanging") == 1; }));
  bench.owner().reset();
  EXPECT_THAT(hanging.first(), StatusIs(StatusCode::kCancelled));
}

TEST_F(ExternalContainment, LateWriteGoesIntoQuarantine) {
  open("keeps_items");
  EXPECT_THAT(bench.put(1).first(), IsOk());
  const int kept_before = ask("broken_num_kept");
  const auto got = bench.get(1);
  ASSERT_TRUE(eventually([&] { return ask("broken_num_kept") == kept_before + 1; }));
  bench.executor().advance(kTimeout);
  EXPECT_THAT(got.first(), StatusIs(StatusCode::kDeadlineExceeded));
  EXPECT_EQ(gauge("quarantined_items"), 1);
  EXPECT_GT(gauge("quarantined_bytes"), 0);
  EXPECT_EQ(bench.pool().usage().used_slots, 1U);  // nobody else gets it
  EXPECT_TRUE(eventually([this] { return bench.metrics().counter("cancels_seen") == 1; }));

  call("broken_answer_kept");  // writes, then answers
  EXPECT_EQ(bench.pool().usage().used_slots, 0U);
  EXPECT_EQ(gauge("quarantined_items"), 0);
  EXPECT_EQ(got.num_ended(), 1U);
  expect_clean_close();
}

TEST_F(ExternalContainment, CompletedCloseLetsGoOfTheQuarantine) {
  open("keeps_items");
  EXPECT_THAT(bench.put(1).first(), IsOk());
  const int kept_before = ask("broken_num_kept");
  const auto got = bench.get(1);
  ASSERT_TRUE(eventually([&] { return ask("broken_num_kept") == kept_before + 1; }));
  const auto closed = bench.close();
  EXPECT_TRUE(closed.first());
  EXPECT_THAT(got.first(), StatusIs(StatusCode::kCancelled, HasSubstr("closed without an answer")));
  EXPECT_EQ(bench.pool().usage().used_slots, 0U);
  EXPECT_EQ(counter("violations"), 1U);
}

TEST_F(ExternalContainment, MemoryOfAnAbandonedPluginIsNeverReused) {
  open("keeps_for_good");
  EXPECT_THAT(bench.put(1).first(), IsOk());
  const int kept_before = ask("broken_num_kept");
  const auto got = bench.get(1);
  ASSERT_TRUE(eventually([&] { return ask("broken_num_kept") == kept_before + 1; }));
  const auto closed = bench.close();
  bench.executor().advance(kTimeout);
  EXPECT_TRUE(closed.first());
  EXPECT_FALSE(got.first().has_value());
  EXPECT_EQ(bench.pool().usage().used_slots, 1U);
  call("broken_answer_kept");  // writes into it, much later
  EXPECT_EQ(bench.pool().usage().used_slots, 1U);
}

TEST_F(ExternalContainment, FullQuarantineGetsNothingNew) {
  ExternalOptions options = broken("keeps_items");
  options.limits.max_quarantined_items = 3;
  options.limits.breaker_failures = 0;
  open(options);
  const int kept_before = ask("broken_num_kept");
  const auto kept = bench.contains(3);
  ASSERT_TRUE(eventually([&] { return ask("broken_num_kept") == kept_before + 3; }));
  bench.executor().advance(kTimeout);
  EXPECT_THAT(kept.all(), Each(StatusIs(StatusCode::kDeadlineExceeded)));
  EXPECT_THAT(bench.contains().first(), StatusIs(StatusCode::kUnavailable, HasSubstr("3 items")));
  EXPECT_EQ(counter("refused"), 1U);
  call("broken_answer_kept");
  EXPECT_THAT(bench.put(1).first(), IsOk());
}

TEST_F(ExternalContainment, QueueIsBounded) {
  ExternalOptions options = broken("hangs");
  options.limits.max_queued_items = 4;
  open(options);
  const auto hanging = bench.contains();
  ASSERT_TRUE(eventually([] { return ask("broken_num_hanging") == 1; }));
  const auto queued = bench.contains(4);
  EXPECT_EQ(queued.num_ended(), 0U);
  EXPECT_THAT(bench.contains().first(),
              StatusIs(StatusCode::kResourceExhausted, HasSubstr("4 items")));
  release(true);
  EXPECT_THAT(queued.all(), Each(IsOkAndHolds(false)));
}

TEST_F(ExternalContainment, ItemsInFlightAreBounded) {
  ExternalOptions options = broken("keeps_items");
  options.limits.max_in_flight_items = 2;
  open(options);
  const int kept_before = ask("broken_num_kept");
  const auto asked = bench.contains(5);
  ASSERT_TRUE(eventually([&] { return ask("broken_num_kept") == kept_before + 2; }));
  call("broken_answer_kept");
  ASSERT_TRUE(eventually([&] { return ask("broken_num_kept") == kept_before + 4; }));
  EXPECT_EQ(asked.num_ended(), 2U);
  call("broken_answer_kept");
  ASSERT_TRUE(eventually([&] { return ask("broken_num_kept") == kept_before + 5; }));
  call("broken_answer_kept");
  EXPECT_THAT(asked.all(), Each(IsOkAndHolds(true)));
}

TEST_F(ExternalContainment, ShortDeadlineOfACallerIsNoFault) {
  ExternalOptions options = broken("keeps_items");
  options.limits.breaker_failures = 1;
  open(options);
  EXPECT_THAT(bench.put(1).first(), IsOk());
  const int kept_before = ask("broken_num_kept");
  const auto got = bench.get(1, bench.executor().now() + std::chrono::milliseconds(5));
  ASSERT_TRUE(eventually([&] { return ask("broken_num_kept") == kept_before + 1; }));
  bench.executor().advance(std::chrono::milliseconds(5));
  EXPECT_THAT(got.first(), StatusIs(StatusCode::kDeadlineExceeded));
  EXPECT_EQ(counter("timeouts"), 0U);
  EXPECT_THAT(bench.put(2).first(), IsOk());
}

TEST_F(ExternalContainment, TimersDoNotPileUp) {
  open("");
  for (int i = 0; i < 50; ++i) {  // each deadline before all those that are waited for
    EXPECT_THAT(bench.get(1, bench.executor().now() + std::chrono::milliseconds(100 - i)).first(),
                IsOk());
  }
  for (int i = 0; i < 5; ++i) {
    const auto asked = bench.contains();
    bench.executor().advance(std::chrono::milliseconds(200));
    asked.first();
  }
  EXPECT_LE(bench.executor().num_timers(), 2U);
  expect_clean_close();
}

TEST_F(ExternalContainment, SecondAnswersAreCountedAndChangeNothing) {
  open("answers_twice");
  const auto put = bench.put(1);
  EXPECT_THAT(put.first(), IsOk());
  const auto asked = bench.contains(3);
  asked.all();
  ASSERT_TRUE(eventually([this] { return counter("violations") == 4; }));
  EXPECT_EQ(put.num_ended(), 1U);
  EXPECT_EQ(asked.num_ended(), 3U);
  expect_clean_close();
}

TEST_F(ExternalContainment, AnswersToUnknownItemsAreCountedAndChangeNothing) {
  open("unknown_items");
  EXPECT_THAT(bench.contains(3).all(), Each(IsOkAndHolds(false)));
  EXPECT_EQ(counter("violations"), 3U);
}

TEST_F(ExternalContainment, ThrowingPluginCostsErrors) {
  open("throws");
  EXPECT_THAT(bench.contains().first(),
              StatusIs(StatusCode::kInternal, HasSubstr("threw an exception: a bug")));
  EXPECT_THAT(bench.put(1).first(), IsOk());
  EXPECT_EQ(counter("violations"), 1U);
  expect_clean_close();
}

struct WrongAnswer {
  const char* fault;
  StatusCode code;
  const char* text;
};
void PrintTo(const WrongAnswer& wrong, std::ostream* out) { *out << wrong.fault; }

class ExternalWrongGet : public ExternalContainment,
                         public testing::WithParamInterface<WrongAnswer> {};

TEST_P(ExternalWrongGet, IsAnErrorAndNeverData) {
  open(GetParam().fault);
  EXPECT_THAT(bench.put(1).first(), IsOk());
  EXPECT_THAT(bench.put(2).first(), IsOk());
  EXPECT_THAT(bench.get(2).first(), StatusIs(GetParam().code, HasSubstr(GetParam().text)));
  EXPECT_GT(counter("violations"), 0U);
  expect_clean_close();
}

INSTANTIATE_TEST_SUITE_P(
    Faults, ExternalWrongGet,
    testing::Values(WrongAnswer{"wrong_size", StatusCode::kDataLoss, "4100"},
                    WrongAnswer{"wrong_key", StatusCode::kDataLoss, "test/model@"},
                    WrongAnswer{"bad_header", StatusCode::kDataLoss, "header checksum"},
                    WrongAnswer{"long_header", StatusCode::kDataLoss, "header of"},
                    WrongAnswer{"short_header", StatusCode::kDataLoss, "chunk record"},
                    WrongAnswer{"no_memory_asked", StatusCode::kInternal, "without asking"}),
    [](const auto& param_info) { return std::string(param_info.param.fault); });

TEST_F(ExternalContainment, ChangedPayloadIsFoundByWhoTakesIt) {
  open("bad_payload");
  EXPECT_THAT(bench.put(1).first(), IsOk());
  const auto got = bench.get(1).first();
  ASSERT_THAT(got, IsOk());
  EXPECT_THAT(verify_chunk(PluginBench::key(1), **got), StatusIs(StatusCode::kDataLoss));
}

TEST_F(ExternalContainment, ImpossibleSizeIsRefused) {
  open("impossible_size");
  EXPECT_THAT(bench.put(1).first(), IsOk());
  EXPECT_THAT(bench.get(1).first(), StatusIs(StatusCode::kInvalidArgument));
}

TEST_F(ExternalContainment, MemoryIsGivenOnce) {
  open("allocates_twice");
  EXPECT_THAT(bench.put(1).first(), IsOk());
  EXPECT_THAT(bench.get(1).first(), IsOk());
}

TEST_F(ExternalContainment, NoToAPutIsAnError) {
  open("puts_no");
  EXPECT_THAT(bench.put(1).first(), StatusIs(StatusCode::kInternal, HasSubstr("KVFERRY_NO")));
}

TEST_F(ExternalContainment, ErrorsKeepCodeAndWords) {
  open("fails_all");
  EXPECT_THAT(bench.put(1).first(), StatusIs(StatusCode::kUnavailable,
                                             AllOf(HasSubstr("backend plug: put of test/model@"),
                                                   HasSubstr("the server is away"))));
}

TEST_F(ExternalContainment, UnknownOutcomeIsAnInternalError) {
  open("fails_without_reason");
  EXPECT_THAT(bench.put(1).first(), StatusIs(StatusCode::kInternal, HasSubstr("outcome 99")));
}

TEST_F(ExternalContainment, BreakerLeavesAFailingPluginAlone) {
  ExternalOptions options = broken("fails_all");
  options.limits.breaker_failures = 3;
  open(options);
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(bench.contains().first(),
                StatusIs(StatusCode::kUnavailable, HasSubstr("the server is away")));
  }
  EXPECT_THAT(bench.contains().first(), StatusIs(StatusCode::kUnavailable, HasSubstr("3 times")));
  EXPECT_EQ(gauge("breaker_is_open"), 1);
  bench.executor().advance(options.limits.breaker_cooldown);
  // One tries; those beside it do not.
  EXPECT_THAT(bench.contains(2).all(),
              testing::UnorderedElementsAre(
                  StatusIs(StatusCode::kUnavailable, HasSubstr("the server is away")),
                  StatusIs(StatusCode::kUnavailable, HasSubstr("3 times"))));
  EXPECT_EQ(counter("breaker_opened"), 1U);
  EXPECT_THAT(bench.log().lines(), testing::Contains(AllOf(HasSubstr("external_breaker_opened"),
                                                           HasSubstr("the server is away"))));
}

TEST_F(ExternalContainment, LogIsBoundedInLinesAndLength) {
  open("logs_much");
  const auto lines = bench.log().lines();
  EXPECT_LE(lines.size(), 1001U);
  EXPECT_EQ(counter("log_lines_dropped"), 4000U);
  for (const std::string& line : lines) {
    EXPECT_LE(line.size(), 4200U);
    EXPECT_THAT(line, Not(HasSubstr("\n")));
  }
}

TEST_F(ExternalContainment, MetricsAreBoundedAndOursAreOurs) {
  open("counts_much");
  EXPECT_EQ(counter("timeouts"), 0U);
  EXPECT_EQ(counter("metrics_refused"), 2U + (1000U - 64U));
  EXPECT_EQ(bench.metrics().num_counters(), 64U + 1U);
}

TEST_F(ExternalContainment, SlowConstructorIsNotWaitedForLongerThanTheTimeout) {
  ExternalOptions options = broken("hangs_in_create");
  options.limits.timeout = std::chrono::milliseconds(50);
  EXPECT_THAT(bench.open(options),
              StatusIs(StatusCode::kDeadlineExceeded, HasSubstr("has not returned in 50 ms")));
}

TEST_F(ExternalContainment, FailingConstructorsAreNamed) {
  EXPECT_THAT(bench.open(broken("fails_in_create")),
              StatusIs(StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("backend plug"), HasSubstr("BrokenBackend"),
                             HasSubstr("cannot reach 10.0.0.1"))));
  EXPECT_THAT(bench.open(broken("fails_silently")),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("no reason given")));
  EXPECT_THAT(bench.open(broken("throws_in_create")),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("it threw no such server")));
}

}  // namespace
}  // namespace kvferry
