// What the simulated runtime promises: that mistakes do not pass, and that CUDA's own rules hold.

#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

#include "kernels/paged_copy_cuda.h"
#include "tests/sim_cuda/paged_copy_kernels.h"
#include "tests/sim_cuda/sim_cuda.h"
#include "tests/support/status_matchers.h"

namespace kvferry::test {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr size_t kBytes = 4096;

class SimCuda : public ::testing::Test {
 protected:
  void SetUp() override {
    begin({});
    register_paged_copy_kernels();
  }
  void TearDown() override { sim_cuda::begin(); }  // what a test leaves behind is its own

  void begin(const sim_cuda::Options& options) {
    sim_cuda::begin(options);
    stream = make_stream();
  }
  static cudaStream_t make_stream() {
    cudaStream_t made = nullptr;
    EXPECT_EQ(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), cudaSuccess);
    return made;
  }
  static cudaEvent_t make_event() {
    cudaEvent_t made = nullptr;
    EXPECT_EQ(cudaEventCreateWithFlags(&made, cudaEventDisableTiming), cudaSuccess);
    return made;
  }
  static std::byte* device(size_t bytes = kBytes) {
    void* made = nullptr;
    EXPECT_EQ(cudaMalloc(&made, bytes), cudaSuccess);
    return static_cast<std::byte*>(made);
  }
  static std::byte* pinned(int value, size_t bytes = kBytes) {
    void* made = nullptr;
    EXPECT_EQ(cudaHostAlloc(&made, bytes, cudaHostAllocDefault), cudaSuccess);
    std::fill_n(static_cast<std::byte*>(made), bytes, static_cast<std::byte>(value));
    return static_cast<std::byte*>(made);
  }
  cudaError_t copy(void* to, const void* from, cudaMemcpyKind kind = cudaMemcpyDefault) const {
    return cudaMemcpyAsync(to, from, kBytes, kind, stream);
  }
  cudaError_t wait() const { return cudaStreamSynchronize(stream); }
  static std::vector<std::byte> bytes_of(const std::byte* host) { return {host, host + kBytes}; }
  void expect_mistake(const char* text) {
    EXPECT_THAT(sim_cuda::mistakes(), ElementsAre(HasSubstr(text)));
  }

  /// A gather of one token by one block, over memory given by its address.
  Status launch_gather(std::byte* pages, std::byte* chunk) const {
    std::byte* const descriptors = pinned(0);
    auto* const plane = reinterpret_cast<PagedCopyPlane*>(descriptors);
    *plane = {.pages = pages,
              .block_stride_bytes = kBytes,
              .token_stride_bytes = 64,
              .head_stride_bytes = 64,
              .content_bytes = 64,
              .chunk_token_stride_bytes = 64,
              .block_tokens = 16,
              .num_heads = 1};
    PagedCopyDevice copy;
    copy.planes = plane;
    copy.slots = reinterpret_cast<const int64_t*>(descriptors + 512);
    copy.chunk = chunk;
    copy.num_tokens = 1;
    copy.plane_end = 1;
    return launch_paged_copy(copy, {.alignment = 16, .max_row_bytes = 64},
                             CudaStreamView(stream, 0));
  }

  cudaStream_t stream = nullptr;
};

