#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "backends/remote/factory.h"
#include "conformance/backend_contract.h"
#include "core/remote_url.h"
#include "tests/support/status_matchers.h"
#include "workload/processes/server_process.h"
#include "workload/processes/temp_dir.h"

namespace kvferry {
namespace {

/// A store that lives as long as the fixture.
class RemoteFixture final : public BackendContractFixture {
 public:
  RemoteFixture(std::string url, size_t connections, bool keeps)
      : url_(std::move(url)), connections_(connections), keeps_(keeps) {}

  Result<std::unique_ptr<StorageBackend>> make(const BackendContext& context) override {
    RemoteOptions options;
    options.store = parse_remote_url(url_).value();
    options.store.connections = static_cast<int64_t>(connections_);
    return make_remote_backend(context, options);
  }
  Result<std::unique_ptr<StorageBackend>> reopen(const BackendContext& context) override {
    return make(context);
  }
  BackendTraits traits() const override {
    return {.retains = keeps_, .pins = false, .persists = keeps_, .is_memory = false};
  }

 private:
  const std::string url_;
  const size_t connections_;
  const bool keeps_;
};

void run_case(const BackendContractCase& contract_case, RemoteFixture fixture) {
  const std::string reason = why_skipped(contract_case, fixture);
  if (!reason.empty()) GTEST_SKIP() << reason;
  EXPECT_THAT(contract_case.run(fixture), IsOk());
}

class RemoteContract : public testing::TestWithParam<BackendContractCase> {};

TEST_P(RemoteContract, HoldsForASharedDirectory) {
  const TempDir directory;
  run_case(GetParam(), RemoteFixture("fs://" + directory.path().string(), 4, true));
}

TEST_P(RemoteContract, HoldsForABlackhole) {
  run_case(GetParam(), RemoteFixture("blackhole://", 1, false));
}

#if KVFERRY_HAVE_HIREDIS
TEST_P(RemoteContract, HoldsForRedis) {
  const auto server = RedisServer::start();
  if (!server) GTEST_SKIP() << "redis-server is not installed (scripts/setup test)";
  run_case(GetParam(), RemoteFixture(server->tcp_url() + "/3", 1, true));
}

TEST_P(RemoteContract, HoldsForRedisBySeveralLocalConnections) {
  const auto server = RedisServer::start({"--requirepass", "p@ss/word"});
  if (!server) GTEST_SKIP() << "redis-server is not installed (scripts/setup test)";
  run_case(GetParam(), RemoteFixture("unix://:p%40ss%2Fword@" + server->socket_path(), 3, true));
}
#endif

INSTANTIATE_TEST_SUITE_P(Remote, RemoteContract, testing::ValuesIn(backend_contract_cases()),
                         [](const auto& param_info) { return param_info.param.name; });

}  // namespace
}  // namespace kvferry
