#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "kvferry/mutex.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"
#include "transports/ucx/factory.h"

namespace kvferry {

/// One process's half of a UCX link: offers patterned payloads, accepts what comes, checks it.
///
/// Threads: any but its executor's
class UcxProcessSide {
 public:
  struct Counts {
    int num_offered = 0;
    int num_sent = 0;         // offers ended, however
    int num_accepted = 0;     // offers of the peer
    int num_received = 0;     // of these, ended
    int num_received_ok = 0;  // of these, whole
    int num_wrong = 0;        // of these, with wrong bytes
    bool is_quiet = false;
  };

  /// `mirror`: offers back what has arrived whole.
  UcxProcessSide(PeerClass peer_class, bool mirror);
  /// On its executor: the link, closed or not.
  ~UcxProcessSide();

  std::string address();
  Status connect(const std::string& peer_address);
  void offer(uint64_t seed, size_t payload_bytes);
  /// Keeps `depth` offers open until close().
  void offer_forever(int depth, size_t payload_bytes);
  void close();

  Counts counts() const KVFERRY_EXCLUDES(mutex_);
  /// False when `limit` passed first.
  template <typename Done>
  bool wait(Done done, Duration limit) KVFERRY_EXCLUDES(mutex_) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    MutexLock lock(mutex_);
    while (!done(counts_)) {
      if (!changed_.wait_until(mutex_, deadline)) return done(counts_);
    }
    return true;
  }

 private:
  struct Payload {
    uint64_t seed;
    std::vector<std::byte> bytes;
  };

  OfferReply accept(std::span<const std::byte> header, size_t payload_bytes);
  void offer_here(std::shared_ptr<Payload> payload, bool forever);
  template <typename Change>
  void note(Change change) KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    change(counts_);
    changed_.notify_all();
  }

  const SteadyClock clock_;
  const bool mirror_;
  mutable Mutex mutex_;
  CondVar changed_;
  Counts counts_ KVFERRY_GUARDED_BY(mutex_);
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<Link> link_;  // executor only
  bool closing_ = false;        // executor only
  std::unique_ptr<ThreadExecutor> executor_;
};

}  // namespace kvferry
