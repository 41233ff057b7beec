#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "backends/local_disk/chunk_file.h"
#include "tests/backends/local_disk/disk_rig.h"
#include "tests/support/eventually.h"
#include "tests/support/open_fds.h"
#include "tests/support/seeded_rng.h"
#include "tests/support/status_matchers.h"
#include "workload/processes/temp_dir.h"

namespace kvferry {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

MATCHER(IsMiss, "is no object") { return !arg; }

/// On the real file system, by each engine.
class LocalDisk : public testing::TestWithParam<DiskIo> {
 protected:
  LocalDiskOptions options() const {
    LocalDiskOptions options;
    options.path = directory.path() / "a" / "store";
    options.max_bytes = size_t{64} << 20;
    options.io = GetParam();
    return options;
  }

  std::vector<fs::path> chunk_files() const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(options().path)) {
      if (ChunkFileName::parse(entry.path().filename().string())) files.push_back(entry.path());
    }
    return files;
  }

  /// The only one there is.
  fs::path chunk_file() const {
    const auto files = chunk_files();
    return files.size() == 1 ? files.front() : fs::path();
  }

  static void flip_bit(const fs::path& path, std::streamoff at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(at);
    file.put(byte);
  }

  const TempDir directory;
};

// A map of versions is what the store must be.
TEST_P(LocalDisk, IsAMapThatOutlivesItsProcess) {
  SeededRng rng;
  std::map<int, int> model;
  DiskRig rig(options());
  ASSERT_THAT(rig.opened(), IsOk());
  for (int step = 0; step < 300; ++step) {
    const int number = static_cast<int>(rng.below(12));
    switch (rng.below(8)) {
      case 0:
      case 1:
      case 2:
        ASSERT_THAT(rig.put(number, step), IsOk());
        model[number] = step;
        break;
      case 3:
        EXPECT_EQ(rig.backend().remove(contract_key(number)), model.erase(number) == 1);
        break;
      case 4:
        if (!rng.one_in(4)) break;
        rig.close();
        ASSERT_THAT(rig.open(), IsOk());
        EXPECT_EQ(rig.backend().usage().entries, model.size());
        break;
      default:
        EXPECT_EQ(rig.contains(number), model.contains(number));
        EXPECT_EQ(rig.version_held(number), model.contains(number) ? model[number] : -1);
    }
  }
  size_t bytes = 0;
  for (const auto& [number, version] : model) bytes += chunk_disk_bytes(number, version);
  EXPECT_EQ(rig.backend().usage().bytes, bytes);
  EXPECT_EQ(chunk_files().size(), model.size());
}

TEST_P(LocalDisk, ClosesAllThatItOpens) {
  DiskRig rig(options());
  rig.close();
  const size_t before = count_open_fds();
  ASSERT_THAT(rig.open(), IsOk());
  for (int number = 0; number < 8; ++number) ASSERT_THAT(rig.put(number), IsOk());
  for (int number = 0; number < 8; ++number) EXPECT_EQ(rig.version_held(number), 0);
  rig.close();
  EXPECT_EQ(count_open_fds(), before);
}

TEST_P(LocalDisk, FlippedBitOfThePayloadIsAMissAndGone) {
  DiskRig rig(options());
  ASSERT_THAT(rig.put(0), IsOk());
  flip_bit(chunk_file(), static_cast<std::streamoff>(fs::file_size(chunk_file())) - 5000);
  EXPECT_EQ(rig.version_held(0), -1);
  EXPECT_FALSE(rig.contains(0));
  EXPECT_EQ(chunk_file(), "");
  ASSERT_THAT(rig.put(0, 1), IsOk());
  EXPECT_EQ(rig.version_held(0), 1);
}

TEST_P(LocalDisk, FlippedBitOfTheHeaderIsSaidAndGone) {
  for (const int at : {0, 9, 13, 17, 40, 58, 95, 200}) {
    DiskRig rig(options());
    ASSERT_THAT(rig.put(0), IsOk());
    flip_bit(chunk_file(), at);
    if (at == 9) {
      EXPECT_THAT(rig.get(0), IsOkAndHolds(IsMiss())) << "another version";
    } else {
      EXPECT_THAT(rig.get(0), StatusIs(StatusCode::kDataLoss)) << at;
    }
    EXPECT_FALSE(rig.contains(0));
    rig.close();
    EXPECT_EQ(chunk_file(), "");
    EXPECT_EQ(rig.notes().counted("torn_files"), 1);
    EXPECT_TRUE(rig.notes().has_logged("disk_chunk_dropped"));
  }
}

