#include "cuda/host_registration.h"

#include <cuda_runtime_api.h>
#include <sys/resource.h>

#include <cinttypes>
#include <cstdio>
#include <string>

#include "cuda/cuda_status.h"

namespace kvferry {
namespace {

std::string describe(std::span<std::byte> memory) {
  char text[64];
  std::snprintf(text, sizeof(text), "%zu bytes at 0x%" PRIxPTR, memory.size(),
                reinterpret_cast<uintptr_t>(memory.data()));
  return text;
}

// What the reader can do about it, if anything.
std::string advice(cudaError_t error, size_t bytes) {
  if (error == cudaErrorHostMemoryAlreadyRegistered) {
    return " (they, or pages that they share, are registered; unregister those first, or use that "
           "registration)";
  }
  // Drivers that lock through the kernel's accounting report its limit as either of the two.
  if (error != cudaErrorMemoryAllocation && error != cudaErrorOperatingSystem) return {};
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur < bytes) {
    return " (this process may lock " + std::to_string(limit.rlim_cur) +
           " bytes: raise it with ulimit -l, or LimitMEMLOCK= of its service)";
  }
  return " (the host has not that much memory left to lock; register less)";
}

}  // namespace

Result<HostRegistration> HostRegistration::create(std::span<std::byte> memory) {
  if (memory.empty()) {
    return make_error(StatusCode::kInvalidArgument, "registering 0 bytes of host memory");
  }
  const cudaError_t error = cudaHostRegister(memory.data(), memory.size(),
                                             cudaHostRegisterPortable | cudaHostRegisterMapped);
  if (error != cudaSuccess) {
    return make_error(cuda_status(error, "registering " + describe(memory) + " of host memory" +
                                             advice(error, memory.size())));
  }
  return HostRegistration(memory);
}

void HostRegistration::reset() noexcept {
  if (memory_.empty()) return;
  drop_cuda_error(cudaHostUnregister(memory_.data()));
  memory_ = {};
}

}  // namespace kvferry
