#include "cuda/device_copy.h"

#include <cuda_runtime_api.h>

#include <string>
#include <vector>

#include "cuda/cuda_device_guard.h"
#include "cuda/cuda_status.h"

namespace kvferry {
namespace {

// Runs as cudaMemcpyBatchAsync takes them.
class Batch {
 public:
  Batch(std::span<const CopyRun> runs, bool join) {
    to_.reserve(runs.size());
    from_.reserve(runs.size());
    bytes_.reserve(runs.size());
    for (const CopyRun& run : runs) {
      if (run.bytes == 0) continue;
      if (join && goes_on(run)) {
        bytes_.back() += run.bytes;
        is_joined_ = true;
        continue;
      }
      to_.push_back(run.to);
      from_.push_back(run.from);
      bytes_.push_back(run.bytes);
    }
  }

  bool is_empty() const { return bytes_.empty(); }
  bool is_joined() const { return is_joined_; }

  cudaError_t enqueue(cudaStream_t stream) const {
    cudaMemcpyAttributes attributes{};
    attributes.srcAccessOrder = cudaMemcpySrcAccessOrderStream;
    size_t first_run = 0;  // that the attributes are for
    return cudaMemcpyBatchAsync(to_.data(), from_.data(), bytes_.data(), bytes_.size(), &attributes,
                                &first_run, 1, stream);
  }

 private:
  bool goes_on(const CopyRun& run) const {
    return !is_empty() && static_cast<std::byte*>(to_.back()) + bytes_.back() == run.to &&
           static_cast<const std::byte*>(from_.back()) + bytes_.back() == run.from;
  }

  std::vector<void*> to_;
  std::vector<const void*> from_;
  std::vector<size_t> bytes_;
  bool is_joined_ = false;
};

}  // namespace

Status copy_async(std::byte* to, const std::byte* from, size_t bytes, CudaStreamView stream) {
  const CudaDeviceGuard guard(stream);
  KVFERRY_RETURN_IF_ERROR(guard.status());
  if (bytes == 0) return Status();
  return cuda_status(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream.get()),
                     "enqueueing a copy");
}

Status copy_rows_async(const CopyRows& copy, CudaStreamView stream) {
  const CudaDeviceGuard guard(stream);
  KVFERRY_RETURN_IF_ERROR(guard.status());
  if (copy.row_bytes == 0 || copy.rows == 0) return Status();
  if (copy.to_pitch < copy.row_bytes || copy.from_pitch < copy.row_bytes) {
    return make_error(StatusCode::kInvalidArgument,
                      "rows of " + std::to_string(copy.row_bytes) + " bytes at distances of " +
                          std::to_string(copy.from_pitch) + " (from) and " +
                          std::to_string(copy.to_pitch) + " (to) overlap");
  }
  return cuda_status(cudaMemcpy2DAsync(copy.to, copy.to_pitch, copy.from, copy.from_pitch,
                                       copy.row_bytes, copy.rows, cudaMemcpyDefault, stream.get()),
                     "enqueueing a copy of rows");
}

Status copy_batch_async(std::span<const CopyRun> runs, CudaStreamView stream) {
  const CudaDeviceGuard guard(stream);
  KVFERRY_RETURN_IF_ERROR(guard.status());
  const Batch batch(runs, true);
  if (batch.is_empty()) return Status();
  cudaError_t error = batch.enqueue(stream.get());
  // Two allocations may touch, and CUDA refuses a copy that spans both. What of the batch went
  // through is copied a second time, with the same result.
  if (error == cudaErrorInvalidValue && batch.is_joined()) {
    drop_cuda_error(error);
    error = Batch(runs, false).enqueue(stream.get());
  }
  return cuda_status(error, "enqueueing a batch of copies");
}

}  // namespace kvferry
