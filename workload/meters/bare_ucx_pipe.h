#pragma once

#include <ucp/api/ucp.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvferry/clock.h"
#include "kvferry/status.h"
#include "kvferry/transport.h"
#include "runtime/steady_clock.h"
#include "transports/ucx/ucx_handles.h"

namespace kvferry {

/// The least that UCX takes to move pieces from one process to another: active messages by
/// rendezvous on a worker of its own, error mode NONE, progressed by spinning (and yielding, never
/// sleeping) in the caller's thread. No leases, digests or bookkeeping: the ceiling of what the
/// runtime does.
///
/// One side calls send(), the other receive(), with the same count and at about the same time. A
/// call that fails ends the pipe: this side touches no memory given to it any more, but the peer
/// may still read what it was offered.
///
/// Threads: any thread, caller serialises
class BareUcxPipe {
 public:
  struct Options {
    PeerClass peer_class = PeerClass::kSameHostPull;
    std::string tls = "tcp,cma,self";
    Duration timeout = std::chrono::seconds(10);  ///< of one send() or receive() as a whole
  };

  /// What one call moved.
  struct Moved {
    int64_t bytes = 0;
    /// send(): all of it. receive(): from the first piece offered to the end of the last.
    double seconds = 0;
  };

  /// Errors: kUnimplemented, kResourceExhausted or kInternal, as UCX says.
  static Result<std::unique_ptr<BareUcxPipe>> create(Options options);

  /// As a failed call: afterwards this side touches no memory given to it.
  ~BareUcxPipe() { end_worker(); }
  BareUcxPipe(const BareUcxPipe&) = delete;
  BareUcxPipe& operator=(const BareUcxPipe&) = delete;

  const std::string& address() const { return address_; }

  /// Errors: kInvalidArgument for an address of something else; kFailedPrecondition when connected
  ///   already; kUnavailable.
  Status connect(std::string_view peer_address);

  /// Sends `count` pieces in order, at most `depth` at a time: piece i is prepared once piece
  /// i - depth has been pulled. `prepare(i)` returns the piece, which stays as it is until then.
  ///
  /// Errors: kInvalidArgument if count or depth is not positive; kFailedPrecondition if not
  ///   connected, or after an error; kDeadlineExceeded or kUnavailable without the peer; what UCX
  ///   says.
  Result<Moved> send(int64_t count, int64_t depth,
                     const std::function<std::span<const std::byte>(int64_t)>& prepare);

  /// Receives `count` pieces. `destination(i)` says where piece i goes, as soon as it is offered;
  /// `consume(i)` runs in order when it is there, before piece i + depth is asked about.
  ///
  /// Errors: as send(); kDataLoss if another piece comes than `destination` has room for, exactly.
  Result<Moved> receive(int64_t count,
                        const std::function<std::span<std::byte>(int64_t)>& destination,
                        const std::function<void(int64_t)>& consume);

 private:
  struct Piece {
    BareUcxPipe* pipe = nullptr;
    bool complete = false;
  };
  struct Offer {  // UCX keeps `data` until it is received or released
    int64_t index = 0;
    void* data = nullptr;
    size_t bytes = 0;
  };
  /// What receive() is at.
  struct Receiving {
    int64_t count = 0;
    const std::function<std::span<std::byte>(int64_t)>& destination;
    const std::function<void(int64_t)>& consume;
    std::vector<Piece> pieces = {};
    int64_t offered = 0;
    int64_t consumed = 0;
    int64_t bytes = 0;
    TimePoint first_offer{};
    Status failure = {};
  };

  BareUcxPipe(Options options, std::unique_ptr<UcxContext> context, UcxWorker worker,
              std::string address)
      : options_(std::move(options)),
        context_(std::move(context)),
        worker_(std::move(worker)),
        address_(std::move(address)) {}

  Status check_call(int64_t count, int64_t depth) const;
  /// Progresses until done() or the deadline.
  template <typename Done>
  Status progress_until(TimePoint deadline, Done&& done);
  Result<UcxRequest> send_piece(const int64_t& index, std::span<const std::byte> piece);
  /// False if the offer is not taken; says why in receiving_->failure.
  bool start_receive(const Offer& offer);
  void finish_piece(Piece& piece, ucs_status_t status);
  void end_worker();

  static ucs_status_t on_message(void* arg, const void* header, size_t header_bytes, void* data,
                                 size_t payload_bytes, const ucp_am_recv_param_t* param);
  static void on_received(void* request, ucs_status_t status, size_t bytes, void* piece);

  const Options options_;
  const SteadyClock clock_;
  std::unique_ptr<UcxContext> context_;  // outlives worker_
  UcxWorker worker_;
  const std::string address_;
  UcxEndpoint endpoint_;
  Receiving* receiving_ = nullptr;  // while receive() runs
  std::deque<Offer> early_offers_;  // of the next receive()
  int64_t pulls_ = 0;               // under way
};

}  // namespace kvferry
