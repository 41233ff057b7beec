#include "tools/host_memory.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

/// A /proc and a /sys of our own.
class HostMemory : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "kvferry_host_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root = pattern;
    put("/proc/meminfo", "MemTotal:  9000000 kB\nMemAvailable:    8388608 kB\n");
  }
  void TearDown() override { std::filesystem::remove_all(root); }

  void put(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(root + path).parent_path());
    std::ofstream(root + path) << text;
  }

  std::string root;
};

TEST_F(HostMemory, IsWhatTheKernelSays) {
  EXPECT_THAT(available_memory(root), IsOkAndHolds(8 * kGiB));
  EXPECT_THAT(available_memory(), IsOk()) << "this machine";
}

TEST_F(HostMemory, IsUnknownWithoutMeminfo) {
  EXPECT_THAT(available_memory(root + "/none"), StatusIs(StatusCode::kUnavailable, ::testing::_));
}

TEST_F(HostMemory, ACgroupOfVersion2LeavesItsLimitLessWhatIsUsedAndCannotBeReclaimed) {
  put("/proc/self/cgroup", "0::/pod/box\n");
  put("/sys/fs/cgroup/pod/box/memory.max", "4294967296\n");
  put("/sys/fs/cgroup/pod/box/memory.current", "2147483648\n");
  put("/sys/fs/cgroup/pod/box/memory.stat", "anon 5\ninactive_file 1073741824\n");
  EXPECT_THAT(available_memory(root), IsOkAndHolds(3 * kGiB));
}

TEST_F(HostMemory, TheTightestOfNestedCgroupsCounts) {
  put("/proc/self/cgroup", "0::/pod/box\n");
  put("/sys/fs/cgroup/pod/box/memory.max", "max\n");
  put("/sys/fs/cgroup/pod/box/memory.current", "0\n");
  put("/sys/fs/cgroup/pod/memory.max", "1073741824\n");
  put("/sys/fs/cgroup/pod/memory.current", "0\n");
  EXPECT_THAT(available_memory(root), IsOkAndHolds(kGiB));
}

TEST_F(HostMemory, ACgroupOfVersion1CountsAlsoWhereItsOwnFolderIsNotMounted) {
  put("/proc/self/cgroup", "4:cpu,memory:/docker/abc\n0::/\n");
  put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2147483648\n");
  put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1073741824\n");
  EXPECT_THAT(available_memory(root), IsOkAndHolds(kGiB));
}

TEST_F(HostMemory, ALooseLimitDoesNotCount) {
  put("/proc/self/cgroup", "4:memory:/\n");
  put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1073741824\n");
  EXPECT_THAT(available_memory(root), IsOkAndHolds(8 * kGiB));
}

}  // namespace
}  // namespace kvferry
