#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "backends/local_disk/chunk_file.h"
#include "tests/backends/local_disk/disk_rig.h"
#include "tests/support/eventually.h"
#include "tests/support/seeded_rng.h"
#include "tests/support/self_process.h"
#include "tests/support/status_matchers.h"
#include "workload/processes/temp_dir.h"

namespace kvferry {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRole = "disk_writer";
constexpr int kKeys = 10;
constexpr size_t kMaxBytes = size_t{32} << 20;

LocalDiskOptions options_of(const std::string& path, bool by_ring) {
  LocalDiskOptions options;
  options.path = path;
  options.max_bytes = kMaxBytes;
  options.io = by_ring ? DiskIo::kAuto : DiskIo::kPread;
  options.queue_depth = 4;
  return options;
}

/// The process that is killed: puts one version after another of a few keys, all of them open at
/// once, and tells of each that has ended well.
int write_until_killed(const SelfRole& role) {
  DiskRig rig(options_of(role.words.at(0), role.words.at(1) == "ring"));
  if (!rig.opened().is_ok()) return 1;
  std::atomic<int> num_open{0};
  std::array<std::atomic<bool>, kKeys> is_open{};  // two puts of a key at once end in any order
  for (int version = std::stoi(role.words.at(2));; ++version) {
    const int number = version % kKeys;
    auto& is_key_open = is_open.at(static_cast<size_t>(number));
    if (!eventually([&] { return num_open.load() < 4 && !is_key_open; })) return 1;
    is_key_open = true;
    const CacheEngineKey key = contract_key(number);
    const MemoryObjPtr obj = rig.make_object(number, version);
    ++num_open;
    rig.backend().submit_put({&key, 1}, {&obj, 1}, {}, [&, version](size_t, const Status& status) {
      if (status.is_ok()) role.owner.send(std::to_string(version));
      is_key_open = false;
      --num_open;
    });
    if (version % 7 == 0) rig.backend().submit_get({&key, 1}, {}, [](size_t, const auto&) {});
  }
}

int num_moments() {
  const char* given = std::getenv("KVFERRY_TEST_MOMENTS");
  return given == nullptr ? 20 : std::atoi(given);
}

size_t blocks_on_disk(const fs::path& root) {
  size_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (!entry.is_regular_file() || entry.path().filename() == kIdentityFile) continue;
    bytes += (entry.file_size() + 4095) / 4096 * 4096;
  }
  return bytes;
}

TEST(DiskKill, StoreIsWarmAfterItsProcessWasKilledAtAnyMoment) {
  SeededRng rng;
  const TempDir directory;
  std::map<int, int> newest_acked;
  int next_version = 0;
  for (int moment = 0; moment < num_moments() && !testing::Test::HasFailure(); ++moment) {
    const std::string engine = rng.one_in(2) ? "ring" : "pread";
    {
      SelfProcess writer(kRole, {directory.path(), engine, std::to_string(next_version)});
      int newest = next_version - 1;
      const auto note = [&](const std::string& message) {
        const int version = std::stoi(message);
        newest_acked[version % kKeys] = std::max(newest_acked[version % kKeys], version);
        newest = std::max(newest, version);
      };
      for (uint64_t left = 1 + rng.below(60); left > 0; --left) {
        const std::string message = writer.receive();
        ASSERT_NE(message, "") << "the writer ended by itself";
        note(message);
      }
      writer.signal(SIGKILL);
      // What it told before its end.
      for (std::string message = writer.receive(); !message.empty(); message = writer.receive()) {
        note(message);
      }
      EXPECT_EQ(writer.wait(), -SIGKILL);
      next_version = newest + 100;  // some of which nobody heard may be there
    }
    EXPECT_LE(blocks_on_disk(directory.path()), kMaxBytes);
    DiskRig rig(options_of(directory.path(), engine == "pread"));
    ASSERT_THAT(rig.opened(), IsOk()) << "the lock goes with the process";
    for (const auto& [number, version] : newest_acked) {
      EXPECT_GE(rig.version_held(number), version) << "chunk " << number << ", " << engine;
    }
    rig.close();
    EXPECT_EQ(rig.notes().counted("torn_files"), 0);
    for (const auto& entry : fs::recursive_directory_iterator(directory.path())) {
      EXPECT_NE(entry.path().extension(), kTemporarySuffix) << entry.path();
    }
  }
}

}  // namespace
}  // namespace kvferry

int main(int argc, char** argv) {
  if (const auto role = kvferry::find_self_role(kvferry::kRole, argc, argv)) {
    return kvferry::write_until_killed(*role);
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
