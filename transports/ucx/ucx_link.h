#pragma once

#include <ucp/api/ucp.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kvferry/transport.h"
#include "transports/ucx/ucx_handles.h"
#include "transports/ucx/ucx_operations.h"

namespace kvferry {

/// What a link is opened with.
struct UcxLinkOptions {
  PeerClass peer_class = PeerClass::kNetwork;
  UcxErrorMode error_mode = UcxErrorMode::kPeer;
  bool fences_sources = false;
  bool detects_peer_death = false;
  /// Its transports let a worker be destroyed though its peer takes nothing in any more.
  bool ends_when_stalled = false;
  /// There are devices, so that memory given to the link is looked up before UCX sees it.
  bool may_see_device_memory = false;
  bool moves_device_memory = false;  ///< else device memory is refused
  std::string path;
};

/// A worker of its own, with one endpoint to the peer.
///
/// Offers are active messages: small payloads travel along (eager), larger ones by rendezvous,
/// which the receiver starts once the handler has named a destination. UCX is entered from
/// connect(), offer() and progress() only, and user code is called outside UCX, save for the offer
/// handler, whose answer UCX must have at once; what the handler does to the link waits until UCX
/// is left.
///
/// UCX is told the kind of all memory, and shown device memory only where it moves that. It would
/// take it for host memory otherwise, and read it as such.
///
/// Threads: the executor it was opened on
class UcxLink final : public Link, private ProgressSource {
 public:
  /// `context` is kept until the link ends.
  static Result<std::unique_ptr<Link>> create(std::shared_ptr<const UcxContext> context,
                                              UcxLinkOptions options, Executor& executor);
  ~UcxLink() override;
  UcxLink(const UcxLink&) = delete;
  UcxLink& operator=(const UcxLink&) = delete;

  std::string address() const override { return address_; }
  Status connect(std::string_view peer_address) override;
  void set_offer_handler(OfferHandler handler) override { handler_ = std::move(handler); }
  void offer(std::span<const std::byte> header, std::span<const std::byte> source,
             LinkCompletion on_sent) override;
  void close(std::function<void()> on_quiet) override;
  const LinkCapabilities& capabilities() const override { return capabilities_; }

 private:
  enum class State : uint8_t { kOpened, kConnected, kClosing, kQuiet };
  enum class WorkerEnd : uint8_t { kWait, kDestroy, kAbandon };

  UcxLink(std::shared_ptr<const UcxContext> context, UcxWorker worker, UcxLinkOptions options,
          Executor& executor);
  Status prepare();

  bool progress() override;
  int event_fd() const override { return event_fd_; }
  bool arm() override;

  bool progress_worker();
  Status say_hello();
  Status why_not_offer(size_t header_bytes) const;
  Result<ucs_memory_type_t> memory_type_of(const std::byte* memory, size_t bytes) const;
  Result<ucs_memory_type_t> receivable(std::span<std::byte> destination, size_t bytes) const;
  void start_send(UcxOperation& operation);
  ucs_status_t receive(std::span<const std::byte> header, void* data, size_t payload_bytes,
                       bool is_rendezvous);
  void start_receive(UcxOperation& operation, std::span<std::byte> destination,
                     ucs_memory_type_t memory_type, void* data);
  size_t num_to_wait_for() const;
  Status final_status(Status outcome) const;
  bool deliver();
  void run_soon();
  void begin_closing();
  void advance_close();
  WorkerEnd worker_end();
  void end_worker(WorkerEnd end);

  static ucs_status_t on_message(void* arg, const void* header, size_t header_bytes, void* data,
                                 size_t payload_bytes, const ucp_am_recv_param_t* param);
  static void on_sent(void* request, ucs_status_t status, void* operation);
  static void on_received(void* request, ucs_status_t status, size_t bytes, void* operation);
  static void on_endpoint_error(void* arg, ucp_ep_h endpoint, ucs_status_t status);

  const std::shared_ptr<const UcxContext> context_;  // outlives worker_
  const UcxLinkOptions options_;
  Executor& executor_;
  UcxWorker worker_;
  UcxEndpoint endpoint_;
  int event_fd_ = -1;
  std::string address_;
  LinkCapabilities capabilities_;
  OfferHandler handler_;

  State state_ = State::kOpened;
  bool is_progressed_ = false;  // a progress source of executor_
  bool inside_ucx_ = false;
  Status peer_failure_;  // set once the endpoint has failed
  UcxOperations operations_;
  std::deque<UcxOperation*> queued_sends_;  // made while inside UCX
  std::vector<std::function<void()>> quiet_callbacks_;
  UcxRequest hello_;  // pending while the connection is being set up
  // While closing:
  UcxRequest flush_;           // asked of UCX, see UcxWorker::is_idle
  TimePoint setup_until_{};    // waits so long for the connection to be set up
  size_t num_waited_for_ = 0;  // operations that must end before the worker
  TimePoint stalled_at_{};     // when to wait no longer, unless another one ends

  bool run_posted_ = false;
  // Tasks posted to the executor hold it weakly: they do nothing once the link is gone.
  const std::shared_ptr<UcxLink*> self_ = std::make_shared<UcxLink*>(this);
};

}  // namespace kvferry
