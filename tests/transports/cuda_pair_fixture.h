#pragma once

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "cuda/cuda_stream.h"
#include "cuda/device_copy.h"
#include "cuda/device_memory.h"
#include "cuda/pinned_memory.h"
#include "kvferry/mutex.h"
#include "tests/support/status_matchers.h"
#include "tests/transports/thread_pair_fixture.h"

namespace kvferry {

/// Where a side's memory is.
enum class ContractPlace : uint8_t { kPageable, kPinned, kDevice };

/// What tests copy with. CUDA device 0.
///
/// Threads: any thread, internally locked
class CudaTestCopies {
 public:
  void copy(std::byte* to, const std::byte* from, size_t bytes) KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    EXPECT_THAT(copy_async(to, from, bytes, stream_.view()), IsOk());
    EXPECT_THAT(stream_.view().synchronize(), IsOk());
  }

 private:
  Mutex mutex_;
  CudaStream stream_ KVFERRY_GUARDED_BY(mutex_) = CudaStream::create(0).value();
};

class PinnedContractMemory final : public ContractMemory {
 public:
  explicit PinnedContractMemory(size_t bytes)
      : memory_(PinnedMemory::create(std::max<size_t>(bytes, 1)).value()), bytes_(bytes) {}

  std::span<std::byte> bytes() override { return memory_.bytes().first(bytes_); }
  std::vector<std::byte> read() const override { return {memory_.data(), memory_.data() + bytes_}; }
  void write(std::span<const std::byte> contents) override {
    std::ranges::copy(contents, memory_.data());
  }

 private:
  const PinnedMemory memory_;
  const size_t bytes_;
};

class DeviceContractMemory final : public ContractMemory {
 public:
  DeviceContractMemory(size_t bytes, CudaTestCopies& copies)
      : memory_(DeviceMemory::create(0, std::max<size_t>(bytes, 1)).value()),
        bytes_(bytes),
        copies_(copies) {}

  std::span<std::byte> bytes() override { return memory_.bytes().first(bytes_); }
  std::vector<std::byte> read() const override {
    PinnedContractMemory host(bytes_);
    copies_.copy(host.bytes().data(), memory_.data(), bytes_);
    return host.read();
  }
  void write(std::span<const std::byte> contents) override {
    PinnedContractMemory host(contents.size());
    host.write(contents);
    copies_.copy(memory_.data(), host.bytes().data(), contents.size());
  }

 private:
  const DeviceMemory memory_;
  const size_t bytes_;
  CudaTestCopies& copies_;
};

/// Two threads of this process, one transport for both, and memory that CUDA copies.
class CudaPairFixture : public ThreadPairFixture {
 public:
  CudaPairFixture(std::unique_ptr<Transport> transport, ContractPlace left, ContractPlace right)
      : ThreadPairFixture(std::move(transport), PeerClass::kSameProcess), places_{left, right} {}

  std::unique_ptr<ContractMemory> allocate(Side side, size_t bytes) override {
    switch (places_.at(static_cast<size_t>(side))) {
      case ContractPlace::kPageable:
        break;
      case ContractPlace::kPinned:
        return std::make_unique<PinnedContractMemory>(bytes);
      case ContractPlace::kDevice:
        return std::make_unique<DeviceContractMemory>(bytes, copies_);
    }
    return ThreadPairFixture::allocate(side, bytes);
  }

 private:
  const std::array<ContractPlace, 2> places_;
  CudaTestCopies copies_;
};

}  // namespace kvferry
