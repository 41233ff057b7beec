#include "conformance/backend_contract.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/map_backend.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

class MapFixture final : public BackendContractFixture {
 public:
  explicit MapFixture(MapFault fault = MapFault::kNone,
                      Duration item_limit = std::chrono::seconds(30))
      : fault_(fault), item_limit_(item_limit) {}

  Result<std::unique_ptr<StorageBackend>> make(const BackendContext& context) override {
    store_ = std::make_shared<MapStore>();
    return reopen(context);
  }
  Result<std::unique_ptr<StorageBackend>> reopen(const BackendContext& context) override {
    return std::make_unique<MapBackend>(context, store_, capacity_bytes(), fault_);
  }
  BackendTraits traits() const override {
    return {.retains = true, .pins = true, .persists = true, .is_memory = false};
  }
  size_t capacity_bytes() const override { return kContractWorkingSetBytes; }
  Duration item_limit() const override { return item_limit_; }

 private:
  const MapFault fault_;
  const Duration item_limit_;
  std::shared_ptr<MapStore> store_;
};

// ---- one that keeps the contract

class MapContract : public testing::TestWithParam<BackendContractCase> {};

TEST_P(MapContract, Holds) {
  MapFixture fixture;
  const std::string reason = why_skipped(GetParam(), fixture);
  if (!reason.empty()) GTEST_SKIP() << reason;
  EXPECT_THAT(GetParam().run(fixture), IsOk());
}

INSTANTIATE_TEST_SUITE_P(Map, MapContract, testing::ValuesIn(backend_contract_cases()),
                         [](const auto& param_info) { return param_info.param.name; });

// ---- ones that do not, each with the case and the sentence that say so

struct BrokenRow {
  std::string name;
  MapFault fault;
  std::string case_name;
  testing::Matcher<std::string> sentence;
  bool hangs = false;
};

void PrintTo(const BrokenRow& row, std::ostream* out) { *out << row.name; }

class BrokenBackend : public testing::TestWithParam<BrokenRow> {};

TEST_P(BrokenBackend, IsFound) {
  const BrokenRow& row = GetParam();
#if defined(__SANITIZE_THREAD__)
  // A data race is what it is broken by, and would end the test before the case says so.
  if (row.fault == MapFault::kLateRead || row.fault == MapFault::kLateWrite) {
    GTEST_SKIP() << "races on purpose";
  }
#endif
  // Short for those that the case gives up on; the others never use it up.
  MapFixture fixture(row.fault, row.hangs ? Duration(std::chrono::milliseconds(300))
                                          : Duration(std::chrono::seconds(30)));
  const auto cases = backend_contract_cases();
  const auto found = std::ranges::find(cases, row.case_name, &BackendContractCase::name);
  ASSERT_NE(found, cases.end());
  EXPECT_THAT(found->run(fixture), StatusIs(StatusCode::kInternal, row.sentence));
}

INSTANTIATE_TEST_SUITE_P(
    Map, BrokenBackend,
    testing::Values(
        BrokenRow{"WrongSize", MapFault::kWrongSize, "EachShapeComesBack",
                  HasSubstr("a get gave 524287 bytes, but 524288 were put")},
        BrokenRow{"EndsTwice", MapFault::kEndsTwice, "EachShapeComesBack",
                  HasSubstr("completions were called for items that had ended already")},
        BrokenRow{"NeverEnds", MapFault::kNeverEnds, "HitsAndMissesInOneGet",
                  HasSubstr("item 63 of a get of 64 did not end within 300 ms"), true},
        BrokenRow{"LateWrite", MapFault::kLateWrite, "ObjectIsTheCallers",
                  AnyOf(HasSubstr("wrote into an object after the get that gave it had ended"),
                        HasSubstr("of 524288 is 1, but"))},
        BrokenRow{"LateRead", MapFault::kLateRead, "SourceIsFreeOncePut",
                  HasSubstr("of 524288 is 219, but")},
        BrokenRow{"KeepsReference", MapFault::kKeepsReference, "ObjectsComeBack",
                  HasSubstr("8 objects of gets did not come back to their allocator"), true},
        BrokenRow{"SwallowsError", MapFault::kSwallowsError, "EachShapeComesBack",
                  HasSubstr("was put, and the put ended OK, but contains says no")},
        BrokenRow{"KeepsOldChunk", MapFault::kKeepsOldChunk, "OverwritingGivesTheNewChunk",
                  HasSubstr("a get gave version 0, which is stale")},
        BrokenRow{"KeepsOldChunkUnderLoad", MapFault::kKeepsOldChunk, "MixedTraffic",
                  HasSubstr("stale")},
        BrokenRow{"LosesDigests", MapFault::kLosesDigests, "EachShapeComesBack",
                  HasSubstr("a get gave other tile digests than were put")},
        BrokenRow{"MixesItems", MapFault::kMixesItems, "HitsAndMissesInOneGet",
                  AnyOf(HasSubstr("was never put, but a get gives something"),
                        HasSubstr("is missed by a batch"))},
        BrokenRow{"MissIsError", MapFault::kMissIsError, "UnknownKeysAreMisses",
                  HasSubstr("ended with an error: not_found: no such chunk")},
        BrokenRow{"UnpinsForAnybody", MapFault::kUnpinsForAnybody, "PinsAreCountedPerOwner",
                  HasSubstr("an unpin of Bob's that he has no pin for says it was done")},
        BrokenRow{"RemovesPinned", MapFault::kRemovesPinned, "PinnedIsNotRemovedButByForce",
                  HasSubstr("a remove of a pinned chunk says the chunk was removed")},
        BrokenRow{"ForgetsToEvict", MapFault::kForgetsToEvict, "FullStoreForgetsAndStaysRight",
                  HasSubstr("bytes, but is bounded to")},
        BrokenRow{"KeepsRemoved", MapFault::kKeepsRemoved, "RemoveAnswers",
                  HasSubstr("that was removed before says it was there")},
        BrokenRow{"ForgetsOnReopen", MapFault::kForgetsOnReopen, "ReopenedStoreHoldsWhatWasPut",
                  HasSubstr("of six chunks that were put, batched_contains finds 3")},
        BrokenRow{"OwnMemory", MapFault::kOwnMemory, "ObjectsAreOfTheAllocator",
                  HasSubstr("memory that is not of the allocator")},
        BrokenRow{"HangsWithoutMemory", MapFault::kHangsWithoutMemory, "ExhaustedAllocatorIsNoHang",
                  HasSubstr("of a get of 2 did not end"), true},
        BrokenRow{"DropsLateItems", MapFault::kDropsLateItems, "CloseDuringTraffic",
                  HasSubstr("close() did not end within 300 ms"), true},
        BrokenRow{"HoldsLock", MapFault::kHoldsLock, "CompletionsMayCallAgain",
                  HasSubstr("did not end"), true},
        BrokenRow{"ServesCorrupt", MapFault::kServesCorrupt, "EachShapeComesBack",
                  HasSubstr("byte 3 of")}),
    [](const auto& param_info) { return param_info.param.name; });

}  // namespace
}  // namespace kvferry
