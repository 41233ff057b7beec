#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tests/support/seeded_rng.h"

namespace kvferry::test {

/// The CUDA runtime that the executable was linked with: a GPU's (tests/gpu) or the simulated one
/// (tests/sim_cuda).
void begin_cuda(uint64_t seed);
/// What was done wrong since begin_cuda(), as far as that runtime can tell.
std::vector<std::string> end_cuda();
/// Loses the device, as a kernel's illegal access does: all that uses it fails from now on. False
/// where that cannot be had (a GPU would be lost for all further tests).
bool lose_device(int32_t device);

/// Tests that run on the CUDA device, by `sim_cuda` on the host and by `gpu` on a GPU. Without a
/// device they are skipped, or fail where KVFERRY_REQUIRE_GPU is set.
class CudaTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;
  int32_t num_devices() const { return num_devices_; }

  SeededRng rng;  // of the test and of the simulated runtime's delays

 private:
  int32_t num_devices_ = 0;
};

/// Bytes of device memory, copied on a stream of their own and waited for.
std::vector<std::byte> read_device(const std::byte* from, size_t bytes);
void write_device(std::byte* to, std::span<const std::byte> bytes);

}  // namespace kvferry::test
