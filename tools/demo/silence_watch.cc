#include "tools/demo/silence_watch.h"

#include <algorithm>
#include <utility>

namespace kvferry {
namespace {

constexpr Duration kLongestStep = 2 * SilenceWatch::kLookEvery;

}  // namespace

SilenceWatch::Verdict SilenceWatch::look(TimePoint now, pid_t stopped) {
  const Duration step = std::min(now - std::exchange(looked_at_, now), kLongestStep);
  silent_for_ += step;
  const bool is_still_stopped = stopped != 0 && stopped == stopped_;
  stopped_for_ = is_still_stopped ? stopped_for_ + step : Duration::zero();
  said_stopped_ = said_stopped_ && is_still_stopped;
  stopped_ = stopped;
  if (stopped != 0) {
    if (said_stopped_) {
      said_stopped_for_ += step;
      return said_stopped_for_ >= kStoppedPatience ? Verdict::kEndStopped : Verdict::kWait;
    }
    if (silent_for_ < kStoppedSilence) return Verdict::kWait;
    said_stopped_ = true;
    said_stopped_for_ = Duration::zero();
    return Verdict::kSayStopped;
  }
  if (silent_for_ >= kHangs) return Verdict::kEndHanging;
  if (silent_for_ < kSlow || std::exchange(said_slow_, true)) return Verdict::kWait;
  return Verdict::kSaySlow;
}

}  // namespace kvferry
