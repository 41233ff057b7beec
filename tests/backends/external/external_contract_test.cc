#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "backends/external/factory.h"
#include "conformance/backend_contract.h"
#include "runtime/detached_thread.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

struct Subject {
  const char* library;
  const char* class_name;
  bool retains;
  bool pins;
};

class ExternalFixture final : public BackendContractFixture {
 public:
  explicit ExternalFixture(Subject subject) : subject_(subject) {}

  Result<std::unique_ptr<StorageBackend>> make(const BackendContext& context) override {
    BackendContext with_thread = context;
    with_thread.start_thread = start_detached_thread;
    ExternalOptions options;
    options.module_path = subject_.library;
    options.class_name = subject_.class_name;
    return make_external_backend(with_thread, options);
  }
  BackendTraits traits() const override {
    return {
        .retains = subject_.retains, .pins = subject_.pins, .persists = false, .is_memory = false};
  }

 private:
  const Subject subject_;
};

using Row = std::tuple<BackendContractCase, Subject>;

class ExternalContract : public testing::TestWithParam<Row> {};

TEST_P(ExternalContract, Holds) {
  const auto& [contract_case, subject] = GetParam();
  ExternalFixture fixture(subject);
  const std::string reason = why_skipped(contract_case, fixture);
  if (!reason.empty()) GTEST_SKIP() << reason;
  EXPECT_THAT(contract_case.run(fixture), IsOk());
}

INSTANTIATE_TEST_SUITE_P(
    All, ExternalContract,
    testing::Combine(testing::ValuesIn(backend_contract_cases()),
                     testing::Values(Subject{C_BACKEND, "CMemoryBackend", true, false},
                                     Subject{MEMORY_PLUGIN, "SimpleMemoryBackend", true, true},
                                     Subject{MEMORY_PLUGIN, "ThreadedMemoryBackend", true, false},
                                     Subject{LOG_BACKEND, "ExternalLogBackend", false, true})),
    [](const auto& row) {
      return std::string(std::get<1>(row.param).class_name) + "_" + std::get<0>(row.param).name;
    });

}  // namespace
}  // namespace kvferry
