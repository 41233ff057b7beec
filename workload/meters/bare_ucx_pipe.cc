#include "workload/meters/bare_ucx_pipe.h"

#include <sched.h>

#include <algorithm>
#include <cstring>

#include "transports/ucx/ucx_address.h"
#include "transports/ucx/ucx_status.h"

namespace kvferry {
namespace {

constexpr unsigned kPieceMessage = 1;
// How many idle turns pass between two looks at the clock.
constexpr int kIdleTurnsPerLook = 256;
// How long the end of the worker waits for copies under way.
constexpr Duration kEndLimit = std::chrono::seconds(1);

}  // namespace

Result<std::unique_ptr<BareUcxPipe>> BareUcxPipe::create(Options options) {
  KVFERRY_ASSIGN_OR_RETURN(UcxContext owned,
                           UcxContext::create({options.tls, UcxErrorMode::kNone}, false));
  auto context = std::make_unique<UcxContext>(std::move(owned));
  KVFERRY_ASSIGN_OR_RETURN(UcxWorker worker, UcxWorker::create(*context));
  KVFERRY_ASSIGN_OR_RETURN(const std::string worker_address, worker.address());
  std::string address = encode_ucx_address(options.peer_class, worker_address);
  std::unique_ptr<BareUcxPipe> pipe(new BareUcxPipe(std::move(options), std::move(context),
                                                    std::move(worker), std::move(address)));
  KVFERRY_RETURN_IF_ERROR(
      pipe->worker_.on_message(kPieceMessage, &BareUcxPipe::on_message, pipe.get()));
  return pipe;
}

Status BareUcxPipe::connect(std::string_view peer_address) {
  if (endpoint_.is_open() || !worker_.is_open()) {
    return {StatusCode::kFailedPrecondition, "the bare pipe was connected already; make another"};
  }
  KVFERRY_ASSIGN_OR_RETURN(const std::string_view worker_address,
                           decode_ucx_address(options_.peer_class, peer_address));
  KVFERRY_ASSIGN_OR_RETURN(endpoint_, UcxEndpoint::connect(worker_, worker_address,
                                                           UcxErrorMode::kNone, nullptr, nullptr));
  return {};
}

Status BareUcxPipe::check_call(int64_t count, int64_t depth) const {
  if (count < 1 || depth < 1) {
    return {StatusCode::kInvalidArgument, "bare pipe: " + std::to_string(count) + " pieces, " +
                                              std::to_string(depth) +
                                              " at a time; both are at least 1"};
  }
  if (!endpoint_.is_open() || !worker_.is_open()) {
    return {StatusCode::kFailedPrecondition,
            "the bare pipe is not connected, or ended by an error; connect a new one"};
  }
  return {};
}

template <typename Done>
Status BareUcxPipe::progress_until(TimePoint deadline, Done&& done) {
  for (int idle_turns = 0; !done();) {
    if (ucp_worker_progress(worker_.get()) != 0) {
      idle_turns = 0;
      continue;
    }
    // Where both sides share a core, one that does not yield holds up what it waits for.
    ::sched_yield();
    if (++idle_turns % kIdleTurnsPerLook == 0 && clock_.now() > deadline) {
      return {StatusCode::kDeadlineExceeded,
              "the bare pipe's peer takes no part; is it alive, and "
              "does it run the same round?"};
    }
  }
  return {};
}

Result<UcxRequest> BareUcxPipe::send_piece(const int64_t& index, std::span<const std::byte> piece) {
  ucp_request_param_t params{};
  params.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  params.flags = UCP_AM_SEND_FLAG_RNDV;
  params.memory_type = UCS_MEMORY_TYPE_HOST;
  void* const request = ucp_am_send_nbx(endpoint_.get(), kPieceMessage, &index, sizeof(index),
                                        piece.data(), piece.size(), &params);
  if (UCS_PTR_IS_PTR(request)) return UcxRequest(request);
  KVFERRY_RETURN_IF_ERROR(ucx_status(UCS_PTR_STATUS(request), "UCX does not send"));
  return UcxRequest();
}

Result<BareUcxPipe::Moved> BareUcxPipe::send(
    int64_t count, int64_t depth,
    const std::function<std::span<const std::byte>(int64_t)>& prepare) {
  KVFERRY_RETURN_IF_ERROR(check_call(count, depth));
  depth = std::min(depth, count);
  std::vector<UcxRequest> requests(static_cast<size_t>(depth));
  std::vector<int64_t> indices(static_cast<size_t>(depth));  // UCX reads them until piece is sent
  int64_t oldest = 0;                                        // not known to be sent
  const auto slot = [depth](int64_t piece) { return static_cast<size_t>(piece % depth); };
  const auto all_but_sent = [&](int64_t end, int64_t limit) {
    while (oldest < end && !requests[slot(oldest)].is_pending()) ++oldest;
    return end - oldest < limit;
  };

  Moved moved;
  const TimePoint start = clock_.now();
  const TimePoint deadline = start + options_.timeout;
  Status status;
  for (int64_t i = 0; i < count && status.is_ok(); ++i) {
    status = progress_until(deadline, [&] { return all_but_sent(i, depth); });
    if (!status.is_ok()) break;
    const std::span<const std::byte> piece = prepare(i);
    indices[slot(i)] = i;
    Result<UcxRequest> request = send_piece(indices[slot(i)], piece);
    if (!request) {
      status = request.error();
      break;
    }
    requests[slot(i)] = std::move(*request);
    moved.bytes += static_cast<int64_t>(piece.size());
    ucp_worker_progress(worker_.get());  // pieces sent before wait for nobody
  }
  if (status.is_ok()) status = progress_until(deadline, [&] { return all_but_sent(count, 1); });
  if (!status.is_ok()) {
    end_worker();
    for (UcxRequest& request : requests) request.forget();
    return make_error(status.with_context("piece " + std::to_string(oldest) + " of " +
                                          std::to_string(count) + " not sent"));
  }
  moved.seconds = std::chrono::duration<double>(clock_.now() - start).count();
  return moved;
}

Result<BareUcxPipe::Moved> BareUcxPipe::receive(
    int64_t count, const std::function<std::span<std::byte>(int64_t)>& destination,
    const std::function<void(int64_t)>& consume) {
  KVFERRY_RETURN_IF_ERROR(check_call(count, 1));
  Receiving receiving{count, destination, consume};
  receiving.pieces.assign(static_cast<size_t>(count), Piece{this});
  receiving_ = &receiving;
  while (!early_offers_.empty() && receiving.offered < count) {
    const Offer offer = early_offers_.front();
    early_offers_.pop_front();
    if (!start_receive(offer)) ucp_am_data_release(worker_.get(), offer.data);
  }
  Status status = progress_until(clock_.now() + options_.timeout, [&receiving] {
    return receiving.consumed == receiving.count || !receiving.failure.is_ok();
  });
  if (status.is_ok()) status = receiving.failure;
  if (!status.is_ok()) {
    end_worker();
    receiving_ = nullptr;
    return make_error(status.with_context("piece " + std::to_string(receiving.consumed) + " of " +
                                          std::to_string(count) + " not received"));
  }
  receiving_ = nullptr;
  return Moved{receiving.bytes,
               std::chrono::duration<double>(clock_.now() - receiving.first_offer).count()};
}

bool BareUcxPipe::start_receive(const Offer& offer) {
  Receiving& receiving = *receiving_;
  if (receiving.offered == 0) receiving.first_offer = clock_.now();
  const int64_t index = receiving.offered++;
  const std::span<std::byte> to = receiving.destination(index);
  if (offer.index != index || offer.bytes != to.size()) {
    receiving.failure =
        Status(StatusCode::kDataLoss,
               "piece " + std::to_string(offer.index) + " of " + std::to_string(offer.bytes) +
                   " bytes came; piece " + std::to_string(index) + " of " +
                   std::to_string(to.size()) + " is expected: do both sides run the same round?");
    return false;
  }
  receiving.bytes += static_cast<int64_t>(offer.bytes);
  Piece& piece = receiving.pieces[static_cast<size_t>(index)];
  ucp_request_param_t params{};
  params.op_attr_mask =
      UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  params.cb.recv_am = &BareUcxPipe::on_received;
  params.user_data = &piece;
  params.memory_type = UCS_MEMORY_TYPE_HOST;
  ++pulls_;
  void* const request =
      ucp_am_recv_data_nbx(worker_.get(), offer.data, to.data(), offer.bytes, &params);
  if (!UCS_PTR_IS_PTR(request)) finish_piece(piece, UCS_PTR_STATUS(request));
  return true;
}

// Consumes here and not after ucp_worker_progress: the piece is as warm as it gets, and the sender,
// though told already that it was pulled, cannot have its memory overwritten before.
void BareUcxPipe::finish_piece(Piece& piece, ucs_status_t status) {
  --pulls_;
  if (receiving_ == nullptr || !receiving_->failure.is_ok()) return;
  Receiving& receiving = *receiving_;
  receiving.failure = ucx_status(status, "UCX did not receive");
  piece.complete = receiving.failure.is_ok();
  while (receiving.consumed < receiving.count &&
         receiving.pieces[static_cast<size_t>(receiving.consumed)].complete) {
    receiving.consume(receiving.consumed++);
  }
}

ucs_status_t BareUcxPipe::on_message(void* arg, const void* header, size_t header_bytes, void* data,
                                     size_t payload_bytes, const ucp_am_recv_param_t* param) {
  auto& pipe = *static_cast<BareUcxPipe*>(arg);
  Offer offer{-1, data, payload_bytes};
  if (header_bytes == sizeof(offer.index)) std::memcpy(&offer.index, header, header_bytes);
  if ((param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0) return UCS_OK;  // not by us
  if (pipe.receiving_ == nullptr || pipe.receiving_->offered == pipe.receiving_->count) {
    pipe.early_offers_.push_back(offer);
    return UCS_INPROGRESS;
  }
  if (!pipe.receiving_->failure.is_ok() || !pipe.start_receive(offer)) return UCS_ERR_REJECTED;
  return UCS_OK;  // the message is UCX's since ucp_am_recv_data_nbx
}

void BareUcxPipe::on_received(void* request, ucs_status_t status, size_t /*bytes*/, void* piece) {
  auto& received = *static_cast<Piece*>(piece);
  received.pipe->finish_piece(received, status);
  ucp_request_free(request);
}

// Destroying a worker while a pull is half done aborts the process (see UcxLink).
void BareUcxPipe::end_worker() {
  if (!worker_.is_open()) return;
  const TimePoint limit = clock_.now() + kEndLimit;
  for (const Offer& offer : early_offers_) ucp_am_data_release(worker_.get(), offer.data);
  early_offers_.clear();
  UcxRequest flush;
  while (pulls_ > 0 || !worker_.is_idle(flush)) {
    if (clock_.now() > limit) {
      worker_.abandon();  // and with it the context
      context_->abandon();
      flush.forget();
      return;
    }
    ucp_worker_progress(worker_.get());
  }
  worker_.destroy();
  flush.forget();
}

}  // namespace kvferry
