// What runtime/ uses of the CUDA device, in builds without CUDA.

#include "cuda/cuda_stream.h"
#include "cuda/device_copy.h"
#include "cuda/device_memory.h"
#include "cuda/device_query.h"
#include "cuda/host_registration.h"
#include "cuda/memory_query.h"
#include "cuda/pinned_memory.h"

namespace kvferry {
namespace {

detail::ErrorReturn absent() {
  return make_error(StatusCode::kUnimplemented,
                    "built without CUDA; configure with nvcc on PATH or KVFERRY_CUDA=ON");
}

}  // namespace

Result<std::vector<CudaDeviceInfo>> query_cuda_devices() { return absent(); }

Result<MemoryPlace> find_memory(const void* /*address*/) { return absent(); }

Result<DeviceMemory> DeviceMemory::create(int32_t /*device*/, size_t /*bytes*/) { return absent(); }
void DeviceMemory::reset() noexcept {}

Result<PinnedMemory> PinnedMemory::create(size_t /*bytes*/) { return absent(); }
void PinnedMemory::reset() noexcept {}

Result<CudaStream> CudaStream::create(int32_t /*device*/, CudaStreamPriority /*priority*/) {
  return absent();
}
void CudaStream::reset() noexcept {}
Status CudaStreamView::synchronize() const { return absent(); }

Status copy_batch_async(std::span<const CopyRun> /*runs*/, CudaStreamView /*stream*/) {
  return absent();
}

Result<HostRegistration> HostRegistration::create(std::span<std::byte> /*memory*/) {
  return absent();
}
void HostRegistration::reset() noexcept {}

}  // namespace kvferry
