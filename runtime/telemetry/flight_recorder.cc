#include "runtime/telemetry/flight_recorder.h"

#include <algorithm>
#include <utility>

namespace kvferry {

void FlightRecorder::record(TransferEvent event) {
  if (capacity_ == 0) return;
  MutexLock lock(mutex_);
  if (ring_.size() < capacity_) {
    ring_.push_back(std::move(event));
    return;
  }
  ring_[next_] = std::move(event);
  next_ = (next_ + 1) % capacity_;
}

std::vector<TransferEvent> FlightRecorder::events() const {
  MutexLock lock(mutex_);
  std::vector<TransferEvent> events;
  events.reserve(ring_.size());
  for (size_t i = 0; i < ring_.size(); ++i) events.push_back(ring_[(next_ + i) % ring_.size()]);
  return events;
}

std::vector<TransferEvent> FlightRecorder::events_of(uint64_t session, uint64_t transfer) const {
  MutexLock lock(mutex_);
  std::vector<TransferEvent> events;
  for (size_t i = 0; i < ring_.size(); ++i) {
    const TransferEvent& event = ring_[(next_ + i) % ring_.size()];
    if (event.session == session && event.transfer == transfer) events.push_back(event);
  }
  return events;
}

void TransferRecorder::operator()(TransferStage stage, uint64_t transfer, TimePoint begin,
                                  TimePoint end, int32_t fragment, std::string note) const {
  if (recorder_ == nullptr) return;
  recorder_->record(
      {session_, transfer, side_, stage, fragment, std::min(begin, end), end, std::move(note)});
}

std::string TransferRecorder::timeline(uint64_t transfer) const {
  if (recorder_ == nullptr) return "";
  std::vector<TransferEvent> events = recorder_->events_of(session_, transfer);
  std::erase_if(events, [&](const TransferEvent& event) { return event.side != side_; });
  std::ranges::stable_sort(events, {}, &TransferEvent::begin);
  const auto microseconds = [](Duration duration) {
    return std::to_string(std::chrono::duration_cast<std::chrono::microseconds>(duration).count());
  };
  std::string line;
  for (const TransferEvent& event : events) {
    if (!line.empty()) line += ' ';
    line += transfer_stage_name(event.stage);
    if (event.fragment >= 0) line += '[' + std::to_string(event.fragment) + ']';
    line += " +" + microseconds(event.begin - events.front().begin);
    line += '+' + microseconds(event.end - event.begin) + "us";
  }
  return line;
}

}  // namespace kvferry
