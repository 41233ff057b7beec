#include "cuda/device_copy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "cuda/cuda_event.h"
#include "cuda/device_memory.h"
#include "cuda/pinned_memory.h"
#include "tests/support/cuda_test.h"
#include "tests/support/seeded_rng.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

constexpr size_t kBytes = 64 * 1024;

class DeviceCopyTest : public test::CudaTest {
 protected:
  // Made here and not before SetUp(), which begins CUDA anew.
  void SetUp() override {
    CudaTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    stream_ = CudaStream::create(0).value();
  }
  void TearDown() override {
    stream_.reset();
    CudaTest::TearDown();
  }

  CudaStreamView stream() const { return stream_->view(); }

 private:
  std::optional<CudaStream> stream_;
};

std::vector<std::byte> contents(std::span<const std::byte> bytes) {
  return {bytes.begin(), bytes.end()};
}

TEST_F(DeviceCopyTest, CopiesThereBetweenAndBack) {
  const PinnedMemory from = PinnedMemory::create(kBytes).value();
  const PinnedMemory to = PinnedMemory::create(kBytes).value();
  const DeviceMemory first = DeviceMemory::create(0, kBytes).value();
  const DeviceMemory second = DeviceMemory::create(num_devices() - 1, kBytes).value();
  rng.fill(from.bytes());
  EXPECT_THAT(copy_async(first.data(), from.data(), kBytes, stream()), IsOk());
  EXPECT_THAT(copy_async(second.data(), first.data(), kBytes, stream()), IsOk());
  EXPECT_THAT(copy_async(to.data(), second.data(), kBytes, stream()), IsOk());
  EXPECT_THAT(copy_async(to.data(), second.data(), 0, stream()), IsOk());
  ASSERT_THAT(stream().synchronize(), IsOk());
  EXPECT_EQ(contents(to.bytes()), contents(from.bytes()));
}

TEST_F(DeviceCopyTest, CopiesRowsAsALoopDoes) {
  const PinnedMemory from = PinnedMemory::create(kBytes).value();
  const DeviceMemory to = DeviceMemory::create(0, kBytes).value();
  for (int round = 0; round < 20; ++round) {
    rng.fill(from.bytes());
    auto expected = rng.bytes(kBytes);
    test::write_device(to.data(), expected);
    const size_t row_bytes = 1 + rng.below(500);
    const size_t to_pitch = row_bytes + rng.below(3) * rng.below(500);
    const size_t from_pitch = row_bytes + rng.below(3) * rng.below(500);
    const size_t rows = rng.below(kBytes / std::max(to_pitch, from_pitch));
    for (size_t row = 0; row < rows; ++row) {
      std::memcpy(&expected[row * to_pitch], from.data() + row * from_pitch, row_bytes);
    }
    EXPECT_THAT(copy_rows_async({.to = to.data(),
                                 .to_pitch = to_pitch,
                                 .from = from.data(),
                                 .from_pitch = from_pitch,
                                 .row_bytes = row_bytes,
                                 .rows = rows},
                                stream()),
                IsOk());
    ASSERT_THAT(stream().synchronize(), IsOk());
    ASSERT_EQ(test::read_device(to.data(), kBytes), expected)
        << rows << " rows of " << row_bytes << " bytes, " << from_pitch << " to " << to_pitch;
  }
}

TEST_F(DeviceCopyTest, RefusesRowsThatOverlap) {
  const DeviceMemory memory = DeviceMemory::create(0, kBytes).value();
  CopyRows copy{.to = memory.data(),
                .to_pitch = 99,
                .from = memory.data() + kBytes / 2,
                .from_pitch = 100,
                .row_bytes = 100,
                .rows = 2};
  EXPECT_THAT(copy_rows_async(copy, stream()),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("99 (to)")));
  std::swap(copy.to_pitch, copy.from_pitch);
  EXPECT_THAT(copy_rows_async(copy, stream()),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("99 (from)")));
  copy.rows = 0;
  EXPECT_THAT(copy_rows_async(copy, stream()), IsOk());
}

