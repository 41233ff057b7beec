#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "backends/local_disk/factory.h"
#include "conformance/backend_contract.h"
#include "tests/support/status_matchers.h"
#include "workload/processes/temp_dir.h"

namespace kvferry {
namespace {

class LocalDiskFixture final : public BackendContractFixture {
 public:
  LocalDiskFixture(DiskIo io, Durability durability) : io_(io), durability_(durability) {}

  Result<std::unique_ptr<StorageBackend>> make(const BackendContext& context) override {
    ++num_stores_;
    return reopen(context);
  }
  Result<std::unique_ptr<StorageBackend>> reopen(const BackendContext& context) override {
    LocalDiskOptions options;
    options.path = directory_.path() / std::to_string(num_stores_);
    options.max_bytes = capacity_bytes();
    options.io = io_;
    options.durability = durability_;
    return make_local_disk_backend(context, options);
  }
  BackendTraits traits() const override {
    return {.retains = true, .pins = true, .persists = true, .is_memory = false};
  }
  size_t capacity_bytes() const override { return kContractWorkingSetBytes; }

 private:
  const DiskIo io_;
  const Durability durability_;
  const TempDir directory_;
  int num_stores_ = 0;
};

using Row = std::tuple<BackendContractCase, DiskIo, Durability>;

class LocalDiskContract : public testing::TestWithParam<Row> {};

TEST_P(LocalDiskContract, Holds) {
  const auto& [contract_case, io, durability] = GetParam();
  LocalDiskFixture fixture(io, durability);
  const std::string reason = why_skipped(contract_case, fixture);
  if (!reason.empty()) GTEST_SKIP() << reason;
  EXPECT_THAT(contract_case.run(fixture), IsOk());
}

std::string row_name(const testing::TestParamInfo<Row>& row) { return std::get<0>(row.param).name; }

INSTANTIATE_TEST_SUITE_P(Pread, LocalDiskContract,
                         testing::Combine(testing::ValuesIn(backend_contract_cases()),
                                          testing::Values(DiskIo::kPread),
                                          testing::Values(Durability::kSync)),
                         row_name);
#if KVFERRY_HAVE_URING
INSTANTIATE_TEST_SUITE_P(Uring, LocalDiskContract,
                         testing::Combine(testing::ValuesIn(backend_contract_cases()),
                                          testing::Values(DiskIo::kAuto),
                                          testing::Values(Durability::kAsync)),
                         row_name);
#endif

}  // namespace
}  // namespace kvferry
