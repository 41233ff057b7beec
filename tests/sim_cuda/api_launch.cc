// Kernels: what nvcc's host code registers and launches.

#include <cxxabi.h>

#include <cstdlib>
#include <cstring>
#include <map>

#include "tests/sim_cuda/sim_runtime.h"

namespace kvferry::sim_cuda {

/// One launch on its way through a stream.
class KernelRun {
 public:
  KernelRun(const Kernel& kernel, const KernelLaunch& launch, const void* parameters, int device)
      : kernel_(kernel),
        parameters_(static_cast<const std::byte*>(parameters),
                    static_cast<const std::byte*>(parameters) + kernel.parameter_bytes),
        launch_(launch),
        device_(device) {}

  void run() {
    if (Runtime::get().fault(device_) != cudaSuccess) return;
    launch_.parameters = parameters_.data();
    KernelMemory memory(kernel_.name, device_);
    kernel_.body(launch_, memory);
    if (memory.is_stopped()) Runtime::get().set_fault(device_, cudaErrorIllegalAddress);
  }

 private:
  const Kernel& kernel_;
  std::vector<std::byte> parameters_;
  KernelLaunch launch_;
  int device_;
};

std::byte* KernelMemory::at(const std::byte* address, size_t bytes, bool writes) {
  if (stopped_) return nullptr;
  Runtime& runtime = Runtime::get();
  const auto region = runtime.memory().find(address);
  const auto value = reinterpret_cast<uintptr_t>(address);
  const char* wrong = nullptr;
  if (!region || !region->contains(value, bytes)) {
    wrong = " memory that is not allocated, registered, or not any more";
  } else if (!region->is_host() && region->device != device_ &&
             !runtime.peer_access(device_, region->device)) {
    wrong = " another device's memory without peer access";
  } else if (value % (bytes > 16 ? 8 : bytes) != 0) {
    wrong = " a misaligned address";
  }
  if (wrong == nullptr) return region->data + (value - region->begin);
  stopped_ = true;
  runtime.note(kernel_ + (writes ? " wrote" : " read") + wrong);
  return nullptr;
}

namespace {

struct Configuration {
  dim3 grid;
  dim3 block;
  size_t shared_bytes;
  cudaStream_t stream;
};
thread_local std::vector<Configuration> configurations;

// Filled before main() by the objects that nvcc compiled, and by tests before their first launch.
struct Kernels {
  std::map<const void*, Kernel*> by_stub;
  std::map<std::string, std::unique_ptr<Kernel>> by_name;
};
Kernels& kernels() {
  static Kernels all;
  return all;
}

Kernel& kernel_named(const std::string& name) {
  std::unique_ptr<Kernel>& kernel = kernels().by_name[name];
  if (!kernel) {
    kernel = std::make_unique<Kernel>();
    kernel->name = name;
  }
  return *kernel;
}

/// "void f<1>(P)" -> "f<1>".
std::string kernel_name(const char* mangled) {
  int status = 0;
  char* demangled = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
  std::string name = status == 0 ? demangled : mangled;
  std::free(demangled);  // NOLINT(cppcoreguidelines-no-malloc): __cxa_demangle's contract
  if (name.starts_with("void ")) name.erase(0, 5);
  int depth = 0;
  for (size_t i = name.size(); i-- > 0;) {
    if (name[i] == ')') ++depth;
    if (name[i] == '(' && --depth == 0) {
      name.resize(i);
      break;
    }
  }
  return name;
}

cudaError_t launch(const Kernel* kernel, dim3 grid, dim3 block, void** arguments,
                   cudaStream_t handle) {
  cudaError_t error;
  const auto stream = usable_stream(handle, "a kernel launch", &error);
  if (!stream) return error;
  if (kernel == nullptr || !kernel->body) {
    return refused(cudaErrorInvalidDeviceFunction,
                   "no body is registered for " + (kernel == nullptr ? "a kernel" : kernel->name));
  }
  if (stream->device() != thread_state().device) {
    return refused(cudaErrorInvalidResourceHandle,
                   "a kernel launch on a stream of another device than the current one");
  }
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (grid.x == 0 || grid.y != 1 || grid.z != 1 || threads == 0 || threads > 1024) {
    return returned(cudaErrorInvalidConfiguration);
  }
  const KernelLaunch launch{.num_blocks = grid.x, .block_threads = static_cast<uint32_t>(threads)};
  auto run = std::make_shared<KernelRun>(*kernel, launch, arguments[0], stream->device());
  stream->enqueue(kernel->name, {}, [run] { run->run(); });
  return returned(Runtime::get().fault(stream->device()));
}

}  // namespace

void register_kernel(const std::string& name, size_t parameter_bytes, KernelBody body) {
  Kernel& kernel = kernel_named(name);
  kernel.parameter_bytes = parameter_bytes;
  kernel.body = std::move(body);
}

std::vector<std::string> kernels_without_body() {
  std::vector<std::string> names;
  for (const auto& [stub, kernel] : kernels().by_stub) {
    if (!kernel->body) names.push_back(kernel->name);
  }
  return names;
}

}  // namespace kvferry::sim_cuda

using namespace kvferry::sim_cuda;  // NOLINT(google-build-using-namespace)

extern "C" {

// NOLINTBEGIN(bugprone-reserved-identifier): nvcc's host code calls them so
void** __cudaRegisterFatBinary(void* binary) {
  static void* handle;
  handle = binary;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}

void __cudaRegisterFunction(void**, const char* stub, char*, const char* mangled, int, uint3*,
                            uint3*, dim3*, dim3*, int*) {
  kernels().by_stub[stub] = &kernel_named(kernel_name(mangled));
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes,
                                     CUstream_st* stream) {
  configurations.push_back({grid, block, shared_bytes, stream});
  return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared_bytes,
                                       void* stream) {
  const Configuration configuration = configurations.back();
  configurations.pop_back();
  *grid = configuration.grid;
  *block = configuration.block;
  *shared_bytes = configuration.shared_bytes;
  *static_cast<cudaStream_t*>(stream) = configuration.stream;
  return cudaSuccess;
}

cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* stub) {
  const auto found = kernels().by_stub.find(stub);
  *kernel =
      found == kernels().by_stub.end() ? nullptr : reinterpret_cast<cudaKernel_t>(found->second);
  return cudaSuccess;
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments, size_t,
                               cudaStream_t stream) {
  return launch(reinterpret_cast<const Kernel*>(kernel), grid, block, arguments, stream);
}

// NOLINTEND(bugprone-reserved-identifier)

cudaError_t cudaLaunchKernel(const void* stub, dim3 grid, dim3 block, void** arguments, size_t,
                             cudaStream_t stream) {
  const auto found = kernels().by_stub.find(stub);
  return launch(found == kernels().by_stub.end() ? nullptr : found->second, grid, block, arguments,
                stream);
}

}  // extern "C"
