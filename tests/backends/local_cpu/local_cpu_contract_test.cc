#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "backends/local_cpu/factory.h"
#include "conformance/backend_contract.h"
#include "runtime/memory/memory_pool.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

class LocalCpuFixture final : public BackendContractFixture {
 public:
  explicit LocalCpuFixture(CachePolicy policy) : policy_(policy) {}

  Result<std::unique_ptr<StorageBackend>> make(const BackendContext& context) override {
    return make_local_cpu_backend(
        context, {.policy = policy_, .max_bytes = capacity_bytes(), .typical_chunk_bytes = 0});
  }
  BackendTraits traits() const override {
    return {.retains = true, .pins = true, .persists = false, .is_memory = true};
  }
  // Chunks count with the memory that they take out of the pool, however little of it they use.
  size_t capacity_bytes() const override { return 2 * kContractWorkingSetBytes; }

 private:
  const CachePolicy policy_;
};

using Row = std::tuple<BackendContractCase, CachePolicy>;

class LocalCpuContract : public testing::TestWithParam<Row> {};

TEST_P(LocalCpuContract, Holds) {
  const auto& [contract_case, policy] = GetParam();
  LocalCpuFixture fixture(policy);
  const std::string reason = why_skipped(contract_case, fixture);
  if (!reason.empty()) GTEST_SKIP() << reason;
  EXPECT_THAT(contract_case.run(fixture), IsOk());
}

INSTANTIATE_TEST_SUITE_P(All, LocalCpuContract,
                         testing::Combine(testing::ValuesIn(backend_contract_cases()),
                                          testing::Values(CachePolicy::kLru, CachePolicy::kFifo,
                                                          CachePolicy::kS3Fifo)),
                         [](const auto& row) {
                           return std::string(cache_policy_name(std::get<1>(row.param))) + "_" +
                                  std::get<0>(row.param).name;
                         });

/// Its own pins, and those of whoever holds it by its key, are two things.
TEST(LocalCpu, APinnedObjectStaysUntilItIsUnpinned) {
  const auto pool = MemoryPool::create({.slot_bytes = 4096, .num_slots = 1}).value();
  BackendContext context;
  context.allocator = pool.get();
  const auto cache = make_local_cpu_backend(context, {.max_bytes = pool->bytes()}).value();
  const CacheEngineKey key;
  MemoryObjPtr obj = pool->allocate(64).value();
  MemoryObj* const pinned = obj.get();
  pinned->pin();
  cache->batched_submit_put_task({&key, 1}, {&obj, 1});
  obj.reset();
  EXPECT_THAT(pool->allocate(64), StatusIs(StatusCode::kResourceExhausted));
  EXPECT_TRUE(pinned->unpin());
  EXPECT_THAT(pool->allocate(64), IsOk());
  cache->close([] {});
}

TEST(LocalCpu, KeepsNothingInNoBytes) {
  EXPECT_THAT(make_local_cpu_backend({}, {.max_bytes = 0}),
              StatusIs(StatusCode::kInvalidArgument, testing::HasSubstr("max_local_cpu_size")));
}

}  // namespace
}  // namespace kvferry
