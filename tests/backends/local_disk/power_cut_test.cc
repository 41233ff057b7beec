#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <future>
#include <map>
#include <set>
#include <vector>

#include "tests/backends/local_disk/disk_rig.h"
#include "tests/support/seeded_rng.h"

namespace kvferry {
namespace {

constexpr int kKeys = 6;

/// At how many random moments the power is cut, for each durability.
int num_moments() {
  const char* given = std::getenv("KVFERRY_TEST_MOMENTS");
  return given == nullptr ? 40 : std::atoi(given);
}

/// What became of the puts of one key.
struct Record {
  std::set<int> begun;    // versions that may be found
  int newest_acked = -1;  // nothing older may be found, if acknowledged is durable
};

class PowerCut : public testing::TestWithParam<Durability> {
 protected:
  LocalDiskOptions options() const {
    LocalDiskOptions options;
    options.path = "/disk/store";
    options.max_bytes = size_t{64} << 20;
    options.durability = GetParam();
    options.queue_depth = 4;
    options.sync_interval = std::chrono::milliseconds(1);
    return options;
  }

  /// Puts, a few at a time, until the power goes before the call number `last_call` of the files.
  void run_until_cut(const std::shared_ptr<SimFileSystem>& files, SeededRng& rng) {
    DiskRig rig(options(), files);
    ASSERT_TRUE(rig.opened().is_ok()) << rig.opened().to_string();
    std::atomic<int64_t> calls_left{rng.between(0, 250)};
    std::shared_ptr<SimFileSystem> after;
    Mutex mutex;
    std::atomic<bool> is_cut{false};
    files->set_fault_hook([&](std::string_view, const std::string&) {
      if (calls_left.fetch_sub(1) == 0) {
        MutexLock lock(mutex);
        after = files->cut_power(rng);
        is_cut = true;
      }
      return SimFault();
    });
    while (!is_cut.load()) put_some(rig, rng_here);
    files->set_fault_hook({});
    MutexLock lock(mutex);
    left = after;
  }

  void put_some(DiskRig& rig, SeededRng& rng) {
    std::vector<CacheEngineKey> keys;
    std::vector<MemoryObjPtr> objs;
    std::vector<std::pair<int, int>> puts;
    for (int number = 0; number < kKeys; ++number) {
      if (rng.one_in(2)) continue;
      const int version = next_version++;
      puts.emplace_back(number, version);
      keys.push_back(contract_key(number));
      objs.push_back(rig.make_object(number, version));
      records[number].begun.insert(version);
    }
    auto statuses = std::make_shared<std::vector<Status>>(puts.size());
    std::promise<void> all_done;
    std::atomic<size_t> missing{puts.size()};
    if (puts.empty()) return;
    rig.backend().submit_put(keys, objs, {}, [&, statuses](size_t item, Status status) {
      (*statuses)[item] = std::move(status);
      if (missing.fetch_sub(1) == 1) all_done.set_value();
    });
    all_done.get_future().wait();
    for (size_t i = 0; i < puts.size(); ++i) {
      Record& record = records[puts[i].first];
      if ((*statuses)[i].is_ok()) record.newest_acked = puts[i].second;
    }
    if (rng.one_in(4)) {
      const int number = static_cast<int>(rng.below(kKeys));
      rig.backend().remove(contract_key(number));
      records[number].newest_acked = -1;  // may be there or not
    }
  }

  void check_after(const std::shared_ptr<SimFileSystem>& files, bool is_durable) {
    DiskRig rig(options(), files);
    ASSERT_TRUE(rig.opened().is_ok()) << rig.opened().to_string();
    for (auto& [number, record] : records) {
      const int version = rig.version_held(number);  // compares the bytes
      if (version >= 0) {
        EXPECT_TRUE(record.begun.contains(version)) << "chunk " << number << " v" << version;
      }
      if (is_durable) {
        EXPECT_GE(version, record.newest_acked) << "chunk " << number << " is lost";
      }
    }
    for (const std::string& name : files->file_names()) {
      EXPECT_FALSE(name.ends_with(".tmp")) << name;
    }
    EXPECT_LE(files->used_bytes(), options().max_bytes);
  }

  SeededRng rng_here;
  std::map<int, Record> records;
  std::shared_ptr<SimFileSystem> left;
  int next_version = 0;
};

TEST_P(PowerCut, LosesNothingThatWasPromisedAndServesNoWrongByte) {
  SeededRng rng;
  for (int moment = 0; moment < num_moments() && !HasFailure(); ++moment) {
    records.clear();
    auto files = std::make_shared<SimFileSystem>();
    // A second cut, after the store has been opened on what the first one left, and went on.
    for (int cut = 0; cut < 2; ++cut) {
      ASSERT_NO_FATAL_FAILURE(run_until_cut(files, rng));
      files = left;
      ASSERT_NO_FATAL_FAILURE(check_after(files, GetParam() == Durability::kSync));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, PowerCut,
                         testing::Values(Durability::kNone, Durability::kAsync, Durability::kSync));

TEST(PowerCutAfterClose, LosesNothingThatWasPutAsync) {
  SeededRng rng;
  for (int round = 0; round < 10; ++round) {
    auto files = std::make_shared<SimFileSystem>();
    LocalDiskOptions options;
    options.path = "/disk";
    options.max_bytes = size_t{64} << 20;
    options.durability = Durability::kAsync;
    options.sync_interval = std::chrono::hours(1);
    {
      DiskRig rig(options, files);
      for (int number = 0; number < 8; ++number) ASSERT_TRUE(rig.put(number, round).is_ok());
    }
    DiskRig rig(options, files->cut_power(rng));
    for (int number = 0; number < 8; ++number) EXPECT_EQ(rig.version_held(number), round);
  }
}

}  // namespace
}  // namespace kvferry
