#pragma once

#include <ucp/api/ucp.h>

#include <string>
#include <string_view>
#include <utility>

#include "kvferry/status.h"
#include "transports/ucx/factory.h"

namespace kvferry {

/// Owns a UCP context: the choice of transports, shared by the workers of one class of peers.
///
/// Threads: any thread (it is created for workers on several threads)
class UcxContext {
 public:
  /// `keep_user_tls`: the transports are those that the environment says, not the path's.
  /// Errors: kUnimplemented where this UCX lacks the transports or the error handling asked for.
  static Result<UcxContext> create(const UcxPath& path, bool keep_user_tls);

  UcxContext(UcxContext&& other) noexcept
      : handle_(std::exchange(other.handle_, nullptr)),
        moves_device_memory_(other.moves_device_memory_) {}
  UcxContext& operator=(UcxContext&& other) noexcept {
    std::swap(handle_, other.handle_);
    std::swap(moves_device_memory_, other.moves_device_memory_);
    return *this;
  }
  UcxContext(const UcxContext&) = delete;
  UcxContext& operator=(const UcxContext&) = delete;
  ~UcxContext() {
    if (handle_ != nullptr) ucp_cleanup(handle_);
  }

  ucp_context_h get() const { return handle_; }
  /// What UCX said when the context was made: whether its transports take the memory of CUDA
  /// devices, too. UCX before 1.19 is not believed: it moves that of one device a process, and only
  /// where that device's CUDA context is current on the thread that drives UCX.
  bool moves_device_memory() const { return moves_device_memory_; }
  /// Leaves the context to a worker that was abandoned: ending it would abort the process.
  void abandon() { handle_ = nullptr; }

 private:
  explicit UcxContext(ucp_context_h handle);
  ucp_context_h handle_;
  bool moves_device_memory_;
};

/// Owns the handle of a request, not what it does: freeing one that still runs lets it run on.
class UcxRequest {
 public:
  UcxRequest() = default;
  explicit UcxRequest(void* handle) : handle_(handle) {}
  UcxRequest(UcxRequest&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  UcxRequest& operator=(UcxRequest&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  UcxRequest(const UcxRequest&) = delete;
  UcxRequest& operator=(const UcxRequest&) = delete;
  ~UcxRequest() {
    if (handle_ != nullptr) ucp_request_free(handle_);
  }

  bool is_pending() const {
    return handle_ != nullptr && ucp_request_check_status(handle_) == UCS_INPROGRESS;
  }
  /// The worker is gone, and the request with it.
  void forget() { handle_ = nullptr; }

 private:
  void* handle_ = nullptr;
};

/// Owns a UCP worker: progress, and everything that one peer can stall.
///
/// Threads: any thread, caller serialises
class UcxWorker {
 public:
  static Result<UcxWorker> create(const UcxContext& context);

  UcxWorker() = default;
  UcxWorker(UcxWorker&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  UcxWorker& operator=(UcxWorker&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  UcxWorker(const UcxWorker&) = delete;
  UcxWorker& operator=(const UcxWorker&) = delete;
  ~UcxWorker() { destroy(); }

  ucp_worker_h get() const { return handle_; }
  bool is_open() const { return handle_ != nullptr; }

  Result<std::string> address() const;
  Result<int> event_fd() const;
  /// The largest header of an active message over any transport of the worker.
  Result<size_t> max_am_header_bytes() const;

  /// Calls handler(arg, ...) with each whole active message of number `id`, from within
  /// ucp_worker_progress. `keeps_data`: also a message that came eagerly can be received into
  /// device memory by ucp_am_recv_data_nbx, which costs it a copy.
  Status on_message(unsigned id, ucp_am_recv_callback_t handler, void* arg,
                    bool keeps_data = false) const;

  /// True when nothing is under way in UCX itself: data being copied or sent, connections being set
  /// up or taken down. `flush` keeps the question between two calls. Does not progress.
  bool is_idle(UcxRequest& flush) const;

  /// Ends what is pending without calling back; requests are gone with it.
  void destroy() {
    if (handle_ != nullptr) ucp_worker_destroy(std::exchange(handle_, nullptr));
  }
  /// Leaves the worker to itself, for when destroying it would abort the process. It is never
  /// progressed again, so it moves no more data; its memory is lost.
  void abandon() { handle_ = nullptr; }

 private:
  explicit UcxWorker(ucp_worker_h handle) : handle_(handle) {}
  ucp_worker_h handle_ = nullptr;
};

/// A UCP endpoint. Its worker owns it: an endpoint not closed by hand ends with the worker.
///
/// Threads: that of its worker
class UcxEndpoint {
 public:
  /// `on_error(arg, ...)` comes from within ucp_worker_progress.
  static Result<UcxEndpoint> connect(const UcxWorker& worker, std::string_view worker_address,
                                     UcxErrorMode error_mode, ucp_err_handler_cb_t on_error,
                                     void* arg);

  UcxEndpoint() = default;
  UcxEndpoint(UcxEndpoint&& other) noexcept
      : handle_(std::exchange(other.handle_, nullptr)), error_mode_(other.error_mode_) {}
  UcxEndpoint& operator=(UcxEndpoint&& other) noexcept {
    std::swap(handle_, other.handle_);
    std::swap(error_mode_, other.error_mode_);
    return *this;
  }
  UcxEndpoint(const UcxEndpoint&) = delete;
  UcxEndpoint& operator=(const UcxEndpoint&) = delete;
  ~UcxEndpoint() = default;

  ucp_ep_h get() const { return handle_; }
  bool is_open() const { return handle_ != nullptr; }

  /// Cuts the connection; what is pending on it ends while the worker is progressed. In mode kNone
  /// UCX has no such thing, and it ends with the worker only.
  void force_close();

 private:
  UcxEndpoint(ucp_ep_h handle, UcxErrorMode error_mode)
      : handle_(handle), error_mode_(error_mode) {}
  ucp_ep_h handle_ = nullptr;
  UcxErrorMode error_mode_ = UcxErrorMode::kNone;
};

}  // namespace kvferry
