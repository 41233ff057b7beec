#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "cuda/cuda_event.h"
#include "cuda/cuda_stream.h"
#include "kvferry/mutex.h"
#include "kvferry/status.h"

namespace kvferry {

/// One offer under way, held by both sides; decides who may still read the source, and knows how
/// the copy ended. Either side can find that out without the other.
///
/// Threads: any thread, internally locked
class HostOffloadOffer {
 public:
  HostOffloadOffer(std::span<const std::byte> header, std::span<const std::byte> source)
      : header_(header.begin(), header.end()), source_(source) {}

  std::span<const std::byte> header() const { return header_; }
  size_t payload_bytes() const { return source_.size(); }

  /// Begins to copy. False: withdrawn, nothing will be touched. True: poll() tells the end, also of
  /// a copy that could not begin; until it did, `done` is the offer's.
  ///
  /// Stream: enqueues on `stream`, does not synchronise
  bool begin_copy(std::span<std::byte> destination, CudaStreamView stream, CudaEvent& done)
      KVFERRY_EXCLUDES(mutex_);

  /// True: the source is not read any more, now or later. False: it is being copied.
  bool withdraw() KVFERRY_EXCLUDES(mutex_);

  /// How the copy that began has ended: then nobody touches source or destination any more.
  /// Nothing while it is under way.
  std::optional<Status> poll() KVFERRY_EXCLUDES(mutex_);

  /// Waits for the copy that began. For ends of links only.
  Status wait() KVFERRY_EXCLUDES(mutex_);

 private:
  enum class State : uint8_t { kOffered, kWithdrawn, kCopying, kEnded };

  void end(Status status) KVFERRY_REQUIRES(mutex_);

  const std::vector<std::byte> header_;
  const std::span<const std::byte> source_;
  Mutex mutex_;
  State state_ KVFERRY_GUARDED_BY(mutex_) = State::kOffered;
  CudaEvent* done_ KVFERRY_GUARDED_BY(mutex_) = nullptr;  // while copying
  Status outcome_ KVFERRY_GUARDED_BY(mutex_);             // the first fault
};

}  // namespace kvferry