TEST_P(LocalDisk, FileThatWasCutOrRemovedUnderTheStoreIsNotServed) {
  DiskRig rig(options());
  for (const size_t left : {size_t{0}, size_t{100}, size_t{4096}, size_t{40000}}) {
    ASSERT_THAT(rig.put(0), IsOk());
    fs::resize_file(chunk_file(), left);
    EXPECT_THAT(rig.get(0), StatusIs(StatusCode::kDataLoss)) << left;
    EXPECT_FALSE(rig.contains(0));
  }
  ASSERT_THAT(rig.put(0), IsOk());
  fs::remove(chunk_file());
  EXPECT_THAT(rig.get(0), IsOkAndHolds(IsMiss()));
  EXPECT_FALSE(rig.contains(0));
}

TEST_P(LocalDisk, OpenRemovesWhatIsTornAndKeepsTheRest) {
  DiskRig rig(options());
  ASSERT_THAT(rig.put(0), IsOk());
  const fs::path kept = chunk_file();
  rig.close();
  for (const size_t left : {size_t{0}, size_t{1}, size_t{15}, size_t{16}, size_t{300}, size_t{4096},
                            static_cast<size_t>(fs::file_size(kept)) - 1}) {
    fs::path torn = kept;
    torn.replace_filename(ChunkFileName{contract_key(0).digest(), 77}.to_string());
    fs::copy_file(kept, torn);
    fs::resize_file(torn, left);
    ASSERT_THAT(rig.open(), IsOk());
    EXPECT_EQ(rig.version_held(0), 0);
    EXPECT_EQ(rig.backend().usage().entries, 1);
    EXPECT_EQ(rig.backend().usage().bytes, chunk_disk_bytes(0));
    rig.close();
    EXPECT_EQ(chunk_file(), kept) << left;
  }
  EXPECT_EQ(rig.notes().counted("torn_files"), 7);
}

TEST_P(LocalDisk, OpenRemovesTemporariesOtherVersionsAndMisnamedRecords) {
  DiskRig rig(options());
  ASSERT_THAT(rig.put(0), IsOk());
  const fs::path kept = chunk_file();
  rig.close();
  const auto copy_as = [&](const ChunkFileName& name, const std::string& suffix) {
    const fs::path copy = StorePaths(options().path).chunk(name) + suffix;
    fs::copy_file(kept, copy);
    return copy;
  };
  copy_as({contract_key(0).digest(), 50}, ".tmp");
  copy_as({contract_key(0).digest(), 51}, "");  // another generation than it says
  copy_as({contract_key(1).digest(), 52}, "");  // another key
  flip_bit(copy_as({contract_key(2).digest(), 53}, ""), 8);
  ASSERT_THAT(rig.open(), IsOk());
  EXPECT_EQ(rig.backend().usage().entries, 1);
  EXPECT_EQ(rig.version_held(0), 0);
  EXPECT_EQ(rig.version_held(1), -1);
  EXPECT_EQ(rig.notes().counted("dropped_temporaries"), 1);
  EXPECT_EQ(rig.notes().counted("torn_files"), 2);
  EXPECT_EQ(rig.notes().counted("other_version_files"), 1);
  rig.close();
  EXPECT_EQ(chunk_file(), kept);
}

TEST_P(LocalDisk, OpenLeavesForeignFilesAlone) {
  DiskRig rig(options());
  rig.close();
  const fs::path shard = StorePaths(options().path).shard(size_t{0});
  const std::vector<std::string> foreign = {
      "notes.txt", "x.chunk", "y.tmp",
      std::string(32, '0') + "-" + std::string(16, 'G') + ".chunk"};
  for (const std::string& name : foreign) std::ofstream(shard / name) << "not ours";
  fs::create_directory(shard / ChunkFileName{}.to_string());
  // Ours by its name, but in the wrong shard.
  std::ofstream(shard / ChunkFileName{{0xff}, 1}.to_string()) << "moved";
  ASSERT_THAT(rig.open(), IsOk());
  EXPECT_EQ(rig.backend().usage().entries, 0);
  EXPECT_EQ(rig.notes().counted("foreign_files"), 6);
  EXPECT_TRUE(rig.notes().has_logged("disk_foreign_files"));
  for (const std::string& name : foreign) EXPECT_TRUE(fs::exists(shard / name)) << name;
}

