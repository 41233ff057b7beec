#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include "tests/sim_cuda/sim_cuda.h"
#include "tests/sim_cuda/sim_memory.h"
#include "tests/sim_cuda/sim_stream.h"

namespace kvferry::sim_cuda {

inline constexpr int kMaxDevices = 8;
inline constexpr size_t kDeviceBytes = size_t{32} << 30;

struct Event {
  int device = 0;
  bool has_time = false;
  std::atomic<EventRecord*> latest{nullptr};
};

/// A kernel that nvcc registered.
struct Kernel {
  std::string name;  ///< demangled, without return type and parameters
  size_t parameter_bytes = 0;
  KernelBody body;
};

/// Everything behind the C interface.
///
/// Threads: any thread. Lookups take shared locks, which order nothing.
class Runtime {
 public:
  static Runtime& get();

  void begin(const Options& options);
  std::vector<std::string> end();
  std::vector<std::string> mistakes();
  void note(std::string mistake);

  const Options& options() const { return options_; }
  Memory& memory() { return memory_; }
  std::atomic<int64_t>& pageable_copies() { return pageable_copies_; }

  /// An error that ends the device's work for good.
  void set_fault(int device, cudaError_t error) { faults_[static_cast<size_t>(device)] = error; }
  cudaError_t fault(int device) const {
    return faults_[static_cast<size_t>(device)].load(std::memory_order_relaxed);
  }
  std::atomic<bool>& peer_access(int device, int peer) {
    return peers_[static_cast<size_t>(device) * kMaxDevices + static_cast<size_t>(peer)];
  }
  size_t device_bytes_in_use(int device) const;

  cudaStream_t add_stream(int device);
  /// Null for what is no (longer a) stream.
  std::shared_ptr<Stream> find_stream(cudaStream_t handle) const;
  bool remove_stream(cudaStream_t handle);
  void wait_for_device(int device);
  /// Name of what is queued on any stream and uses that memory, or empty.
  std::string user_of(const MemoryRange& range) const;

  cudaEvent_t add_event(int device, bool has_time);
  Event* find_event(cudaEvent_t handle) const;
  bool remove_event(cudaEvent_t handle);
  EventRecord* add_record();

 private:
  Runtime() { begin({}); }
  std::vector<std::shared_ptr<Stream>> all_streams() const;

  Options options_;
  Memory memory_;
  std::array<std::atomic<cudaError_t>, kMaxDevices> faults_{};
  std::array<std::atomic<bool>, kMaxDevices * kMaxDevices> peers_{};
  std::atomic<int64_t> pageable_copies_{0};

  mutable std::shared_mutex mutex_;
  std::map<cudaStream_t, std::shared_ptr<Stream>> streams_;
  std::vector<std::shared_ptr<Stream>> destroyed_streams_;  // which run what they have
  std::map<cudaEvent_t, std::unique_ptr<Event>> events_;
  std::vector<std::unique_ptr<Event>> destroyed_events_;
  std::deque<EventRecord> records_;
  uint64_t streams_made_ = 0;

  std::mutex mistakes_mutex_;
  std::vector<std::string> mistakes_;
};

/// Of the calling thread.
struct ThreadState {
  int device = 0;
  cudaError_t last_error = cudaSuccess;
  bool runs_host_function = false;
};
ThreadState& thread_state();

/// What an API function returns: remembered as the thread's last error.
cudaError_t returned(cudaError_t error);
/// The same of a mistake, which is noted.
cudaError_t refused(cudaError_t error, std::string mistake);

/// The stream, if it may be used now; else `*error` is what to return.
std::shared_ptr<Stream> usable_stream(cudaStream_t handle, const char* call, cudaError_t* error);

}  // namespace kvferry::sim_cuda