TEST_F(SimCuda, DeviceMemoryIsPoisonedAndCopiesCarryIt) {
  std::byte* const host = pinned(0);
  EXPECT_EQ(copy(host, device(), cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_EQ(wait(), cudaSuccess);
  EXPECT_THAT(bytes_of(host), Each(std::byte{0xA7}));
  EXPECT_THAT(sim_cuda::mistakes(), IsEmpty());
}

TEST_F(SimCuda, HostCodeCannotReadDeviceMemory) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const volatile std::byte* const memory = device();
  EXPECT_DEATH((void)*memory, "host code touched device memory|SEGV");
}

TEST_F(SimCuda, CopiesRunLaterThanTheirCall) {
  begin({.min_delay = std::chrono::milliseconds(5), .max_delay = std::chrono::milliseconds(5)});
  std::byte* const from = pinned(1);
  std::byte* const to = pinned(2);
  EXPECT_EQ(copy(to, from), cudaSuccess);
  EXPECT_EQ(cudaStreamQuery(stream), cudaErrorNotReady);
  EXPECT_EQ(wait(), cudaSuccess);
  EXPECT_EQ(cudaStreamQuery(stream), cudaSuccess);
  EXPECT_THAT(bytes_of(to), Each(std::byte{1}));
}

#if !defined(__SANITIZE_THREAD__)  // which reports these two
TEST_F(SimCuda, SourceChangedBeforeItsCopyGivesTheWrongBytes) {
  begin({.min_delay = std::chrono::milliseconds(5), .max_delay = std::chrono::milliseconds(5)});
  std::byte* const from = pinned(1);
  std::byte* const to = pinned(2);
  EXPECT_EQ(copy(to, from), cudaSuccess);
  std::fill_n(from, kBytes, std::byte{3});
  EXPECT_EQ(wait(), cudaSuccess);
  EXPECT_THAT(bytes_of(to), Each(std::byte{3}));
}

TEST_F(SimCuda, DestinationReadBeforeItsCopyHasOldBytes) {
  begin({.min_delay = std::chrono::milliseconds(5), .max_delay = std::chrono::milliseconds(5)});
  std::byte* const to = pinned(2);
  EXPECT_EQ(copy(to, device()), cudaSuccess);
  EXPECT_THAT(bytes_of(to), Each(std::byte{2}));
  EXPECT_EQ(wait(), cudaSuccess);
}
#endif

#if defined(__SANITIZE_THREAD__)
TEST_F(SimCuda, ThreadSanitizerSeesAMissingWaitThoughTheBytesAreRight) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  constexpr int kReported = 66;  // TSan's exit code
  const auto read_without_waiting = [this] {
    std::byte* const memory = device();
    std::byte* const to = pinned(0);
    const cudaStream_t second = make_stream();
    cudaMemsetAsync(memory, 5, kBytes, stream);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));  // it has run by now
    cudaMemcpyAsync(to, memory, kBytes, cudaMemcpyDefault, second);
    cudaStreamSynchronize(second);
    std::exit(to[0] == std::byte{5} ? 0 : 1);
  };
  EXPECT_EXIT(read_without_waiting(), ::testing::ExitedWithCode(kReported), "data race");
}
#endif

TEST_F(SimCuda, PageableCopiesMakeTheCallerWaitAsInCuda) {
  begin({.min_delay = std::chrono::milliseconds(2), .max_delay = std::chrono::milliseconds(2)});
  std::vector<std::byte> host(kBytes, std::byte{1});
  std::byte* const memory = device();
  EXPECT_EQ(copy(memory, host.data()), cudaSuccess);
  std::ranges::fill(host, std::byte{9});  // the driver has its own by now
  EXPECT_EQ(copy(host.data(), memory), cudaSuccess);
  EXPECT_THAT(host, Each(std::byte{1}));
  EXPECT_EQ(sim_cuda::pageable_copies(), 2);
  EXPECT_THAT(sim_cuda::mistakes(), IsEmpty());
}

TEST_F(SimCuda, EventsOrderStreams) {
  begin({.min_delay = std::chrono::milliseconds(1), .max_delay = std::chrono::milliseconds(2)});
  const cudaStream_t second = make_stream();
  const cudaEvent_t event = make_event();
  std::byte* const memory = device();
  std::byte* const to = pinned(0);
  EXPECT_EQ(cudaStreamWaitEvent(second, event, 0), cudaSuccess);  // never recorded: no wait
  EXPECT_EQ(cudaStreamSynchronize(second), cudaSuccess);
  EXPECT_EQ(cudaEventQuery(event), cudaSuccess);
  for (int round = 1; round <= 3; ++round) {
    EXPECT_EQ(cudaMemsetAsync(memory, round, kBytes, stream), cudaSuccess);
    EXPECT_EQ(cudaEventRecord(event, stream), cudaSuccess);
    EXPECT_EQ(cudaStreamWaitEvent(second, event, 0), cudaSuccess);
    EXPECT_EQ(cudaMemcpyAsync(to, memory, kBytes, cudaMemcpyDefault, second), cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(second), cudaSuccess);
    EXPECT_THAT(bytes_of(to), Each(static_cast<std::byte>(round)));
  }
  EXPECT_THAT(sim_cuda::mistakes(), IsEmpty());
}

