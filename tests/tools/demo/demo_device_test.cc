// The demo's two workers in one process, with pages on a CUDA device: kernels, staging, link,
// verification and publication, end to end.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kvferry/chunk_layout.h"
#include "kvferry/make_transport.h"
#include "tests/support/cuda_test.h"
#include "tests/support/status_matchers.h"
#include "tools/demo/decode_worker.h"
#include "tools/demo/prefill_worker.h"

namespace kvferry::test {
namespace {

using ::testing::HasSubstr;

WorkerSetup setup_of(const std::string& role, const std::string& device) {
  const ModelShape& model = list_models().front();
  WorkerSetup setup;
  setup.role = role;
  setup.device = device;
  setup.model = model.name;
  setup.token = "secret";
  setup.num_blocks = 16 * kDefaultChunkTokens / model.block_tokens;
  setup.pool_chunks = 3;
  setup.chunk_bytes = kDefaultChunkTokens * model.token_bytes();
  setup.seed = 7;
  setup.host = "127.0.0.1";
  return setup;
}

struct Way {
  const char* prefill;
  const char* decode;
  /// ucx: staged in pinned memory, unless it moves device memory; host_offload: in device memory.
  const char* transport;
};

class DemoDevice : public CudaTest, public ::testing::WithParamInterface<Way> {
 protected:
  /// Both workers, connected.
  void start(int64_t corrupt_one_in = 0) {
    if (GetParam().decode == std::string("cuda:1") && num_devices() < 2) {
      GTEST_SKIP() << "needs two CUDA devices";
    }
    const auto made_transport = make_transport(GetParam().transport);
    ASSERT_THAT(made_transport, IsOk());
    transport = *made_transport;
    WorkerSetup prefill_setup = setup_of("prefill", GetParam().prefill);
    prefill_setup.corrupt_one_in = corrupt_one_in;
    auto made_prefill = PrefillWorker::create(prefill_setup, transport);
    ASSERT_THAT(made_prefill, IsOk());
    prefill = std::move(made_prefill).value();
    auto made_decode = DecodeWorker::create(setup_of("decode", GetParam().decode), transport);
    ASSERT_THAT(made_decode, IsOk());
    decode = std::move(made_decode).value();
    const auto listening = prefill->listen();
    ASSERT_THAT(listening, IsOk());
    ASSERT_THAT(decode->connect(listening->at("port").get<int64_t>()), IsOk());
  }
  nlohmann::json move(const PromptCommand& prompt) {
    EXPECT_THAT(prefill->compute(prompt), IsOk());
    const auto fetched = decode->fetch(prompt);
    EXPECT_THAT(fetched, IsOk());
    return fetched.value_or(nlohmann::json());
  }
  void TearDown() override {
    decode.reset();
    prefill.reset();
    transport.reset();
    CudaTest::TearDown();
  }

  std::shared_ptr<Transport> transport;
  std::unique_ptr<PrefillWorker> prefill;
  std::unique_ptr<DecodeWorker> decode;
};

TEST_P(DemoDevice, PromptsArriveVerifiedAndTheirPrefixIsReused) {
  start();
  if (HasFatalFailure() || IsSkipped()) return;
  const nlohmann::json first = move({.hash_ids = {1, 2}, .input_length = 700, .max_tokens = 4096});
  EXPECT_EQ(first.at("chunks_moved"), 3);
  EXPECT_EQ(first.at("chunks_verified"), 3);
  EXPECT_EQ(first.at("errors"), nlohmann::json::array());
  const nlohmann::json second =
      move({.hash_ids = {1, 2, 3}, .input_length = 1100, .max_tokens = 4096});
  EXPECT_EQ(second.at("chunks_reused"), 2);
  EXPECT_EQ(second.at("chunks_moved"), 3);
  EXPECT_EQ(second.at("chunks_verified"), 5);
  EXPECT_EQ(second.at("errors"), nlohmann::json::array());
  EXPECT_EQ(decode->stats().value().at("leases_active"), 0);
}

TEST_P(DemoDevice, ACorruptedChunkIsFoundAndFetchedAgain) {
  start(2);
  if (HasFatalFailure() || IsSkipped()) return;
  if (GetParam().prefill != std::string("host") && transport->moves_device_memory()) {
    GTEST_SKIP() << "staging lies in device memory, which the host cannot corrupt";
  }
  const nlohmann::json fetched =
      move({.hash_ids = {1, 2}, .input_length = 1024, .max_tokens = 4096});
  EXPECT_EQ(fetched.at("chunks_verified"), 4);
  EXPECT_EQ(fetched.at("errors"), nlohmann::json::array());
  const nlohmann::json stats = decode->stats().value();
  EXPECT_GT(stats.at("chunks_mismatched").get<int64_t>(), 0);
}

constexpr Way kWays[] = {
    {"cuda:0", "cuda:0", "ucx"},
    {"cuda:0", "host", "ucx"},
    {"host", "cuda:0", "ucx"},
    {"cuda:0", "cuda:0", "host_offload"},
    {"cuda:0", "host", "host_offload"},
    {"host", "cuda:0", "host_offload"},
    {"cuda:0", "cuda:1", "host_offload"},
};
INSTANTIATE_TEST_SUITE_P(Between, DemoDevice, ::testing::ValuesIn(kWays), [](const auto& each) {
  std::string name =
      std::string(each.param.prefill) + "_" + each.param.decode + "_by_" + each.param.transport;
  std::erase(name, ':');
  return name;
});

class DemoDeviceErrors : public CudaTest {};

TEST_F(DemoDeviceErrors, ADeviceThatIsNotThereIsNamed) {
  EXPECT_THAT(PrefillWorker::create(setup_of("prefill", "cuda:99")),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(DecodeWorker::create(setup_of("decode", "gpu")),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("device 'gpu' is unknown")));
}

}  // namespace
}  // namespace kvferry::test
