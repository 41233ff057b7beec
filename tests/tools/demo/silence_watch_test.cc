#include "tools/demo/silence_watch.h"

#include <gtest/gtest.h>

namespace kvferry {
namespace {

using Verdict = SilenceWatch::Verdict;

constexpr pid_t kNobody = 0;
constexpr pid_t kWorker = 7;
constexpr pid_t kOther = 8;

/// Looks once a second.
class SilenceWatchTest : public ::testing::Test {
 protected:
  Verdict look(pid_t stopped) {
    now_ += SilenceWatch::kLookEvery;
    return watch_.look(now_, stopped);
  }
  /// So many looks until there is something to say; that is left in `verdict`.
  Duration until_verdict(pid_t stopped, Verdict& verdict) {
    const TimePoint start = now_;
    do verdict = look(stopped);
    while (verdict == Verdict::kWait && now_ - start < std::chrono::hours(1));
    return now_ - start;
  }

  void pass(Duration time) { now_ += time; }
  const SilenceWatch& watch() const { return watch_; }

 private:
  TimePoint now_{};
  SilenceWatch watch_{now_};
};

TEST_F(SilenceWatchTest, AStoppedWorkerIsSpokenOfAndEndedLater) {
  Verdict verdict{};
  EXPECT_EQ(until_verdict(kWorker, verdict), SilenceWatch::kStoppedSilence);
  EXPECT_EQ(verdict, Verdict::kSayStopped);
  EXPECT_EQ(until_verdict(kWorker, verdict), SilenceWatch::kStoppedPatience);
  EXPECT_EQ(verdict, Verdict::kEndStopped);
  EXPECT_GE(watch().stopped_for(), SilenceWatch::kStoppedPatience);
}

TEST_F(SilenceWatchTest, OneThatGoesOnStartsAnew) {
  Verdict verdict{};
  until_verdict(kWorker, verdict);
  EXPECT_EQ(look(kWorker), Verdict::kWait);
  EXPECT_EQ(look(kNobody), Verdict::kWait);
  EXPECT_EQ(look(kOther), Verdict::kSayStopped) << "the silence has lasted long enough";
  EXPECT_EQ(until_verdict(kOther, verdict), SilenceWatch::kStoppedPatience);
  EXPECT_EQ(verdict, Verdict::kEndStopped);
}

TEST_F(SilenceWatchTest, OneThatRunsMayBeSlowForMinutesAndNotForEver) {
  Verdict verdict{};
  EXPECT_EQ(until_verdict(kNobody, verdict), SilenceWatch::kSlow);
  EXPECT_EQ(verdict, Verdict::kSaySlow);
  EXPECT_EQ(until_verdict(kNobody, verdict), SilenceWatch::kHangs - SilenceWatch::kSlow);
  EXPECT_EQ(verdict, Verdict::kEndHanging);
}

TEST_F(SilenceWatchTest, TimeInWhichNobodyLookedIsHeldAgainstNobody) {
  Verdict verdict{};
  until_verdict(kWorker, verdict);
  pass(std::chrono::hours(1));  // the whole job was stopped
  EXPECT_EQ(look(kWorker), Verdict::kWait);
  EXPECT_LT(watch().silent_for(), 2 * SilenceWatch::kStoppedSilence);
}

}  // namespace
}  // namespace kvferry
