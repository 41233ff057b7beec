#pragma once

#include <sys/types.h>

#include <cstdint>

#include "kvferry/clock.h"

namespace kvferry {

/// How long the supervisor of a demo bears with a worker that owes it an answer.
///
/// The first look at a worker that is stopped comes after `kStoppedSilence`; it says so, and ends
/// the run when the worker is still stopped `kStoppedPatience` later. One that runs is spoken of
/// after `kSlow`, as measuring takes some seconds by right, and counts as hanging after `kHangs`.
///
/// Only time between looks counts, and little of it at a time: whoever was stopped together with
/// its workers must not judge them by that.
///
/// Threads: caller serialises.
class SilenceWatch {
 public:
  static constexpr Duration kStoppedSilence = std::chrono::seconds(5);
  static constexpr Duration kStoppedPatience = std::chrono::seconds(15);
  static constexpr Duration kSlow = std::chrono::seconds(30);
  static constexpr Duration kHangs = std::chrono::minutes(10);
  static constexpr Duration kLookEvery = std::chrono::seconds(1);

  enum class Verdict : uint8_t {
    kWait,
    kSayStopped,
    kSaySlow,
    kEndStopped,
    kEndHanging,
  };

  /// The answer is due from `now` on.
  explicit SilenceWatch(TimePoint now) : looked_at_(now) {}

  bool is_due(TimePoint now) const { return now - looked_at_ >= kLookEvery; }

  /// One look, with still no answer. `stopped` is the process that is stopped, 0 if none. Says each
  /// thing once.
  Verdict look(TimePoint now, pid_t stopped);

  /// Without an answer.
  Duration silent_for() const { return silent_for_; }
  /// Seen to be stopped without a break, up to the last look.
  Duration stopped_for() const { return stopped_for_; }

 private:
  TimePoint looked_at_;
  Duration silent_for_ = Duration::zero();
  Duration stopped_for_ = Duration::zero();
  Duration said_stopped_for_ = Duration::zero();  // since it was said
  pid_t stopped_ = 0;
  bool said_stopped_ = false;
  bool said_slow_ = false;
};

}  // namespace kvferry
