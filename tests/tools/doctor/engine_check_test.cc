#include "tools/doctor/engine_check.h"

#include <fstream>
#include <thread>

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

/// Listens, and answers whoever asks with `report`.
class Impostor {
 public:
  explicit Impostor(std::string report)
      : socket_(tcp_listen("127.0.0.1", 0).value()), thread_([this, report = std::move(report)] {
          UniqueFd connection;
          EXPECT_TRUE(eventually([&] {
            connection = tcp_accept(socket_).value();
            return connection.is_open();
          }));
          RawClient client(std::move(connection));
          EXPECT_TRUE(client.send(GreetingMessage{}));
          EXPECT_TRUE(client.receive_one<InspectMessage>().has_value());
          EXPECT_TRUE(client.send(ReportMessage{report}));
        }) {}
  ~Impostor() { thread_.join(); }

  std::string address() const {
    return "127.0.0.1:" + std::to_string(tcp_local_port(socket_).value());
  }

 private:
  UniqueFd socket_;
  std::thread thread_;
};

TEST_F(EngineCheckTest, AReportThatLacksSomethingIsRefused) {
  for (const char* report :
       {"{}", "[]", R"({"name":7,"pid":1,"version":"","transport":"","peers":[]})"}) {
    const Impostor impostor(report);
    EXPECT_THAT(ask_engine(impostor.address(), token_file),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("--engine")));
  }
}

// Whoever listens there may have written it, and it is shown on a terminal.
TEST_F(EngineCheckTest, WhatIsShownIsPlainText) {
  nlohmann::json report = *ask_engine(address(), token_file);
  const std::string rude = "\x1b[2Jclean\n";
  report["name"] = report["version"] = report["transport"] = rude;
  report["peers"] = {{{"name", rude}, {"path", rude}}};
  report["quarantine"] = {{{"peer", rude}, {"chunks", 1}}};
  const Impostor impostor(report.dump());
  const auto answer = ask_engine(impostor.address(), token_file);
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(engine_text(*answer).find('\x1b'), std::string::npos);
  EXPECT_THAT(engine_text(*answer), HasSubstr("engine ?[2Jclean? (pid"));
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
