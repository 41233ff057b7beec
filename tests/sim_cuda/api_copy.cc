// Copies and fills.

#include <cstring>
#include <memory>

#include "tests/sim_cuda/sim_runtime.h"

using namespace kvferry::sim_cuda;  // NOLINT(google-build-using-namespace)

namespace {

enum class Place : uint8_t { kDevice, kPinned, kPageable, kWrong };

struct Copy {
  void* to;
  const void* from;
  size_t bytes;
};

uintptr_t number_of(const void* address) { return reinterpret_cast<uintptr_t>(address); }

/// Where all of the bytes are; what is wrong with them becomes a mistake.
Place place_of(const void* address, size_t bytes, const char* call) {
  Runtime& runtime = Runtime::get();
  const auto region = runtime.memory().find(address);
  if (region && region->contains(number_of(address), bytes)) {
    return region->is_host() ? Place::kPinned : Place::kDevice;
  }
  if (region) {
    runtime.note(std::string(call) + " past the end of the memory it starts in");
    return Place::kWrong;
  }
  if (runtime.memory().is_device_address(address)) {
    runtime.note(std::string(call) + " of device memory that is not allocated (any more)");
    return Place::kWrong;
  }
  return Place::kPageable;
}

bool is_direction(cudaMemcpyKind kind, Place from, Place to) {
  const bool from_device = from == Place::kDevice;
  const bool to_device = to == Place::kDevice;
  switch (kind) {
    case cudaMemcpyHostToHost:
      return !from_device && !to_device;
    case cudaMemcpyHostToDevice:
      return !from_device && to_device;
    case cudaMemcpyDeviceToHost:
      return from_device && !to_device;
    case cudaMemcpyDeviceToDevice:
      return from_device && to_device;
    case cudaMemcpyDefault:
      return true;
  }
  return false;
}

/// For the simulator's eyes; null after a mistake, which ends the device's work.
std::byte* data_at(const void* address, size_t bytes, int device) {
  Runtime& runtime = Runtime::get();
  const auto region = runtime.memory().find(address);
  if (region && region->contains(number_of(address), bytes)) {
    return region->data + (number_of(address) - region->begin);
  }
  if (!region && !runtime.memory().is_device_address(address)) {
    return static_cast<std::byte*>(const_cast<void*>(address));
  }
  runtime.note("a queued copy or fill came to memory that is gone");
  runtime.set_fault(device, cudaErrorIllegalAddress);
  return nullptr;
}

void run_copy(const Copy& copy, int device) {
  if (Runtime::get().fault(device) != cudaSuccess) return;
  std::byte* const to = data_at(copy.to, copy.bytes, device);
  const std::byte* const from = data_at(copy.from, copy.bytes, device);
  if (to != nullptr && from != nullptr) std::memmove(to, from, copy.bytes);
}

cudaError_t enqueue_copies(const std::shared_ptr<Stream>& stream, std::vector<Copy> copies,
                           cudaMemcpyKind kind, const char* call) {
  Runtime& runtime = Runtime::get();
  bool waits = false;
  std::vector<MemoryRange> uses;
  std::vector<std::shared_ptr<std::vector<std::byte>>> staged;
  for (Copy& copy : copies) {
    const Place from = place_of(copy.from, copy.bytes, call);
    const Place to = place_of(copy.to, copy.bytes, call);
    if (from == Place::kWrong || to == Place::kWrong) return returned(cudaErrorInvalidValue);
    if (!is_direction(kind, from, to)) {
      return refused(cudaErrorInvalidMemcpyDirection,
                     std::string(call) + " in a direction that its addresses do not have");
    }
    uses.push_back({number_of(copy.from), copy.bytes});
    uses.push_back({number_of(copy.to), copy.bytes});
    if (from != Place::kPageable && to != Place::kPageable) continue;
    ++runtime.pageable_copies();
    if (to == Place::kPageable) {
      waits = true;  // the call returns when the copy is done
      continue;
    }
    // The driver waits for the stream, and takes the bytes before the call returns.
    stream->wait();
    const auto* bytes = static_cast<const std::byte*>(copy.from);
    staged.push_back(std::make_shared<std::vector<std::byte>>(bytes, bytes + copy.bytes));
    copy.from = staged.back()->data();
  }
  stream->enqueue(
      call, std::move(uses),
      [copies = std::move(copies), staged = std::move(staged), device = stream->device()] {
        for (const Copy& copy : copies) run_copy(copy, device);
      });
  if (waits) stream->wait();
  return returned(runtime.fault(stream->device()));
}

}  // namespace

extern "C" {

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t handle) {
  cudaError_t error;
  const auto stream = usable_stream(handle, "cudaMemcpyAsync", &error);
  if (!stream || bytes == 0) return error;
  return enqueue_copies(stream, {{to, from, bytes}}, kind, "cudaMemcpyAsync");
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                              size_t row_bytes, size_t rows, cudaMemcpyKind kind,
                              cudaStream_t handle) {
  cudaError_t error;
  const auto stream = usable_stream(handle, "cudaMemcpy2DAsync", &error);
  if (!stream || row_bytes == 0 || rows == 0) return error;
  if (to_pitch < row_bytes || from_pitch < row_bytes) {
    return refused(cudaErrorInvalidValue, "cudaMemcpy2DAsync of rows wider than their pitch");
  }
  std::vector<Copy> copies;
  for (size_t row = 0; row < rows; ++row) {
    copies.push_back({static_cast<std::byte*>(to) + row * to_pitch,
                      static_cast<const std::byte*>(from) + row * from_pitch, row_bytes});
  }
  return enqueue_copies(stream, std::move(copies), kind, "cudaMemcpy2DAsync");
}

cudaError_t cudaMemcpyBatchAsync(void* const* to, const void* const* from, const size_t* bytes,
                                 size_t count, cudaMemcpyAttributes* attributes,
                                 size_t* attribute_begins, size_t num_attributes,
                                 cudaStream_t handle) {
  cudaError_t error;
  const auto stream = usable_stream(handle, "cudaMemcpyBatchAsync", &error);
  if (!stream) return error;
  if (count == 0 || num_attributes == 0 || num_attributes > count || attributes == nullptr ||
      attribute_begins == nullptr || attribute_begins[0] != 0) {
    return refused(cudaErrorInvalidValue, "cudaMemcpyBatchAsync without copies or attributes");
  }
  std::vector<Copy> copies;
  for (size_t i = 0; i < count; ++i) {
    if (bytes[i] == 0) return refused(cudaErrorInvalidValue, "an empty copy in a batch");
    copies.push_back({to[i], from[i], bytes[i]});
  }
  return enqueue_copies(stream, std::move(copies), cudaMemcpyDefault, "cudaMemcpyBatchAsync");
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t handle) {
  cudaError_t error;
  const auto stream = usable_stream(handle, "cudaMemsetAsync", &error);
  if (!stream || bytes == 0) return error;
  const Place place = place_of(to, bytes, "cudaMemsetAsync");
  if (place == Place::kWrong) return returned(cudaErrorInvalidValue);
  if (place == Place::kPageable) {
    return refused(cudaErrorInvalidValue, "cudaMemsetAsync of pageable memory");
  }
  stream->enqueue("cudaMemsetAsync", {{number_of(to), bytes}},
                  [to, value, bytes, device = stream->device()] {
                    if (Runtime::get().fault(device) != cudaSuccess) return;
                    std::byte* const data = data_at(to, bytes, device);
                    if (data != nullptr) std::memset(data, value, bytes);
                  });
  return cudaSuccess;
}

}  // extern "C"
