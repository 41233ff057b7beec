#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "backends/remote/fs_files.h"
#include "tests/backends/remote/remote_rig.h"
#include "tests/support/eventually.h"
#include "tests/support/status_matchers.h"
#include "workload/processes/temp_dir.h"

namespace kvferry {
namespace {

using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

class FsStoreTest : public testing::Test {
 protected:
  std::string url() const { return "fs://" + directory.path().string(); }
  std::string path_of(int number) const {
    return FsFiles(directory.path()).path_of(contract_key(number));
  }
  size_t num_temporaries() const {
    const fs::path temporaries = directory.file("tmp");
    if (!fs::exists(temporaries)) return 0;
    return static_cast<size_t>(std::distance(fs::directory_iterator(temporaries), {}));
  }
  static void overwrite_byte(const std::string& path, std::streamoff offset, char xor_with) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(offset);
    const char byte = static_cast<char>(file.get() ^ xor_with);
    file.seekp(offset);
    file.put(byte);
  }

  TempDir directory;
};

TEST_F(FsStoreTest, NamesAreSafeAndApart) {
  const FsFiles files("/root");
  CacheEngineKey key = contract_key(1);
  key.model = "../../etc/passwd";
  const std::string path = files.path_of(key);
  EXPECT_EQ(std::ranges::count(path, '/'), 3);
  EXPECT_THAT(path, Not(HasSubstr("..")));
  std::set<std::string> paths = {path};
  key.worker_id = 2;
  paths.insert(files.path_of(key));
  key.dtype = DType::kF16;
  paths.insert(files.path_of(key));
  key.tags = {{"tenant", "a"}};
  paths.insert(files.path_of(key));
  key.tags = {{"tenant", "b"}};
  paths.insert(files.path_of(key));
  EXPECT_EQ(paths.size(), 5);
}

TEST_F(FsStoreTest, CutFileIsSaidAndCounted) {
  RemoteRig rig(url());
  uint64_t num_lost = 0;
  for (const uintmax_t size : {0U, 10U, 200U, 4096U, 5000U, 66'000U}) {
    ASSERT_THAT(rig.put(1), IsOk());
    fs::resize_file(path_of(1), size);
    EXPECT_THAT(rig.get(1), StatusIs(StatusCode::kDataLoss)) << size;
    EXPECT_EQ(rig.metrics.count("data_loss"), ++num_lost);
    EXPECT_TRUE(eventually([&] { return !fs::exists(path_of(1)); }));
  }
  EXPECT_THAT(rig.log.lines(), HasSubstr("chunk_rejected"));
  EXPECT_EQ(rig.allocator.used(), 0);
}

TEST_F(FsStoreTest, ForeignFileIsNotServed) {
  RemoteRig rig(url());
  ASSERT_THAT(rig.put(1), IsOk());
  ASSERT_THAT(rig.put(2), IsOk());
  fs::copy_file(path_of(2), path_of(1), fs::copy_options::overwrite_existing);
  EXPECT_THAT(rig.get(1), StatusIs(StatusCode::kDataLoss));
  EXPECT_TRUE(rig.get(2).value());
  fs::create_directories(fs::path(path_of(3)).parent_path());
  std::ofstream(path_of(3)) << std::string(100'000, 'x');
  EXPECT_THAT(rig.get(3), StatusIs(StatusCode::kDataLoss));
  EXPECT_EQ(rig.metrics.count("data_loss"), 2);
}

TEST_F(FsStoreTest, NewerRecordIsAMissAndStays) {
  RemoteRig rig(url());
  ASSERT_THAT(rig.put(1), IsOk());
  overwrite_byte(path_of(1), 8, 3);  // the version
  EXPECT_FALSE(rig.get(1).value());
  EXPECT_TRUE(fs::exists(path_of(1)));
}

TEST_F(FsStoreTest, FlippedBitIsNotServed) {
  RemoteRig rig(url());
  ASSERT_THAT(rig.put(1), IsOk());
  overwrite_byte(path_of(1), 40'000, 0x20);
  EXPECT_FALSE(rig.backend->get_blocking(contract_key(1)));
  EXPECT_FALSE(fs::exists(path_of(1)));
  EXPECT_EQ(rig.metrics.count("data_loss"), 1);
}

TEST_F(FsStoreTest, WritersOfOneKeyLeaveOneWholeChunk) {
  RemoteRig left(url());
  RemoteRig right(url());
  const auto write = [](RemoteRig& rig, int parity) {
    for (int i = 0; i < 40; ++i) EXPECT_THAT(rig.put(1, i * 2 + parity), IsOk());
  };
  std::thread writes_left([&] { write(left, 0); });
  std::thread writes_right([&] { write(right, 1); });
  RemoteRig reader(url());
  for (int i = 0; i < 80; ++i) {
    const MemoryObjPtr obj = reader.get(1).value();
    if (!obj) continue;
    EXPECT_THAT(expect_chunk(make_contract_chunk(1, version_in(*obj)), *obj), IsOk());
  }
  writes_left.join();
  writes_right.join();
  EXPECT_TRUE(reader.get(1).value());
  EXPECT_EQ(reader.metrics.count("data_loss"), 0);
  EXPECT_EQ(num_temporaries(), 0);
}

// The limit stands for a full disk: a write stops in the middle of the file.
TEST_F(FsStoreTest, FullDiskFailsThePutAndLeavesNothing) {
  RemoteRig rig(url());
  ASSERT_THAT(rig.put(2), IsOk());
  auto* const before = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small = {.rlim_cur = 20'000, .rlim_max = limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = rig.put(1);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  std::signal(SIGXFSZ, before);
  EXPECT_THAT(status, StatusIs(StatusCode::kResourceExhausted, HasSubstr("cannot write")));
  EXPECT_FALSE(rig.backend->contains(contract_key(1)));
  EXPECT_TRUE(rig.get(2).value());
  EXPECT_EQ(num_temporaries(), 0);
  EXPECT_THAT(rig.put(1), IsOk());
}

TEST_F(FsStoreTest, TemporariesOfTheDeadGoByAge) {
  fs::create_directory(directory.file("tmp"));
  const std::string old_file = directory.file("tmp/host.1.2.3.tmp");
  const std::string new_file = directory.file("tmp/host.1.2.4.tmp");
  const std::string other_file = directory.file("tmp/notes.txt");
  for (const std::string& path : {old_file, new_file, other_file}) std::ofstream(path) << "torn";
  const timespec long_ago = {.tv_sec = 1'000'000'000, .tv_nsec = 0};
  for (const std::string& path : {old_file, other_file}) {
    const std::array<timespec, 2> times = {long_ago, long_ago};
    ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times.data(), 0), 0);
  }
  RemoteRig rig(url());
  ASSERT_THAT(rig.put(1), IsOk());
  EXPECT_TRUE(eventually([&] { return rig.metrics.count("stale_files_removed") == 1; }));
  EXPECT_FALSE(fs::exists(old_file));
  EXPECT_TRUE(fs::exists(new_file));
  EXPECT_TRUE(fs::exists(other_file));
}

// Else what should go to an unmounted share would fill the disk below it.
TEST_F(FsStoreTest, MissingDirectoryIsNotMade) {
  RemoteRig rig("fs://" + directory.file("unmounted"));
  EXPECT_THAT(rig.put(1), StatusIs(StatusCode::kUnavailable, HasSubstr("make or mount it")));
  EXPECT_FALSE(rig.get(1).value());
  EXPECT_FALSE(fs::exists(directory.file("unmounted")));
}

TEST_F(FsStoreTest, QueueIsBounded) {
  RemoteOptions options = RemoteRig::options_of(url());
  options.max_queued = 2;
  options.store.connections = 1;
  RemoteRig rig(options);
  const auto ends =
      rig.begin_put({0, 0, 0, 0, 0, 0, 0, 0, 0, 0}).wait(RemoteRig::kPatience).value();
  const auto refused = std::ranges::count_if(
      ends, [](const Status& status) { return status.code() == StatusCode::kResourceExhausted; });
  EXPECT_GE(refused, 1);
  EXPECT_LE(refused, 8);  // 1 under way, 2 waiting, one of them perhaps the search for stale files
}

}  // namespace
}  // namespace kvferry
