#include "transports/ucx/ucx_handles.h"

#include <ucs/debug/debug.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <span>
#include <utility>

#include "transports/ucx/ucx_status.h"

namespace kvferry {
namespace {

void give_back(int signal) {
  struct sigaction action = {};
  const bool is_taken = ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler != SIG_DFL;
  if (is_taken) ucs_debug_disable_signal(signal);
}

// libucs takes SIGHUP (to enter a debug mode) and the fatal signals (to print a backtrace) of every
// process that loads it, before main(). They are the application's: a SIGHUP must end a program
// that did not ask otherwise. Whoever sets UCX_HANDLE_ERRORS or UCX_DEBUG_SIGNO gets UCX's way.
__attribute__((constructor)) void give_signals_back() {
  if (std::getenv("UCX_DEBUG_SIGNO") == nullptr)
    give_back(SIGHUP);                                      // NOLINT(concurrency-mt-unsafe)
  if (std::getenv("UCX_HANDLE_ERRORS") != nullptr) return;  // NOLINT(concurrency-mt-unsafe)
  for (const int signal : {SIGILL, SIGSEGV, SIGBUS, SIGFPE}) give_back(signal);
}

struct ConfigRelease {
  void operator()(ucp_config_t* config) const { ucp_config_release(config); }
};
using Config = std::unique_ptr<ucp_config_t, ConfigRelease>;

using Version = std::pair<unsigned, unsigned>;  // major, minor
constexpr Version kFirstWithPrefixes{1, 17};
constexpr Version kFirstWithDevices{1, 19};

Version loaded_version() {
  Version version;
  unsigned release = 0;
  ucp_get_version(&version.first, &version.second, &release);
  return version;
}

struct Setting {
  const char* transport;  // the path must name it; null: any
  const char* prefix;     // of the transport's own keys
  const char* key;
  const char* value;
};

// UCX before 1.17 accepts a transport's key with its prefix but ignores it, newer ones ignore it or
// (1.21) refuse it without. Keys that no transport of the context reads would make UCX warn on
// stdout, hence the names.
constexpr std::array<Setting, 1> kSettings = {{
    // UCX aborts when a peer dies between a connect() that waits and the first send().
    {"tcp", "TCP_", "CONN_NB", "y"},
}};
// The receiver pulls: in this mode nothing could end the writes of a peer that UCX lets put.
constexpr std::array<Setting, 3> kPullSettings = {{
    {nullptr, "", "RNDV_SCHEME", "get_zcopy"},
    // Without NVLink cuda_ipc offers puts only.
    {"cuda", "CUDA_IPC_", "ENABLE_GET_ZCOPY", "on"},
    // Between device and host memory no pull is to be had: pieces are sent, instead of put from
    // fragments.
    {"cuda", "", "RNDV_FRAG_MEM_TYPES", ""},
}};
constexpr std::array<Setting, 5> kPeerModeSettings = {{
    // UCX leaves shared memory out of endpoints with peer error handling without it.
    {"posix", "", "MM_ERROR_HANDLING", "y"},
    {"sysv", "", "MM_ERROR_HANDLING", "y"},
    // UCX 1.13 completes a zero-copy send over TCP twice when its connection breaks, and aborts.
    // With segments of 64 KiB copying is as fast.
    {nullptr, "", "ZCOPY_THRESH", "inf"},
    {"tcp", "TCP_", "PUT_ENABLE", "n"},
    {"tcp", "TCP_", "TX_SEG_SIZE", "64k"},
}};

Status modify(ucp_config_t* config, const std::string& key, const char* value) {
  return ucx_status(ucp_config_modify(config, key.c_str(), value),
                    "this UCX refuses the setting UCX_" + key + "=" + value);
}

Status apply(std::span<const Setting> settings, const UcxPath& path, ucp_config_t* config) {
  const bool has_prefixes = loaded_version() >= kFirstWithPrefixes;
  for (const Setting& setting : settings) {
    if (setting.transport != nullptr && path.tls.find(setting.transport) == path.tls.npos) continue;
    const std::string prefix = has_prefixes ? setting.prefix : "";
    KVFERRY_RETURN_IF_ERROR(modify(config, prefix + setting.key, setting.value));
  }
  return {};
}

Result<Config> make_config(const UcxPath& path, bool keep_user_tls) {
  ucp_config_t* raw = nullptr;
  KVFERRY_RETURN_IF_ERROR(
      ucx_status(ucp_config_read(nullptr, nullptr, &raw), "UCX cannot read its configuration"));
  Config config(raw);
  if (!keep_user_tls) {
    KVFERRY_RETURN_IF_ERROR(modify(config.get(), "TLS", path.tls.c_str()));
    // What a UCX was built without is left out of what we ask for, without a warning on stdout.
    KVFERRY_RETURN_IF_ERROR(modify(config.get(), "WARN_INVALID_CONFIG", "n"));
  }
  KVFERRY_RETURN_IF_ERROR(apply(kSettings, path, config.get()));
  const bool has_peer_mode = path.error_mode == UcxErrorMode::kPeer;
  KVFERRY_RETURN_IF_ERROR(
      apply(has_peer_mode ? std::span<const Setting>(kPeerModeSettings) : kPullSettings, path,
            config.get()));
  return config;
}

bool reports_device_memory(ucp_context_h context) {
  if (loaded_version() < kFirstWithDevices) return false;
  ucp_context_attr_t attributes{};
  attributes.field_mask = UCP_ATTR_FIELD_MEMORY_TYPES;
  return ucp_context_query(context, &attributes) == UCS_OK &&
         (attributes.memory_types & UCS_BIT(UCS_MEMORY_TYPE_CUDA)) != 0;
}

}  // namespace

UcxContext::UcxContext(ucp_context_h handle)
    : handle_(handle), moves_device_memory_(reports_device_memory(handle)) {}

Result<UcxContext> UcxContext::create(const UcxPath& path, bool keep_user_tls) {
  KVFERRY_ASSIGN_OR_RETURN(const Config config, make_config(path, keep_user_tls));
  ucp_params_t params{};
  params.field_mask =
      UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_MT_WORKERS_SHARED | UCP_PARAM_FIELD_NAME;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  params.mt_workers_shared = 1;  // links live on several threads
  params.name = "kvferry";
  ucp_context_h handle = nullptr;
  KVFERRY_RETURN_IF_ERROR(ucx_status(ucp_init(&params, config.get(), &handle),
                                     "UCX cannot start with the transports '" +
                                         (keep_user_tls ? "of UCX_TLS" : path.tls) +
                                         "' (`ucx_info -d` lists its own)"));
  return UcxContext(handle);
}

Result<UcxWorker> UcxWorker::create(const UcxContext& context) {
  ucp_worker_params_t params{};
  params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE | UCP_WORKER_PARAM_FIELD_FLAGS;
  params.thread_mode = UCS_THREAD_MODE_SERIALIZED;
  // A worker may be destroyed with sends pending on purpose: no warning on stdout for that.
  params.flags = UCP_WORKER_FLAG_IGNORE_REQUEST_LEAK;
  ucp_worker_h handle = nullptr;
  KVFERRY_RETURN_IF_ERROR(ucx_status(ucp_worker_create(context.get(), &params, &handle),
                                     "UCX gives no worker (ulimit -n, /dev/shm full?)"));
  return UcxWorker(handle);
}

Result<std::string> UcxWorker::address() const {
  ucp_address_t* address = nullptr;
  size_t length = 0;
  KVFERRY_RETURN_IF_ERROR(ucx_status(ucp_worker_get_address(handle_, &address, &length),
                                     "UCX does not say its worker's address"));
  std::string bytes(reinterpret_cast<const char*>(address), length);
  ucp_worker_release_address(handle_, address);
  return bytes;
}

Result<int> UcxWorker::event_fd() const {
  int fd = -1;
  KVFERRY_RETURN_IF_ERROR(
      ucx_status(ucp_worker_get_efd(handle_, &fd),
                 "UCX cannot wake a sleeping thread over the transports chosen (UCX_TLS)"));
  return fd;
}

Result<size_t> UcxWorker::max_am_header_bytes() const {
  ucp_worker_attr_t attributes{};
  attributes.field_mask = UCP_WORKER_ATTR_FIELD_MAX_AM_HEADER;
  KVFERRY_RETURN_IF_ERROR(ucx_status(ucp_worker_query(handle_, &attributes),
                                     "UCX does not say how large headers may be"));
  return attributes.max_am_header;
}

Status UcxWorker::on_message(unsigned id, ucp_am_recv_callback_t handler, void* arg,
                             bool keeps_data) const {
  ucp_am_handler_param_t params{};
  params.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS |
                      UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
  params.id = id;
  params.flags = UCP_AM_FLAG_WHOLE_MSG;
  if (keeps_data) params.flags |= UCP_AM_FLAG_PERSISTENT_DATA;
  params.cb = handler;
  params.arg = arg;
  return ucx_status(ucp_worker_set_am_recv_handler(handle_, &params),
                    "UCX takes no active message handler");
}

bool UcxWorker::is_idle(UcxRequest& flush) const {
  // Arming tells of half-done copies and queues over shared memory; a flush that is done at once,
  // of sockets and of endpoints on their way out.
  if (flush.is_pending() || ucp_worker_arm(handle_) != UCS_OK) return false;
  ucp_request_param_t params{};
  const ucs_status_ptr_t request = ucp_worker_flush_nbx(handle_, &params);
  flush = UcxRequest(UCS_PTR_IS_PTR(request) ? request : nullptr);
  return !UCS_PTR_IS_PTR(request);
}

Result<UcxEndpoint> UcxEndpoint::connect(const UcxWorker& worker, std::string_view worker_address,
                                         UcxErrorMode error_mode, ucp_err_handler_cb_t on_error,
                                         void* arg) {
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                      UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.address = reinterpret_cast<const ucp_address_t*>(worker_address.data());
  params.err_mode =
      error_mode == UcxErrorMode::kPeer ? UCP_ERR_HANDLING_MODE_PEER : UCP_ERR_HANDLING_MODE_NONE;
  // In both modes: where none is set, UCX aborts when it pulls from a process that has died.
  params.err_handler.cb = on_error;
  params.err_handler.arg = arg;
  ucp_ep_h handle = nullptr;
  Status status =
      ucx_status(ucp_ep_create(worker.get(), &params, &handle), "UCX cannot reach the peer");
  if (!status.is_ok()) return tl::unexpected(std::move(status));
  return UcxEndpoint(handle, error_mode);
}

void UcxEndpoint::force_close() {
  if (handle_ == nullptr || error_mode_ == UcxErrorMode::kNone) return;
  ucp_request_param_t params{};
  params.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  params.flags = UCP_EP_CLOSE_FLAG_FORCE;
  const ucs_status_ptr_t request = ucp_ep_close_nbx(std::exchange(handle_, nullptr), &params);
  if (UCS_PTR_IS_PTR(request)) ucp_request_free(request);  // the worker carries it to its end
}

}  // namespace kvferry
