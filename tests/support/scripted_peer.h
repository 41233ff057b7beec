#pragma once

#include <unistd.h>

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <utility>

#include "kvferry/transport.h"
#include "runtime/control/peer_probe.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"
#include "tests/support/raw_client.h"
#include "tests/support/run_on.h"

namespace kvferry {

/// A peer of this process that shakes hands with a listening engine as it should, step by step, and
/// then does what a test likes: with messages over client(), with fragments over offer().
///
/// Threads: the test's own
class ScriptedPeer {
 public:
  /// What it has said; each step waits for the engine's answer to it, if one is due.
  static constexpr int kGreeting = 1;
  static constexpr int kHello = 2;
  static constexpr int kPath = 3;
  static constexpr int kLink = 4;
  static constexpr int kReady = 5;

  ScriptedPeer(std::shared_ptr<Transport> transport, uint16_t port, std::string name = "scripted")
      : transport_(std::move(transport)), client_(RawClient::connect(port)) {
    hello_.name = std::move(name);
    hello_.transport = std::string(transport_->name());
    hello_.host_id = host_id();
    hello_.pid = ::getpid();
  }
  ~ScriptedPeer() {
    if (link_ == nullptr) return;
    std::promise<void> quiet;
    executor_->post([&] { link_->close([&] { quiet.set_value(); }); });
    quiet.get_future().wait();
    run_on(*executor_, [this] { link_.reset(); });
  }
  ScriptedPeer(const ScriptedPeer&) = delete;
  ScriptedPeer& operator=(const ScriptedPeer&) = delete;

  /// What it will say; the proof is added when it says it.
  HelloMessage& hello() { return hello_; }
  std::string& token() { return token_; }
  /// Names the session with the engine.
  const Nonce& session() const { return nonce_; }
  RawClient& client() { return client_; }

  /// False when the engine ended the connection meanwhile.
  bool shake_hands(int until = kReady) {
    if (until < kGreeting) return true;
    if (!greet()) return false;
    if (until == kGreeting) return true;
    if (!say_hello() || !client_.receive_one<HelloMessage>()) return false;
    if (until == kHello) return true;
    if (!client_.send(PathMessage{}) || !client_.receive_one<PathMessage>()) return false;
    if (until == kPath) return true;
    open_link();
    const std::string address = run_on(*executor_, [this] { return link_->address(); });
    if (!client_.send(LinkMessage{PeerClass::kSameProcess, address})) return false;
    const auto theirs = client_.receive_one<LinkMessage>();
    if (!theirs) return false;
    if (until == kLink) return true;
    EXPECT_THAT(run_on(*executor_, [&] { return link_->connect(theirs->address); }), IsOk());
    return client_.receive_one<ReadyMessage>() && client_.send(ReadyMessage{});
  }

  bool greet() {
    if (!client_.send(GreetingMessage{.nonce = nonce_})) return false;
    const auto theirs = client_.receive_one<GreetingMessage>();
    if (theirs) their_nonce_ = theirs->nonce;
    return theirs.has_value();
  }
  /// After greet().
  bool say_hello() {
    hello_.proof =
        prove(token_, ControlRole::kConnector, nonce_, their_nonce_, hello_statement(hello_))
            .value();
    return client_.send(hello_);
  }

  /// Offers a fragment, and waits for the end of that.
  Status offer(std::span<const std::byte> header, std::span<const std::byte> payload) {
    std::promise<Status> sent;
    executor_->post([&] {
      link_->offer(header, payload, [&](Status status) { sent.set_value(std::move(status)); });
    });
    return sent.get_future().get();
  }
  /// Fragments that the engine offered; all of them are refused.
  int num_offered() const { return num_offered_; }

 private:
  static Nonce fresh_nonce() {
    Nonce nonce{};
    for (std::byte& byte : nonce) byte = static_cast<std::byte>(random_u64());
    return nonce;
  }
  void open_link() {
    executor_ = ThreadExecutor::create("scripted", clock_).value();
    run_on(*executor_, [this] {
      link_ = transport_->open_link(PeerClass::kSameProcess, *executor_).value();
      link_->set_offer_handler([this](std::span<const std::byte>, size_t) -> OfferReply {
        ++num_offered_;
        return RefuseOffer{};
      });
    });
  }

  const SteadyClock clock_;
  const std::shared_ptr<Transport> transport_;
  RawClient client_;
  const Nonce nonce_ = fresh_nonce();
  Nonce their_nonce_{};
  std::string token_ = "secret";
  HelloMessage hello_;
  std::unique_ptr<ThreadExecutor> executor_;
  std::unique_ptr<Link> link_;
  std::atomic<int> num_offered_{0};
};

}  // namespace kvferry
