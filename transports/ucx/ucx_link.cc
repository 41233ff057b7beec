#include "transports/ucx/ucx_link.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "transports/ucx/ucx_address.h"
#include "transports/ucx/ucx_memory.h"
#include "transports/ucx/ucx_status.h"

namespace kvferry {
namespace {

constexpr unsigned kOfferMessage = 1;
constexpr unsigned kHelloMessage = 2;  // sets the connection up, and is thrown away
// Goes before the caller's header: "KVO" and a version.
constexpr std::array<std::byte, 4> kPrefix = {std::byte{'K'}, std::byte{'V'}, std::byte{'O'},
                                              std::byte{1}};
// Up to here a copy on either side costs less than the round trip of a rendezvous.
constexpr size_t kMaxEagerBytes = 4096;
constexpr size_t kMinHeaderBytes = 1024;
constexpr size_t kMaxHeaderBytes = 4096;
// How long a closing link waits for its connection to be set up, for what UCX still has under way
// when all operations have ended, and for any operation to end.
constexpr Duration kSetupLimit = std::chrono::milliseconds(200);
constexpr Duration kSettleLimit = std::chrono::milliseconds(200);
constexpr Duration kStallLimit = std::chrono::milliseconds(500);

}  // namespace

Result<std::unique_ptr<Link>> UcxLink::create(std::shared_ptr<const UcxContext> context,
                                              UcxLinkOptions options, Executor& executor) {
  KVFERRY_ASSIGN_OR_RETURN(UcxWorker worker, UcxWorker::create(*context));
  std::unique_ptr<UcxLink> link(
      new UcxLink(std::move(context), std::move(worker), std::move(options), executor));
  KVFERRY_RETURN_IF_ERROR(link->prepare());
  return std::unique_ptr<Link>(std::move(link));
}

UcxLink::UcxLink(std::shared_ptr<const UcxContext> context, UcxWorker worker,
                 UcxLinkOptions options, Executor& executor)
    : context_(std::move(context)),
      options_(std::move(options)),
      executor_(executor),
      worker_(std::move(worker)) {}

Status UcxLink::prepare() {
  KVFERRY_ASSIGN_OR_RETURN(const std::string worker_address, worker_.address());
  address_ = encode_ucx_address(options_.peer_class, worker_address);
  KVFERRY_ASSIGN_OR_RETURN(event_fd_, worker_.event_fd());
  KVFERRY_ASSIGN_OR_RETURN(const size_t max_am_header, worker_.max_am_header_bytes());
  if (max_am_header < kMinHeaderBytes + kPrefix.size()) {
    return make_error(StatusCode::kUnimplemented,
                      "UCX carries headers of " + std::to_string(max_am_header) + " bytes over " +
                          options_.path + "; kvferry needs " +
                          std::to_string(kMinHeaderBytes + kPrefix.size()) +
                          " (choose other transports)");
  }
  capabilities_.device_memory = options_.moves_device_memory;
  capabilities_.fences_sources = options_.fences_sources;
  capabilities_.detects_peer_death = options_.detects_peer_death;
  capabilities_.max_header_bytes = std::min(max_am_header - kPrefix.size(), kMaxHeaderBytes);
  capabilities_.path = options_.path;

  KVFERRY_RETURN_IF_ERROR(
      worker_.on_message(kOfferMessage, &UcxLink::on_message, this, options_.moves_device_memory));
  return worker_.on_message(
      kHelloMessage,
      [](void*, const void*, size_t, void*, size_t, const ucp_am_recv_param_t*) { return UCS_OK; },
      nullptr);
}

UcxLink::~UcxLink() {
  if (!worker_.is_open()) return;
  if (is_progressed_) executor_.remove_progress_source(this);
  begin_closing();
  WorkerEnd end = worker_end();
  for (; end == WorkerEnd::kWait; end = worker_end()) progress_worker();
  end_worker(end);
  operations_.finish_all({});  // and never deliver
}

Status UcxLink::connect(std::string_view peer_address) {
  if (state_ != State::kOpened) {
    return make_error(StatusCode::kFailedPrecondition,
                      state_ == State::kConnected
                          ? "the link is connected already; open another link for another peer"
                          : "the link is closed");
  }
  if (!handler_) {
    return make_error(StatusCode::kFailedPrecondition,
                      "the link has no offer handler; call set_offer_handler before connect");
  }
  KVFERRY_ASSIGN_OR_RETURN(const std::string_view worker_address,
                           decode_ucx_address(options_.peer_class, peer_address));
  KVFERRY_ASSIGN_OR_RETURN(endpoint_,
                           UcxEndpoint::connect(worker_, worker_address, options_.error_mode,
                                                &UcxLink::on_endpoint_error, this));
  KVFERRY_RETURN_IF_ERROR(say_hello());
  // Not earlier: a worker that is not progressed takes no offers in.
  KVFERRY_RETURN_IF_ERROR(executor_.add_progress_source(this));
  is_progressed_ = true;
  state_ = State::kConnected;
  return {};
}

Status UcxLink::say_hello() {
  ucp_request_param_t params{};
  // Without an immediate completion UCX sends it once both sides know one another, not before.
  params.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FLAG_NO_IMM_CMPL;
  params.flags = UCP_AM_SEND_FLAG_EAGER;
  void* const request = ucp_am_send_nbx(endpoint_.get(), kHelloMessage, kPrefix.data(),
                                        kPrefix.size(), nullptr, 0, &params);
  if (!UCS_PTR_IS_PTR(request)) {
    return ucx_status(UCS_PTR_STATUS(request), "UCX cannot reach the peer");
  }
  hello_ = UcxRequest(request);
  return {};
}

Status UcxLink::why_not_offer(size_t header_bytes) const {
  if (state_ == State::kOpened) {
    return make_error(StatusCode::kFailedPrecondition,
                      "the link is not connected; call connect first");
  }
  if (state_ != State::kConnected) {
    return make_error(StatusCode::kCancelled, "the link is closed");
  }
  if (header_bytes > capabilities_.max_header_bytes) {
    return make_error(StatusCode::kInvalidArgument,
                      "the header has " + std::to_string(header_bytes) + " bytes; at most " +
                          std::to_string(capabilities_.max_header_bytes));
  }
  return peer_failure_;
}

Result<ucs_memory_type_t> UcxLink::memory_type_of(const std::byte* memory, size_t bytes) const {
  if (!options_.may_see_device_memory || bytes == 0) return UCS_MEMORY_TYPE_HOST;
  KVFERRY_ASSIGN_OR_RETURN(const ucs_memory_type_t type, find_ucx_memory_type(memory));
  if (type != UCS_MEMORY_TYPE_HOST && !options_.moves_device_memory) {
    return make_error(StatusCode::kInvalidArgument,
                      "device memory cannot go over " + options_.path +
                          ": this UCX does not move it; stage it through pinned host memory, or "
                          "build kvferry with a UCX that has CUDA (UCX_ROOT)");
  }
  return type;
}

void UcxLink::offer(std::span<const std::byte> header, std::span<const std::byte> source,
                    LinkCompletion on_sent) {
  UcxOperation& operation = operations_.open(std::move(on_sent));
  Status refusal = why_not_offer(header.size());
  if (refusal.is_ok()) {
    const auto memory_type = memory_type_of(source.data(), source.size());
    if (memory_type) {
      operation.memory_type = *memory_type;
    } else {
      refusal = memory_type.error();
    }
  }
  if (!refusal.is_ok()) {
    operations_.finish(operation, std::move(refusal));
    return run_soon();
  }
  operation.header.assign(kPrefix.begin(), kPrefix.end());
  operation.header.insert(operation.header.end(), header.begin(), header.end());
  operation.source = source;
  if (inside_ucx_) {
    queued_sends_.push_back(&operation);
    return;
  }
  start_send(operation);
  if (operations_.has_finished()) run_soon();
}

void UcxLink::start_send(UcxOperation& operation) {
  ucp_request_param_t params{};
  params.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA |
                        UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  const bool is_eager =
      operation.source.size() <= kMaxEagerBytes && operation.memory_type == UCS_MEMORY_TYPE_HOST;
  params.flags = is_eager ? UCP_AM_SEND_FLAG_EAGER : UCP_AM_SEND_FLAG_RNDV;
  params.cb.send = &UcxLink::on_sent;
  params.user_data = &operation;
  params.memory_type = operation.memory_type;
  operations_.mark_in_ucx(operation, false);
  void* const request = ucp_am_send_nbx(endpoint_.get(), kOfferMessage, operation.header.data(),
                                        operation.header.size(), operation.source.data(),
                                        operation.source.size(), &params);
  if (UCS_PTR_IS_PTR(request)) {
    operation.request = UcxRequest(request);
  } else {
    operations_.finish(operation, ucx_status(UCS_PTR_STATUS(request), "UCX does not send"));
  }
}

ucs_status_t UcxLink::receive(std::span<const std::byte> header, void* data, size_t payload_bytes,
                              bool is_rendezvous) {
  // An eager message has left its sender, which cannot be told of a refusal any more.
  const ucs_status_t refused = is_rendezvous ? UCS_ERR_REJECTED : UCS_OK;
  if (state_ != State::kConnected) return is_rendezvous ? UCS_ERR_UNREACHABLE : UCS_OK;
  if (header.size() < kPrefix.size() ||
      !std::equal(kPrefix.begin(), kPrefix.end(), header.begin())) {
    return refused;
  }
  OfferReply reply = handler_(header.subspan(kPrefix.size()), payload_bytes);
  if (!std::holds_alternative<AcceptOffer>(reply)) return refused;
  auto& accept = std::get<AcceptOffer>(reply);

  UcxOperation& operation = operations_.open(std::move(accept.on_received));
  const auto memory_type = receivable(accept.destination, payload_bytes);
  if (!memory_type) {
    operations_.finish(operation, memory_type.error());
    return refused;
  }
  if (is_rendezvous || *memory_type != UCS_MEMORY_TYPE_HOST) {
    start_receive(operation, accept.destination.first(payload_bytes), *memory_type, data);
    return UCS_OK;  // the message is UCX's since ucp_am_recv_data_nbx, however that went
  }
  if (payload_bytes > 0) std::memcpy(accept.destination.data(), data, payload_bytes);
  operations_.finish(operation, {});
  return UCS_OK;
}

Result<ucs_memory_type_t> UcxLink::receivable(std::span<std::byte> destination,
                                              size_t bytes) const {
  if (state_ != State::kConnected) {
    return make_error(StatusCode::kCancelled, "the offer handler closed the link");
  }
  if (destination.size() < bytes) {
    return make_error(StatusCode::kInvalidArgument,
                      "the destination is too small: " + std::to_string(destination.size()) +
                          " bytes for " + std::to_string(bytes));
  }
  return memory_type_of(destination.data(), bytes);
}

void UcxLink::start_receive(UcxOperation& operation, std::span<std::byte> destination,
                            ucs_memory_type_t memory_type, void* data) {
  ucp_request_param_t params{};
  params.op_attr_mask =
      UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  params.cb.recv_am = &UcxLink::on_received;
  params.user_data = &operation;
  params.memory_type = memory_type;
  operations_.mark_in_ucx(operation, true);
  void* const request =
      ucp_am_recv_data_nbx(worker_.get(), data, destination.data(), destination.size(), &params);
  if (UCS_PTR_IS_PTR(request)) {
    operation.request = UcxRequest(request);  // on_received may have come already
  } else {
    operations_.finish(operation, ucx_status(UCS_PTR_STATUS(request), "UCX does not receive"));
  }
}

ucs_status_t UcxLink::on_message(void* arg, const void* header, size_t header_bytes, void* data,
                                 size_t payload_bytes, const ucp_am_recv_param_t* param) {
  const std::span<const std::byte> bytes(static_cast<const std::byte*>(header), header_bytes);
  const bool is_rendezvous = (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0;
  return static_cast<UcxLink*>(arg)->receive(bytes, data, payload_bytes, is_rendezvous);
}

void UcxLink::on_sent(void* /*request*/, ucs_status_t status, void* operation) {
  auto& sent = *static_cast<UcxOperation*>(operation);
  sent.table->finish(sent, ucx_status(status, "UCX did not send"));
}

void UcxLink::on_received(void* /*request*/, ucs_status_t status, size_t /*bytes*/,
                          void* operation) {
  auto& received = *static_cast<UcxOperation*>(operation);
  received.table->finish(received, ucx_status(status, "UCX did not receive"));
}

void UcxLink::on_endpoint_error(void* arg, ucp_ep_h /*endpoint*/, ucs_status_t status) {
  auto& link = *static_cast<UcxLink*>(arg);
  const Status cause = ucx_status(status, "the connection to the peer broke");
  link.peer_failure_ = Status::native(StatusCode::kUnavailable, ErrorDomain::kUcx, status,
                                      std::string(cause.message()));
}

Status UcxLink::final_status(Status outcome) const {
  if (outcome.is_ok()) return outcome;
  if (state_ == State::kClosing && outcome.code() != StatusCode::kFailedPrecondition) {
    return {StatusCode::kCancelled, "the link was closed"};
  }
  if (outcome.domain() != ErrorDomain::kUcx) return outcome;
  if (!peer_failure_.is_ok()) return peer_failure_;
  if (outcome.code() == StatusCode::kCancelled) {  // not by us: the peer cut the connection
    return Status::native(StatusCode::kUnavailable, ErrorDomain::kUcx, outcome.native_code(),
                          std::string(outcome.message()));
  }
  return outcome;
}

bool UcxLink::deliver() {
  return operations_.deliver([this](Status outcome) { return final_status(std::move(outcome)); });
}

bool UcxLink::progress_worker() {
  inside_ucx_ = true;
  const unsigned events = ucp_worker_progress(worker_.get());
  inside_ucx_ = false;
  return events != 0;
}

bool UcxLink::progress() {
  if (!worker_.is_open()) return false;
  const bool progressed = progress_worker();
  if (!peer_failure_.is_ok()) endpoint_.force_close();  // ends what is still open on it
  while (!queued_sends_.empty()) {
    UcxOperation& operation = *queued_sends_.front();
    queued_sends_.pop_front();
    if (state_ == State::kConnected && endpoint_.is_open()) {
      start_send(operation);
    } else {
      operations_.finish(operation, peer_failure_.is_ok()
                                        ? Status(StatusCode::kCancelled, "the link was closed")
                                        : peer_failure_);
    }
  }
  const bool delivered = deliver();
  if (state_ == State::kClosing) {
    advance_close();  // may destroy this link
    return true;
  }
  return progressed || delivered;
}

bool UcxLink::arm() {
  if (state_ == State::kClosing || operations_.has_finished()) return false;
  return ucp_worker_arm(worker_.get()) == UCS_OK;
}

void UcxLink::run_soon() {
  if (std::exchange(run_posted_, true)) return;
  executor_.post([weak = std::weak_ptr<UcxLink*>(self_)] {
    UcxLink** const self = weak.lock().get();  // ends on this executor only, so not meanwhile
    if (self == nullptr) return;
    UcxLink& link = **self;
    link.run_posted_ = false;
    link.deliver();
    if (link.state_ == State::kClosing || link.state_ == State::kQuiet) link.advance_close();
  });
}

void UcxLink::close(std::function<void()> on_quiet) {
  if (on_quiet) quiet_callbacks_.push_back(std::move(on_quiet));
  if (state_ == State::kOpened || state_ == State::kConnected) {
    begin_closing();
  }
  run_soon();
}

void UcxLink::begin_closing() {
  state_ = State::kClosing;
  setup_until_ = executor_.clock().now() + kSetupLimit;
}

void UcxLink::advance_close() {
  if (state_ == State::kClosing) {
    const WorkerEnd end = worker_end();
    if (end == WorkerEnd::kWait) return;  // progress() comes by again: arm() refuses to sleep
    if (is_progressed_) executor_.remove_progress_source(this);
    end_worker(end);
    operations_.finish_all({StatusCode::kCancelled, "the link was closed"});
    deliver();
    state_ = State::kQuiet;
  }
  const std::weak_ptr<UcxLink*> weak = self_;
  for (const auto& on_quiet : std::exchange(quiet_callbacks_, {})) {
    if (!weak.expired()) on_quiet();  // may destroy this link
  }
}

size_t UcxLink::num_to_wait_for() const {
  return operations_.receives_in_ucx() +
         (options_.error_mode == UcxErrorMode::kPeer ? operations_.sends_in_ucx() : 0);
}

// Destroying a worker aborts the process while a pull (CMA) is half done, while a connection is
// being set up or taken down and, in mode kPeer, before the endpoint is closed by force.
// docs/gotchas.md has the reasons for each step.
UcxLink::WorkerEnd UcxLink::worker_end() {
  if (!endpoint_.is_open() && !is_progressed_) return WorkerEnd::kDestroy;
  if (!is_progressed_) {  // connect() failed half-way: its setup is under way
    endpoint_.force_close();
    return WorkerEnd::kDestroy;
  }
  const TimePoint now = executor_.clock().now();
  if (options_.error_mode == UcxErrorMode::kPeer && endpoint_.is_open()) {
    const bool is_set_up = !hello_.is_pending();
    if (!is_set_up && now < setup_until_) return WorkerEnd::kWait;
    endpoint_.force_close();
    // Progress would now let the peer's side of the setup in, for an endpoint that is gone.
    if (!is_set_up) return num_to_wait_for() == 0 ? WorkerEnd::kDestroy : WorkerEnd::kAbandon;
  }
  const size_t num = num_to_wait_for();
  if (num == 0 && worker_.is_idle(flush_)) return WorkerEnd::kDestroy;
  if (num != std::exchange(num_waited_for_, num) || stalled_at_ == TimePoint()) {
    stalled_at_ = now + (num == 0 ? kSettleLimit : kStallLimit);
  }
  if (now < stalled_at_) return WorkerEnd::kWait;
  const bool may_destroy =
      options_.error_mode == UcxErrorMode::kPeer && (num == 0 || options_.ends_when_stalled);
  return may_destroy ? WorkerEnd::kDestroy : WorkerEnd::kAbandon;
}

void UcxLink::end_worker(WorkerEnd end) {
  if (end == WorkerEnd::kAbandon) {
    worker_.abandon();
  } else {
    worker_.destroy();
  }
  flush_.forget();
  hello_.forget();
}

}  // namespace kvferry