TEST_F(SimCuda, DefaultStreamIsAMistake) {
  EXPECT_NE(cudaMemsetAsync(device(), 0, kBytes, nullptr), cudaSuccess);
  EXPECT_NE(cudaEventRecord(make_event(), cudaStreamLegacy), cudaSuccess);
  EXPECT_NE(cudaStreamSynchronize(cudaStreamPerThread), cudaSuccess);
  cudaStream_t blocking = nullptr;
  EXPECT_NE(cudaStreamCreateWithFlags(&blocking, cudaStreamDefault), cudaSuccess);
  EXPECT_THAT(sim_cuda::mistakes(), AllOf(::testing::SizeIs(4), Each(HasSubstr("default stream"))));
}

TEST_F(SimCuda, CopyInAnotherDirectionThanItsAddressesIsAMistake) {
  EXPECT_EQ(copy(pinned(0), device(), cudaMemcpyHostToDevice), cudaErrorInvalidMemcpyDirection);
  expect_mistake("direction");
}

TEST_F(SimCuda, CopyPastTheEndIsAMistake) {
  EXPECT_EQ(copy(device(kBytes - 1), pinned(0)), cudaErrorInvalidValue);
  expect_mistake("past the end");
}

TEST_F(SimCuda, CopyOfFreedMemoryIsAMistake) {
  std::byte* const memory = device();
  EXPECT_EQ(cudaFree(memory), cudaSuccess);
  EXPECT_EQ(copy(pinned(0), memory), cudaErrorInvalidValue);
  expect_mistake("not allocated (any more)");
}

TEST_F(SimCuda, FreeingTwiceIsAMistake) {
  std::byte* const memory = device();
  EXPECT_EQ(cudaFree(memory), cudaSuccess);
  EXPECT_EQ(cudaFree(memory), cudaErrorInvalidValue);
  expect_mistake("cudaFree of memory that it did not give, or gave back");
}

TEST_F(SimCuda, FreeingInTheWrongWayIsAMistake) {
  EXPECT_EQ(cudaFree(pinned(0)), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFreeHost(device()), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(device() + 64), cudaErrorInvalidValue);
  EXPECT_EQ(cudaHostUnregister(pinned(0)), cudaErrorHostMemoryNotRegistered);
  EXPECT_THAT(sim_cuda::mistakes(), ::testing::SizeIs(4));
}

TEST_F(SimCuda, FreeingWhatAQueuedCopyUsesIsAMistake) {
  begin({.min_delay = std::chrono::milliseconds(5), .max_delay = std::chrono::milliseconds(5)});
  std::byte* const memory = device();
  EXPECT_EQ(copy(memory, pinned(0)), cudaSuccess);
  EXPECT_EQ(cudaFree(memory), cudaSuccess);
  expect_mistake("cudaFree of memory that a queued operation uses: cudaMemcpyAsync");
  EXPECT_EQ(wait(), cudaErrorIllegalAddress);
}

TEST_F(SimCuda, UnregisteringWhatAQueuedCopyUsesIsAMistake) {
  begin({.min_delay = std::chrono::milliseconds(5), .max_delay = std::chrono::milliseconds(5)});
  std::vector<std::byte> host(kBytes);
  EXPECT_EQ(cudaHostRegister(host.data(), kBytes, cudaHostRegisterDefault), cudaSuccess);
  EXPECT_EQ(copy(device(), host.data()), cudaSuccess);
  EXPECT_EQ(cudaHostUnregister(host.data()), cudaSuccess);
  expect_mistake("cudaHostUnregister of memory that a queued operation uses");
  EXPECT_EQ(wait(), cudaSuccess);
}

TEST_F(SimCuda, KernelOnAllocatedAndPinnedMemoryRuns) {
  std::byte* const chunk = pinned(0);
  EXPECT_THAT(launch_gather(device(), chunk), IsOk());
  EXPECT_EQ(wait(), cudaSuccess);
  EXPECT_EQ(chunk[63], std::byte{0xA7});
  EXPECT_EQ(chunk[64], std::byte{0});
  EXPECT_THAT(sim_cuda::mistakes(), IsEmpty());
}

