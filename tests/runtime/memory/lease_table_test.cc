#include "runtime/memory/lease_table.h"

#include <set>

#include "runtime/memory/memory_pool.h"
#include "tests/support/seeded_rng.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

class LeaseTableTest : public ::testing::Test {
 protected:
  LeaseId grant() { return leases.grant(pool->allocate(10).value(), "peer"); }
  size_t used() const { return pool->usage().used_slots; }

  std::unique_ptr<MemoryPool> pool =
      MemoryPool::create({.slot_bytes = 4096, .num_slots = 8}).value();
  LeaseTable leases;
};

TEST_F(LeaseTableTest, ALeaseGoesFromLeasedToInUseToFreeAndReturnsItsMemory) {
  const LeaseId lease = grant();
  EXPECT_EQ(leases.state(lease), LeaseState::kLeased);
  EXPECT_EQ(leases.active(), 1U);
  EXPECT_THAT(leases.begin_use(lease), IsOk());
  EXPECT_EQ(leases.state(lease), LeaseState::kInUse);
  EXPECT_EQ(used(), 1U);
  EXPECT_THAT(leases.fence(lease), IsOk());
  EXPECT_EQ(leases.state(lease), LeaseState::kFree);
  EXPECT_EQ(leases.active(), 0U);
  EXPECT_EQ(used(), 0U);
}

TEST_F(LeaseTableTest, ALeaseIsTakenIntoUseOnce) {
  const LeaseId lease = grant();
  EXPECT_THAT(leases.begin_use(lease), IsOk());
  EXPECT_THAT(leases.begin_use(lease), StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(leases.quarantine(lease), IsOk());
  EXPECT_THAT(leases.begin_use(lease), StatusIs(StatusCode::kFailedPrecondition));
}

TEST_F(LeaseTableTest, AStaleLeaseIsRefusedEverywhereAndChangesNothing) {
  const LeaseId old = grant();
  ASSERT_THAT(leases.fence(old), IsOk());
  const LeaseId held = grant();
  for (const LeaseId stale : {old, LeaseId{held.id, held.generation + 1}, LeaseId{held.id, 0},
                              LeaseId{0, held.generation}, LeaseId{held.id + 1, held.generation}}) {
    const auto refused =
        StatusIs(StatusCode::kFailedPrecondition, HasSubstr(std::to_string(stale.id)));
    EXPECT_THAT(leases.begin_use(stale), refused);
    EXPECT_THAT(leases.fence(stale), refused);
    EXPECT_THAT(leases.quarantine(stale), refused);
    EXPECT_EQ(leases.state(stale), LeaseState::kFree);
  }
  EXPECT_EQ(leases.state(held), LeaseState::kLeased);
  EXPECT_EQ(used(), 1U);
}

TEST_F(LeaseTableTest, NamesAreNeverReused) {
  std::set<uint64_t> ids;
  std::set<uint64_t> generations;
  for (int i = 0; i < 1000; ++i) {
    const LeaseId lease = grant();
    EXPECT_TRUE(ids.insert(lease.id).second);
    EXPECT_TRUE(generations.insert(lease.generation).second);
    ASSERT_THAT(leases.fence(lease), IsOk());
  }
}

TEST_F(LeaseTableTest, QuarantineKeepsTheMemoryAndIsCountedOnce) {
  const LeaseId lease = grant();
  const LeaseId other = grant();
  EXPECT_THAT(leases.quarantine(lease), IsOk());
  EXPECT_THAT(leases.quarantine(lease), IsOk());
  EXPECT_EQ(leases.state(lease), LeaseState::kQuarantined);
  EXPECT_EQ(leases.quarantined(), 1U);
  EXPECT_EQ(leases.quarantined_bytes(), 4096U);
  EXPECT_EQ(leases.active(), 1U);
  EXPECT_EQ(used(), 2U);
  EXPECT_THAT(leases.fence(lease), IsOk());
  EXPECT_EQ(leases.quarantined(), 0U);
  EXPECT_EQ(leases.quarantined_bytes(), 0U);
  EXPECT_EQ(used(), 1U);
  EXPECT_THAT(leases.fence(lease), StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(leases.fence(other), IsOk());
}

TEST_F(LeaseTableTest, ItsCountsAgreeWithThePoolWhateverHappens) {
  SeededRng rng;
  std::vector<LeaseId> held;
  for (int i = 0; i < 5000; ++i) {
    if (held.empty() || (held.size() < 8 && rng.one_in(2))) {
      held.push_back(grant());
      continue;
    }
    const size_t at = rng.below(held.size());
    switch (rng.below(3)) {
      case 0:
        leases.begin_use(held[at]).ignore("in use perhaps");
        break;
      case 1:
        EXPECT_THAT(leases.quarantine(held[at]), IsOk());
        break;
      default:
        EXPECT_THAT(leases.fence(held[at]), IsOk());
        held.erase(held.begin() + static_cast<ptrdiff_t>(at));
    }
    ASSERT_EQ(leases.active() + leases.quarantined(), held.size());
    ASSERT_EQ(leases.quarantined_bytes(), leases.quarantined() * 4096);
    ASSERT_EQ(used(), held.size());
  }
}

}  // namespace
}  // namespace kvferry
