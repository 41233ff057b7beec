#pragma once

#include <string>
#include <vector>

#include "kvferry/mutex.h"
#include "kvferry/transfer_trace.h"

namespace kvferry {

/// The last events of an engine's transfers, in a ring.
///
/// Threads: any thread, internally locked.
class FlightRecorder {
 public:
  /// 0: keeps nothing.
  explicit FlightRecorder(size_t capacity) : capacity_(capacity) {}

  void record(TransferEvent event) KVFERRY_EXCLUDES(mutex_);
  /// Oldest first.
  std::vector<TransferEvent> events() const KVFERRY_EXCLUDES(mutex_);
  /// Those of one transfer.
  std::vector<TransferEvent> events_of(uint64_t session, uint64_t transfer) const;
  bool is_on() const { return capacity_ > 0; }

 private:
  const size_t capacity_;
  mutable Mutex mutex_;
  std::vector<TransferEvent> ring_ KVFERRY_GUARDED_BY(mutex_);
  size_t next_ KVFERRY_GUARDED_BY(mutex_) = 0;
};

/// Records for one side of one session. One made without a recorder does nothing.
class TransferRecorder {
 public:
  TransferRecorder() = default;
  /// Borrows `recorder`.
  TransferRecorder(FlightRecorder& recorder, uint64_t session, TransferSide side)
      : recorder_(recorder.is_on() ? &recorder : nullptr), session_(session), side_(side) {}

  bool is_on() const { return recorder_ != nullptr; }
  void operator()(TransferStage stage, uint64_t transfer, TimePoint begin, TimePoint end,
                  int32_t fragment = -1, std::string note = {}) const;
  /// Everything that is known of a transfer, on a line: "lookup +0+2us plan +2+10us ...", a
  /// fragment's stages as "gather[0] +40+120us".
  std::string timeline(uint64_t transfer) const;

 private:
  FlightRecorder* recorder_ = nullptr;
  uint64_t session_ = 0;
  TransferSide side_ = TransferSide::kSource;
};

}  // namespace kvferry