TEST_F(SimCuda, KernelOnPageableMemoryLosesTheDevice) {
  alignas(64) std::byte host[kBytes] = {};
  EXPECT_THAT(launch_gather(device(), host), IsOk());
  EXPECT_EQ(wait(), cudaErrorIllegalAddress);
  expect_mistake("wrote memory that is not allocated, registered");
  EXPECT_EQ(cudaGetLastError(), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaGetLastError(), cudaErrorIllegalAddress) << "a sticky error";
  void* memory = nullptr;
  EXPECT_EQ(cudaMalloc(&memory, 1), cudaErrorIllegalAddress);
  EXPECT_THAT(launch_gather(nullptr, nullptr), StatusIs(StatusCode::kDeviceLost));
}

TEST_F(SimCuda, KernelOnFreedPagesLosesTheDevice) {
  begin({.min_delay = std::chrono::milliseconds(5), .max_delay = std::chrono::milliseconds(5)});
  std::byte* const pages = device();
  EXPECT_THAT(launch_gather(pages, pinned(0)), IsOk());
  EXPECT_EQ(cudaFree(pages), cudaSuccess);
  EXPECT_EQ(wait(), cudaErrorIllegalAddress);
  expect_mistake("read memory that is not allocated, registered, or not any more");
}

TEST_F(SimCuda, KernelOnAMisalignedAddressLosesTheDevice) {
  EXPECT_THAT(launch_gather(device() + 4, pinned(0)), IsOk());
  EXPECT_EQ(wait(), cudaErrorIllegalAddress);
  expect_mistake("misaligned");
}

TEST_F(SimCuda, KernelOnAnotherDevicesMemoryNeedsPeerAccess) {
  EXPECT_EQ(cudaSetDevice(1), cudaSuccess);
  std::byte* const pages = device();
  EXPECT_EQ(cudaSetDevice(0), cudaSuccess);
  EXPECT_EQ(cudaDeviceEnablePeerAccess(1, 0), cudaSuccess);
  EXPECT_THAT(launch_gather(pages, pinned(0)), IsOk());
  EXPECT_EQ(wait(), cudaSuccess);

  begin({});
  EXPECT_EQ(cudaSetDevice(1), cudaSuccess);
  std::byte* const others = device();
  EXPECT_EQ(cudaSetDevice(0), cudaSuccess);
  EXPECT_THAT(launch_gather(others, pinned(0)), IsOk());
  EXPECT_EQ(wait(), cudaErrorIllegalAddress);
  expect_mistake("peer access");
}

TEST_F(SimCuda, StreamsAndEventsEndOnce) {
  const cudaEvent_t event = make_event();
  EXPECT_EQ(cudaEventDestroy(event), cudaSuccess);
  EXPECT_EQ(cudaEventRecord(event, stream), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaEventDestroy(event), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
  EXPECT_EQ(cudaMemsetAsync(device(), 0, 1, stream), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaErrorInvalidResourceHandle);
  EXPECT_THAT(sim_cuda::mistakes(), ::testing::SizeIs(4));
}

TEST_F(SimCuda, EventsAndStreamsOfTwoDevicesDoNotMix) {
  EXPECT_EQ(cudaSetDevice(1), cudaSuccess);
  const cudaEvent_t event = make_event();
  EXPECT_EQ(cudaSetDevice(0), cudaSuccess);
  EXPECT_EQ(cudaEventRecord(event, stream), cudaErrorInvalidResourceHandle);
  expect_mistake("another device's stream");
}

TEST_F(SimCuda, HostFunctionsMayNotCallCuda) {
  cudaStream_t own = stream;
  EXPECT_EQ(cudaLaunchHostFunc(
                stream,
                [](void* data) { (void)cudaStreamQuery(*static_cast<cudaStream_t*>(data)); }, &own),
            cudaSuccess);
  EXPECT_EQ(wait(), cudaSuccess);
  expect_mistake("from inside a host function");
}

TEST_F(SimCuda, WhatIsNotGivenBackIsNamedAtTheEnd) {
  device();
  pinned(0);
  make_event();
  EXPECT_THAT(sim_cuda::end(), ElementsAre(HasSubstr("bytes"), HasSubstr("bytes"),
                                           HasSubstr("1 streams"), HasSubstr("1 events")));
}

TEST_F(SimCuda, EveryKernelHasABody) { EXPECT_THAT(sim_cuda::kernels_without_body(), IsEmpty()); }

}  // namespace
}  // namespace kvferry::test
