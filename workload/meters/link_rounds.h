#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "kvferry/clock.h"
#include "kvferry/status.h"
#include "kvferry/transport.h"
#include "runtime/control/messages.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"
#include "workload/meters/chunk_ring.h"

namespace kvferry {

/// Pieces of a ring over a Link on an executor of its own, with headers as the runtime's, and
/// nothing else of the runtime. What comes in is accepted whether or not receive() waits for it
/// already, so that both sides need not start at once.
///
/// Threads: any thread, caller serialises. Waits are bounded by deadlines.
class LinkRounds {
 public:
  struct Moved {
    int64_t bytes = 0;
    double seconds = 0;  ///< send(): all of it. receive(): first offer to last completion
  };

  /// Errors: kResourceExhausted; what the transport says.
  static Result<std::unique_ptr<LinkRounds>> open(Transport& transport, PeerClass peer_class);
  /// Afterwards this side touches the ring no more.
  ~LinkRounds();
  LinkRounds(const LinkRounds&) = delete;
  LinkRounds& operator=(const LinkRounds&) = delete;

  const std::string& address() const { return address_; }
  const LinkCapabilities& capabilities() const { return capabilities_; }

  /// `ring` is borrowed until the end.
  /// Errors: as Link::connect.
  Status connect(std::string_view peer_address, const ChunkRing& ring);

  /// Offers `count` pieces in order, at most `depth` at a time.
  /// Errors: kDeadlineExceeded; what the link says.
  Result<Moved> send(int64_t count, int64_t depth, TimePoint deadline);
  /// Errors: as send(); kDataLoss if other pieces come than the sender's same call sends.
  Result<Moved> receive(int64_t count, TimePoint deadline);

 private:
  /// One send() or receive(); lives on the executor.
  struct Round {
    int64_t count = 0;  // 0: receive() has not come yet
    int64_t depth = 0;
    int64_t offered = 0;
    int64_t finished = 0;
    int64_t bytes = 0;
    TimePoint first{};
    TimePoint last{};
    Status status;
    std::promise<void> done;
    bool is_done = false;
  };
  using RoundPtr = std::shared_ptr<Round>;

  LinkRounds() = default;
  /// Runs a task on the executor and waits for it.
  void run_on_executor(const std::function<void()>& task);
  Result<Moved> wait(const RoundPtr& round, std::string_view what, TimePoint deadline);

  void offer_more(const RoundPtr& round);
  OfferReply on_offer(std::span<const std::byte> header, size_t payload_bytes);
  Status check_offer(const FragmentHeader& header, size_t payload_bytes) const;
  void finish_if_done(Round& round);

  const SteadyClock clock_;
  std::unique_ptr<ThreadExecutor> executor_;
  std::string address_;
  LinkCapabilities capabilities_;

  // Executor only, once connected.
  std::unique_ptr<Link> link_;
  const ChunkRing* ring_ = nullptr;
  uint64_t round_number_ = 0;
  RoundPtr incoming_ = std::make_shared<Round>();
};

}  // namespace kvferry
