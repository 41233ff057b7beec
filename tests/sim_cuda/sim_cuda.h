#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

/// A test tool: the CUDA runtime's C interface on the host, to execute what nvcc compiled where no
/// GPU is. Linked in place of cudart, never installed; what it shows is not a GPU result.
///
/// Every stream is a thread that runs its operations one after another, each after a random delay;
/// nothing but what CUDA promises orders one stream with another or with the host, for
/// ThreadSanitizer too. Device memory is poisoned, and cannot be read by host code. A kernel is the
/// body that the test registered for it, run over all warps; each of its accesses is checked.
///
/// What CUDA leaves undefined, or forbids without looking, is a mistake: noted, and refused.
namespace kvferry::sim_cuda {

struct Options {
  uint64_t seed = 1;
  int num_devices = 2;
  bool peer_access = true;  ///< between devices, once it is enabled
  std::chrono::microseconds min_delay{0};
  std::chrono::microseconds max_delay{60};  ///< of an operation; of one in eight, 40 times as long
};

/// Starts anew: ends all streams, frees all memory, forgets kernels' faults and mistakes.
/// REQUIRES: no other thread uses CUDA.
void begin(const Options& options = {});

/// Waits for all streams. What was done wrong since begin(), and what was not given back.
std::vector<std::string> end();

/// What was done wrong since begin(), so far.
std::vector<std::string> mistakes();

/// Copies from or to pageable memory since begin(): legal, but the caller waits for them.
int64_t pageable_copies();

/// What a kernel may touch: checks each access, and says where the bytes lie for the simulator.
class KernelMemory {
 public:
  /// For `bytes` at `address`, as the device sees it; null after a mistake, which stops the kernel.
  std::byte* at(const std::byte* address, size_t bytes, bool writes);
  bool is_stopped() const { return stopped_; }

 private:
  friend class KernelRun;
  KernelMemory(std::string kernel, int device) : kernel_(std::move(kernel)), device_(device) {}

  std::string kernel_;
  int device_;
  bool stopped_ = false;
};

/// One launch; the body runs all its warps.
struct KernelLaunch {
  uint32_t num_blocks = 0;
  uint32_t block_threads = 0;
  const void* parameters = nullptr;  ///< a copy, taken at the launch
};
using KernelBody = std::function<void(const KernelLaunch&, KernelMemory&)>;

/// What runs when a kernel of that demangled name is launched, without return type and parameters:
/// "kvferry::(anonymous namespace)::fill<16>". Its one parameter has `parameter_bytes`.
/// REQUIRES: before the first launch; stays for good.
void register_kernel(const std::string& name, size_t parameter_bytes, KernelBody body);

/// Kernels in this program that no body was registered for.
std::vector<std::string> kernels_without_body();

}  // namespace kvferry::sim_cuda