// Pieces of at most 700 bytes that go on where the one before ended, some with a gap on either
// side, some empty, some behind later ones.
std::vector<CopyRun> make_runs(std::byte* to, const std::byte* from, SeededRng& rng) {
  std::vector<CopyRun> runs;
  size_t to_offset = 0;
  size_t from_offset = 0;
  for (;;) {
    if (rng.one_in(3)) to_offset += rng.below(300);
    if (rng.one_in(3)) from_offset += rng.below(300);
    const size_t bytes = rng.one_in(5) ? 0 : rng.below(700);
    if (std::max(to_offset, from_offset) + bytes > kBytes) break;
    runs.push_back({to + to_offset, from + from_offset, bytes});
    to_offset += bytes;
    from_offset += bytes;
  }
  for (size_t i = 0; i < runs.size() / 8; ++i)
    std::swap(runs[rng.below(runs.size())], runs[rng.below(runs.size())]);
  return runs;
}

TEST_F(DeviceCopyTest, CopiesABatchAsALoopDoes) {
  const PinnedMemory host = PinnedMemory::create(kBytes).value();
  const PinnedMemory result = PinnedMemory::create(kBytes).value();
  const DeviceMemory from = DeviceMemory::create(0, kBytes).value();
  const DeviceMemory to = DeviceMemory::create(0, kBytes).value();
  for (int round = 0; round < 20; ++round) {
    rng.fill(host.bytes());
    auto expected = rng.bytes(kBytes);
    test::write_device(to.data(), expected);
    const auto runs = make_runs(to.data(), from.data(), rng);
    for (const CopyRun& run : runs) {
      std::copy_n(host.data() + (run.from - from.data()), run.bytes,
                  expected.begin() + (run.to - to.data()));
    }
    // In one go: the batch reads what the stream wrote before it, and is read by what comes after.
    EXPECT_THAT(copy_async(from.data(), host.data(), kBytes, stream()), IsOk());
    EXPECT_THAT(copy_batch_async(runs, stream()), IsOk());
    EXPECT_THAT(copy_async(result.data(), to.data(), kBytes, stream()), IsOk());
    ASSERT_THAT(stream().synchronize(), IsOk());
    ASSERT_EQ(contents(result.bytes()), expected);
  }
}

TEST_F(DeviceCopyTest, CopiesBatchesFromAndToTheHost) {
  const PinnedMemory from = PinnedMemory::create(kBytes).value();
  const PinnedMemory to = PinnedMemory::create(kBytes).value();
  const DeviceMemory device = DeviceMemory::create(0, kBytes).value();
  rng.fill(from.bytes());
  std::vector<CopyRun> in;
  std::vector<CopyRun> out;
  for (size_t offset = 0; offset < kBytes; offset += 1024) {
    const size_t mirrored = kBytes - 1024 - offset;
    in.push_back({device.data() + mirrored, from.data() + offset, 1024});
    out.push_back({to.data() + offset, device.data() + mirrored, 1024});
  }
  EXPECT_THAT(copy_batch_async(in, stream()), IsOk());
  EXPECT_THAT(copy_batch_async(out, stream()), IsOk());
  ASSERT_THAT(stream().synchronize(), IsOk());
  EXPECT_EQ(contents(to.bytes()), contents(from.bytes()));
}

TEST_F(DeviceCopyTest, AnEmptyBatchIsDone) {
  const DeviceMemory memory = DeviceMemory::create(0, kBytes).value();
  EXPECT_THAT(copy_batch_async({}, stream()), IsOk());
  const CopyRun nothing{memory.data(), memory.data() + 1, 0};
  EXPECT_THAT(copy_batch_async({&nothing, 1}, stream()), IsOk());
}

TEST_F(DeviceCopyTest, RefusesTheViewOfNoStream) {
  const DeviceMemory memory = DeviceMemory::create(0, kBytes).value();
  CUstream_st* const nothing = nullptr;
  const CudaStreamView none(nothing, 0);
  std::byte* const to = memory.data();
  const std::byte* const from = memory.data() + kBytes / 2;
  const CopyRun run{to, from, 1};
  EXPECT_THAT(copy_async(to, from, 1, none), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(copy_rows_async({to, 1, from, 1, 1, 1}, none),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(copy_batch_async({&run, 1}, none), StatusIs(StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace kvferry
