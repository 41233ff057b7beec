#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kvferry/transport.h"
#include "transports/sim/sim_network.h"

namespace kvferry {

/// The half of a SimLink that outlives it: what is under way holds it, and finds it detached when
/// the link is gone.
///
/// A receiver copies an offer in parts, each a task of its own, so that a stopped receiver reads
/// late. Where the link `fences_sources`, its end withdraws what it offered; else the peer reads
/// on, as a pull between processes does.
///
/// Threads: one (the world's); the link's executor is where it calls back
class SimPort : public std::enable_shared_from_this<SimPort> {
 public:
  SimPort(SimNetwork& network, SimExecutor& executor, bool fences_sources)
      : network_(network), executor_(&executor), fences_sources_(fences_sources) {}

  void set_address(std::string address) { address_ = std::move(address); }
  void set_offer_handler(OfferHandler handler) { handler_ = std::move(handler); }
  Status connect(std::string_view peer_address);
  void offer(std::span<const std::byte> header, std::span<const std::byte> source,
             LinkCompletion on_sent);
  void close(std::function<void()> on_quiet);
  /// The link is being destroyed: its executor is not used and nothing is called back any more.
  void detach();

 private:
  enum class State : uint8_t { kOpened, kConnected, kClosed, kDetached };
  /// One offer under way, held by both sides.
  struct Offer {
    uint64_t id = 0;
    std::vector<std::byte> header;
    std::span<const std::byte> source;
    uint64_t stamp = 0;  ///< of the source, when it was offered
    std::weak_ptr<SimPort> from;
    const SimProcess* process = nullptr;
    std::shared_ptr<const bool> is_withdrawn;  ///< by the end of its link, with all others of it
  };
  using OfferPtr = std::shared_ptr<Offer>;
  struct Sending {
    OfferPtr offer;
    LinkCompletion on_sent;
  };
  struct Receiving {
    OfferPtr offer;
    std::span<std::byte> destination;
    uint64_t stamp = 0;  ///< of the destination, when it was named
    LinkCompletion on_received;
    size_t done_bytes = 0;
  };

  bool is_live() const { return state_ == State::kConnected; }
  void complete_later(LinkCompletion completion, Status status);
  void deliver(const OfferPtr& offer);
  void arrive(const OfferPtr& offer);
  void copy_some(uint64_t receive_id);
  Status copy_part(Receiving& receiving);
  void finish_receive(uint64_t receive_id, const Status& status);
  /// The peer tells, after a while, how an offer of ours ended.
  void tell_sender(const OfferPtr& offer, Status status);
  void finish_send(uint64_t offer_id, const Status& status);

  SimNetwork& network_;
  SimExecutor* executor_;
  const bool fences_sources_;
  State state_ = State::kOpened;
  std::string address_;
  std::string peer_address_;
  OfferHandler handler_;
  uint64_t next_id_ = 1;
  TimePoint last_delivery_{};  // offers arrive in order, unless reordered
  const std::shared_ptr<bool> is_withdrawn_ = std::make_shared<bool>(false);
  std::vector<OfferPtr> early_;
  std::map<uint64_t, Sending> sending_;
  std::map<uint64_t, Receiving> receiving_;
};

}  // namespace kvferry
