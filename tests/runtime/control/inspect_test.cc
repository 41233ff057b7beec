#include "runtime/control/inspect.h"

#include <nlohmann/json.hpp>

#include "tests/support/engine_pair.h"
#include "tests/support/raw_client.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

constexpr Duration kPatience = std::chrono::seconds(20);

TEST(InspectEngine, TellsPeersMemoryAndQuarantineToOneWhoKnowsTheToken) {
  EnginePair pair({});
  ASSERT_THAT(pair.connect(), IsOk());
  auto opened = pair.decode_cache->open_prompt(pair.prefill_prompt(1, 512)).value();
  pair.fetch(opened);
  const auto answer = inspect_engine("127.0.0.1", pair.port, "secret", kPatience);
  ASSERT_THAT(answer, IsOk());
  const nlohmann::json report = nlohmann::json::parse(*answer);
  EXPECT_EQ(report.at("name"), "prefill");
  ASSERT_EQ(report.at("peers").size(), 1U);
  EXPECT_EQ(report.at("peers")[0].at("name"), "decode");
  EXPECT_EQ(report.at("staging").at("chunks"), 4);
  EXPECT_EQ(report.at("quarantined_chunks"), 0);
  EXPECT_TRUE(report.at("quarantine").empty());
  EXPECT_EQ(pair.prefill->peers().size(), 1U) << "who asks is no peer";
}

TEST(InspectEngine, AnotherTokenLearnsNothing) {
  EnginePair pair({});
  EXPECT_THAT(inspect_engine("127.0.0.1", pair.port, "guess", kPatience),
              StatusIs(StatusCode::kPermissionDenied, HasSubstr("token")));
}

TEST(InspectEngine, APeersProofIsNoneOfAnInspector) {
  EnginePair pair({});
  RawClient client = RawClient::connect(pair.port);
  const Nonce nonce{};
  ASSERT_TRUE(client.send(GreetingMessage{.nonce = nonce}));
  const auto greeting = client.receive_one<GreetingMessage>();
  ASSERT_TRUE(greeting.has_value());
  const Proof proof = prove("secret", ControlRole::kConnector, nonce, greeting->nonce, {}).value();
  ASSERT_TRUE(client.send(InspectMessage{proof}));
  const auto refusal = client.receive_one<RefusalMessage>();
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->code, StatusCode::kPermissionDenied);
}

TEST(InspectEngine, OneThatDoesNotListenOrAnswerIsNamed) {
  uint16_t port = 0;
  {
    const UniqueFd free = tcp_listen("127.0.0.1", 0).value();
    port = tcp_local_port(free).value();
  }
  EXPECT_THAT(inspect_engine("127.0.0.1", port, "secret", kPatience),
              StatusIs(StatusCode::kUnavailable, HasSubstr("")));
  const UniqueFd silent = tcp_listen("127.0.0.1", 0).value();
  EXPECT_THAT(inspect_engine("127.0.0.1", tcp_local_port(silent).value(), "secret",
                             std::chrono::milliseconds(50)),
              StatusIs(StatusCode::kDeadlineExceeded, HasSubstr("does not answer")));
}

}  // namespace
}  // namespace kvferry
