#include "transports/host_offload/host_offload_offer.h"

#include <utility>

#include "cuda/device_copy.h"

namespace kvferry {

bool HostOffloadOffer::begin_copy(std::span<std::byte> destination, CudaStreamView stream,
                                  CudaEvent& done) {
  // Enqueued under the lock, so that whoever finds it copying finds the event recorded.
  MutexLock lock(mutex_);
  if (state_ == State::kWithdrawn) return false;
  state_ = State::kCopying;
  done_ = &done;
  outcome_ = copy_async(destination.data(), source_.data(), source_.size(), stream);
  // After a fault, too: only the event tells that nothing of the copy is under way.
  if (Status recorded = done.record(stream); !recorded.is_ok()) {
    // Rare enough to wait for; a lost device answers at once.
    stream.synchronize().ignore("the first fault is the one to report");
    end(std::move(recorded));
  }
  return true;
}

bool HostOffloadOffer::withdraw() {
  MutexLock lock(mutex_);
  if (state_ == State::kOffered) state_ = State::kWithdrawn;
  return state_ != State::kCopying;
}

std::optional<Status> HostOffloadOffer::poll() {
  MutexLock lock(mutex_);
  if (state_ == State::kCopying) {
    const Result<bool> done = done_->is_done();
    if (done && !*done) return std::nullopt;
    if (!done) done_->synchronize().ignore("the first fault is the one to report");
    end(done ? Status() : done.error());
  }
  return outcome_;
}

Status HostOffloadOffer::wait() {
  MutexLock lock(mutex_);
  if (state_ == State::kCopying) end(done_->synchronize());
  return outcome_;
}

void HostOffloadOffer::end(Status status) {
  state_ = State::kEnded;
  done_ = nullptr;
  if (outcome_.is_ok()) outcome_ = std::move(status);
}

}  // namespace kvferry
