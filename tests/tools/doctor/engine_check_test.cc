#include "tools/doctor/engine_check.h"

#include <fstream>

#include "tests/support/engine_pair.h"
#include "tests/support/eventually.h"
#include "tests/support/scripted_peer.h"
#include "tests/support/wrapped_transport.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

class EngineCheckTest : public ::testing::Test {
 protected:
  EngineCheckTest() { std::ofstream(token_file) << "secret\n"; }
  std::string address() const { return "127.0.0.1:" + std::to_string(pair.port); }

  const std::string token_file =
      ::testing::TempDir() + "kvferry_token_" + std::to_string(::getpid());
  EnginePair pair{{.transport_object =
                       std::make_shared<UnfencedTransport>(make_transport("loopback").value())}};
};

TEST_F(EngineCheckTest, ShowsWhoKeepsWhichMemoryInQuarantine) {
  {
    ScriptedPeer peer(pair.transport(), pair.port, "lost");
    ASSERT_TRUE(peer.shake_hands());
    ASSERT_TRUE(peer.client().send(FetchMessage{1, {pair.prefill_prompt(1, 256)[0]}}));
    const auto offer = peer.client().receive_one<OfferMessage>();
    ASSERT_TRUE(offer.has_value());
    ASSERT_TRUE(peer.client().send(GrantMessage{offer->transfer_id, offer->source, {1, 1}}));
    ASSERT_TRUE(eventually([&] { return peer.num_offered() > 0; }));
    peer.client().close();
    ASSERT_TRUE(eventually([&] { return pair.prefill->stats().quarantined_chunks == 1; }));
  }
  const auto report = ask_engine(address(), token_file);
  ASSERT_THAT(report, IsOk());
  const std::string text = engine_text(*report);
  EXPECT_THAT(text, HasSubstr("engine prefill (pid "));
  EXPECT_THAT(text, HasSubstr("1 chunks, 524288 bytes; at 2 nothing new is offered"));
  EXPECT_THAT(text, HasSubstr("-> 1 that lost peer 'lost' may still read"));
}

TEST_F(EngineCheckTest, SaysWhichFlagIsWrong) {
  EXPECT_THAT(ask_engine("nowhere", token_file),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("'nowhere' is not HOST:PORT")));
  EXPECT_THAT(ask_engine("host:0", token_file),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("--engine")));
  EXPECT_THAT(ask_engine(address(), "/no/such/file"),
              StatusIs(StatusCode::kNotFound, HasSubstr("--token-file: '/no/such/file'")));
  std::ofstream(token_file) << "guess\n";
  EXPECT_THAT(ask_engine(address(), token_file),
              StatusIs(StatusCode::kPermissionDenied, HasSubstr(address())));
}

}  // namespace
}  // namespace kvferry
