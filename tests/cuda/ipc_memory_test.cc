#include "cuda/ipc_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "cuda/device_memory.h"
#include "tests/cuda/owner_moves.h"
#include "tests/support/cuda_test.h"
#include "tests/support/self_process.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

constexpr size_t kBytes = size_t{2} << 20;
constexpr size_t kOffset = 4096;  // of the part that is shared
constexpr size_t kShared = 10'000;
constexpr int kOwnerFd = 3;  // of a SelfProcess
constexpr char kRole[] = "KVFERRY_TEST_IMPORTS_MEMORY";

// The handle as it travels between processes.
std::string to_message(const IpcMemoryHandle& handle) {
  return {reinterpret_cast<const char*>(&handle), sizeof(handle)};
}

IpcMemoryHandle from_message(const std::string& message) {
  IpcMemoryHandle handle;
  EXPECT_EQ(message.size(), sizeof(handle));
  std::memcpy(&handle, message.data(), std::min(message.size(), sizeof(handle)));
  return handle;
}

// This executable once more, where the test of that name finds that it has the role.
class Importer {
 public:
  Importer() : process_(start()) {}

  void import(const IpcMemoryHandle& handle) const { process_.send(to_message(handle)); }
  int wait() { return process_.wait(); }

 private:
  static SelfProcess start() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    ::setenv(kRole, "1", 1);
    return {"importer",
            {"--gtest_filter=" + std::string(test->test_suite_name()) + "." + test->name()}};
  }

  SelfProcess process_;
};

bool is_importer() { return std::getenv(kRole) != nullptr; }
IpcMemoryHandle receive_handle() { return from_message(SelfOwner(kOwnerFd).receive()); }

class IpcMemoryTest : public test::CudaTest {
 protected:
  void TearDown() override {
    ::unsetenv(kRole);
    CudaTest::TearDown();
  }
};

TEST_F(IpcMemoryTest, AnotherProcessReadsAndWritesIt) {
  const std::vector<std::byte> ours(kShared, std::byte{1});
  const std::vector<std::byte> theirs(kShared, std::byte{2});
  if (is_importer()) {
    const auto memory = ImportedMemory::open(0, receive_handle());
    ASSERT_THAT(memory, IsOk());
    ASSERT_EQ(memory->size(), kShared);
    EXPECT_EQ(memory->device(), 0);
    EXPECT_EQ(test::read_device(memory->data(), kShared), ours);
    test::write_device(memory->data(), theirs);
    return;
  }
  const DeviceMemory memory = DeviceMemory::create(0, kBytes).value();
  test::write_device(memory.data() + kOffset, ours);
  auto handle = export_memory(memory);
  ASSERT_THAT(handle, IsOk());
  EXPECT_EQ(handle->offset, 0U);
  EXPECT_EQ(handle->size, kBytes);
  handle->offset = kOffset;
  handle->size = kShared;
  Importer importer;
  importer.import(*handle);
  ASSERT_EQ(importer.wait(), 0);
  EXPECT_EQ(test::read_device(memory.data() + kOffset, kShared), theirs);
}

TEST_F(IpcMemoryTest, Moves) {
  if (is_importer()) {
    const auto handle = receive_handle();
    test::expect_moves(ImportedMemory::open(0, handle).value(),
                       ImportedMemory::open(0, handle).value(),
                       [](const ImportedMemory& memory) -> const void* { return memory.data(); });
    return;
  }
  const DeviceMemory memory = DeviceMemory::create(0, kBytes).value();
  const IpcMemoryHandle handle = export_memory(memory).value();
  Importer importer;
  importer.import(handle);
  EXPECT_EQ(importer.wait(), 0);
}

TEST_F(IpcMemoryTest, RefusesWhatNamesNoMemory) {
  DeviceMemory from = DeviceMemory::create(0, kBytes).value();
  const DeviceMemory memory = std::move(from);
  EXPECT_THAT(export_memory(from),  // NOLINT(bugprone-use-after-move)
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(ImportedMemory::open(0, {}), StatusIs(StatusCode::kInvalidArgument));
  const IpcMemoryHandle handle = export_memory(memory).value();
  EXPECT_THAT(ImportedMemory::open(99, handle), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(ImportedMemory::open(0, handle), StatusIs(StatusCode::kFailedPrecondition));
}

}  // namespace
}  // namespace kvferry