TEST_P(LocalDisk, NewerOfTwoGenerationsIsTheOne) {
  DiskRig rig(options());
  ASSERT_THAT(rig.put(0, 0), IsOk());
  const fs::path old = chunk_file();
  const fs::path aside = directory.path() / "aside";
  fs::copy_file(old, aside);
  ASSERT_THAT(rig.put(0, 1), IsOk());
  rig.close();
  fs::copy_file(aside, old);  // as if its removal had not outlived a power cut
  ASSERT_THAT(rig.open(), IsOk());
  EXPECT_EQ(rig.version_held(0), 1);
  rig.close();
  EXPECT_EQ(chunk_files().size(), 1);
}

TEST_P(LocalDisk, DirectoryHasOneOwner) {
  DiskRig rig(options());
  ASSERT_THAT(rig.opened(), IsOk());
  DiskRig other(options());
  EXPECT_THAT(other.opened(), StatusIs(StatusCode::kFailedPrecondition, HasSubstr("locked")));
  rig.close();
  EXPECT_THAT(other.open(), IsOk());
}

TEST_P(LocalDisk, DirectoryOfAnotherLayoutIsRefusedUntouched) {
  fs::create_directories(options().path);
  std::ofstream(fs::path(options().path) / kIdentityFile) << "kvferry local_disk store, layout 2\n";
  DiskRig rig(options());
  EXPECT_THAT(rig.opened(), StatusIs(StatusCode::kFailedPrecondition, HasSubstr("layout")));
}

TEST_P(LocalDisk, ShrunkenBoundShedsTheOldest) {
  DiskRig rig(options());
  for (int number = 0; number < 32; ++number) ASSERT_THAT(rig.put(number), IsOk());
  rig.close();
  size_t newest = 0;
  for (int number = 24; number < 32; ++number) newest += chunk_disk_bytes(number);
  rig.options.max_bytes = newest;
  ASSERT_THAT(rig.open(), IsOk());
  for (int number = 0; number < 32; ++number) {
    EXPECT_EQ(rig.version_held(number), number < 24 ? -1 : 0) << number;
  }
  EXPECT_EQ(rig.notes().counted("shed_chunks"), 24);
  rig.close();
  EXPECT_EQ(chunk_files().size(), 8);
}

TEST_P(LocalDisk, UnalignedMemoryWorksToo) {
  DiskRig rig(options());
  // An object whose bytes begin 64 past a block.
  struct Owner final : MemoryOwner {
    void release(MemoryObj&) noexcept override {}
  } owner;
  const ContractChunk chunk = make_contract_chunk(0);
  std::vector<std::byte> memory(chunk.bytes.size() + 2 * 4096);
  const auto address = reinterpret_cast<uintptr_t>(memory.data());
  const size_t skip = (4096 - address % 4096) % 4096 + 64;
  MemoryObj obj(owner, std::span(memory).subspan(skip, chunk.bytes.size()));
  const MemoryObjPtr reference(&obj);
  fill_object(chunk, obj);
  const CacheEngineKey key = contract_key(0);
  rig.backend().batched_submit_put_task({&key, 1}, {&reference, 1});
  ASSERT_TRUE(eventually([&] { return rig.contains(0); }));
  EXPECT_EQ(rig.version_held(0), 0);
}

INSTANTIATE_TEST_SUITE_P(Engines, LocalDisk,
                         testing::Values(DiskIo::kPread
#if KVFERRY_HAVE_URING
                                         ,
                                         DiskIo::kIoUring
#endif
                                         ),
                         [](const auto& row) {
                           return row.param == DiskIo::kPread ? "Pread" : "Uring";
                         });

TEST(LocalDiskOptions, AreRefusedWithTheirNames) {
  const auto error_of = [](const std::function<void(LocalDiskOptions&)>& spoil) {
    LocalDiskOptions options;
    options.path = "/nonexistent/store";
    options.max_bytes = 1 << 20;
    spoil(options);
    return DiskRig(options, std::make_shared<SimFileSystem>()).opened();
  };
  EXPECT_THAT(error_of([](auto& options) { options.path = ""; }),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("path")));
  EXPECT_THAT(error_of([](auto& options) { options.max_bytes = 0; }),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("max_bytes")));
  EXPECT_THAT(error_of([](auto& options) { options.queue_depth = 0; }),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("queue_depth")));
  EXPECT_THAT(error_of([](auto& options) { options.max_waiting = 0; }),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("max_waiting")));
  EXPECT_THAT(error_of([](auto& options) { options.max_unsynced_bytes = 0; }),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("max_unsynced_bytes")));
}

}  // namespace
}  // namespace kvferry
