#include "tests/sim_cuda/sim_runtime.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>

namespace kvferry::sim_cuda {
namespace {

struct sigaction previous_action;

// Host code that reads device memory gets a sentence before it dies.
void on_segv(int, siginfo_t* info, void*) {
  if (Runtime::get().memory().is_device_address(info->si_addr)) {
    constexpr char kText[] = "sim_cuda: host code touched device memory\n";
    (void)!::write(STDERR_FILENO, kText, sizeof(kText) - 1);
  }
  ::sigaction(SIGSEGV, &previous_action, nullptr);  // the access comes again, and is theirs
}

void install_segv_handler() {
  struct sigaction action = {};
  action.sa_sigaction = on_segv;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  struct sigaction current;
  ::sigaction(SIGSEGV, nullptr, &current);
  if (current.sa_sigaction == on_segv) return;
  previous_action = current;
  ::sigaction(SIGSEGV, &action, nullptr);
}

}  // namespace

Runtime& Runtime::get() {
  static Runtime runtime;
  return runtime;
}

void Runtime::begin(const Options& options) {
  install_segv_handler();
  const std::unique_lock lock(mutex_);
  streams_.clear();
  destroyed_streams_.clear();
  events_.clear();
  destroyed_events_.clear();
  records_.clear();
  streams_made_ = 0;
  memory_.clear();
  for (auto& fault : faults_) fault = cudaSuccess;
  for (auto& peer : peers_) peer = false;
  pageable_copies_ = 0;
  options_ = options;
  options_.num_devices = std::clamp(options.num_devices, 0, kMaxDevices);
  thread_state() = {};
  const std::lock_guard mistakes_lock(mistakes_mutex_);
  mistakes_.clear();
}

std::vector<std::string> Runtime::end() {
  for (const auto& stream : all_streams()) stream->wait();
  std::vector<std::string> all = mistakes();
  const std::shared_lock lock(mutex_);
  for (const Region& region : memory_.regions()) {
    constexpr const char* kKinds[] = {
        "of device memory were not freed", "of pinned memory were not freed",
        "of host memory were not unregistered", "of another process's memory were not closed"};
    all.push_back(std::to_string(region.bytes) + " bytes " +
                  kKinds[static_cast<size_t>(region.kind)]);
  }
  if (!streams_.empty()) all.push_back(std::to_string(streams_.size()) + " streams not destroyed");
  if (!events_.empty()) all.push_back(std::to_string(events_.size()) + " events not destroyed");
  return all;
}

std::vector<std::string> Runtime::mistakes() {
  const std::lock_guard lock(mistakes_mutex_);
  return mistakes_;
}

void Runtime::note(std::string mistake) {
  const std::lock_guard lock(mistakes_mutex_);
  mistakes_.push_back(std::move(mistake));
}

size_t Runtime::device_bytes_in_use(int device) const {
  size_t bytes = 0;
  for (const Region& region : memory_.regions()) {
    if (region.kind == RegionKind::kDevice && region.device == device) bytes += region.bytes;
  }
  return bytes;
}

cudaStream_t Runtime::add_stream(int device) {
  const std::unique_lock lock(mutex_);
  auto stream = std::make_shared<Stream>(device, options_, streams_made_++);
  auto* const handle = reinterpret_cast<cudaStream_t>(stream.get());
  streams_.emplace(handle, std::move(stream));
  return handle;
}

std::shared_ptr<Stream> Runtime::find_stream(cudaStream_t handle) const {
  const std::shared_lock lock(mutex_);
  const auto found = streams_.find(handle);
  return found == streams_.end() ? nullptr : found->second;
}

bool Runtime::remove_stream(cudaStream_t handle) {
  const std::unique_lock lock(mutex_);
  auto node = streams_.extract(handle);
  if (node.empty()) return false;
  destroyed_streams_.push_back(std::move(node.mapped()));
  return true;
}

std::vector<std::shared_ptr<Stream>> Runtime::all_streams() const {
  const std::shared_lock lock(mutex_);
  std::vector<std::shared_ptr<Stream>> all = destroyed_streams_;
  for (const auto& [handle, stream] : streams_) all.push_back(stream);
  return all;
}

void Runtime::wait_for_device(int device) {
  for (const auto& stream : all_streams()) {
    if (stream->device() == device) stream->wait();
  }
}

std::string Runtime::user_of(const MemoryRange& range) const {
  for (const auto& stream : all_streams()) {
    if (std::string user = stream->user_of(range); !user.empty()) return user;
  }
  return "";
}

cudaEvent_t Runtime::add_event(int device, bool has_time) {
  auto event = std::make_unique<Event>();
  event->device = device;
  event->has_time = has_time;
  auto* const handle = reinterpret_cast<cudaEvent_t>(event.get());
  const std::unique_lock lock(mutex_);
  events_.emplace(handle, std::move(event));
  return handle;
}

Event* Runtime::find_event(cudaEvent_t handle) const {
  const std::shared_lock lock(mutex_);
  const auto found = events_.find(handle);
  return found == events_.end() ? nullptr : found->second.get();
}

bool Runtime::remove_event(cudaEvent_t handle) {
  const std::unique_lock lock(mutex_);
  auto node = events_.extract(handle);
  if (node.empty()) return false;
  destroyed_events_.push_back(std::move(node.mapped()));
  return true;
}

EventRecord* Runtime::add_record() {
  const std::unique_lock lock(mutex_);
  return &records_.emplace_back();
}

ThreadState& thread_state() {
  thread_local ThreadState state;
  return state;
}

cudaError_t returned(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) thread_state().last_error = error;
  return error;
}

cudaError_t refused(cudaError_t error, std::string mistake) {
  Runtime::get().note(std::move(mistake));
  return returned(error);
}

std::shared_ptr<Stream> usable_stream(cudaStream_t handle, const char* call, cudaError_t* error) {
  Runtime& runtime = Runtime::get();
  if (thread_state().runs_host_function) {
    *error = refused(cudaErrorNotPermitted, std::string(call) + " from inside a host function");
    return nullptr;
  }
  if (handle == nullptr || handle == cudaStreamLegacy || handle == cudaStreamPerThread) {
    *error = refused(cudaErrorInvalidResourceHandle,
                     std::string(call) + " on a default stream, which others share");
    return nullptr;
  }
  std::shared_ptr<Stream> stream = runtime.find_stream(handle);
  if (!stream) {
    *error = refused(cudaErrorInvalidResourceHandle,
                     std::string(call) + " on a stream that does not exist (any more)");
    return nullptr;
  }
  *error = returned(runtime.fault(stream->device()));
  return *error == cudaSuccess ? stream : nullptr;
}

void begin(const Options& options) { Runtime::get().begin(options); }
std::vector<std::string> end() { return Runtime::get().end(); }
std::vector<std::string> mistakes() { return Runtime::get().mistakes(); }
int64_t pageable_copies() { return Runtime::get().pageable_copies(); }

}  // namespace kvferry::sim_cuda
