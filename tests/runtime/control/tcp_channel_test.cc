#include "runtime/control/tcp_channel.h"

#include <atomic>
#include <future>
#include <mutex>

#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"
#include "tests/support/eventually.h"
#include "tests/support/raw_client.h"
#include "tests/support/run_on.h"
#include "tests/support/seeded_rng.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;
using Bytes = std::vector<std::byte>;

constexpr size_t kMaxMessage = 100'000;
constexpr size_t kMaxUnsent = 1 << 20;

Bytes bytes_of(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

/// One end of a loopback connection is a channel on an executor, the other is a raw client.
class TcpChannelTest : public ::testing::Test {
 protected:
  explicit TcpChannelTest(size_t max_stranger = kMaxMessage) : max_stranger_bytes(max_stranger) {
    const UniqueFd listener = tcp_listen("127.0.0.1", 0).value();
    client.emplace(RawClient::connect(tcp_local_port(listener).value()));
    UniqueFd accepted;
    EXPECT_TRUE(eventually([&] { return (accepted = tcp_accept(listener).value()).is_open(); }));
    channel_fd = accepted.get();
    channel = make_channel(std::move(accepted));
  }
  ~TcpChannelTest() override {
    run_on(*executor, [this] { channel.reset(); });
  }

  std::unique_ptr<TcpChannel> make_channel(UniqueFd socket) {
    return std::make_unique<TcpChannel>(std::move(socket), *executor,
                                        TcpChannel::Limits{.max_message_bytes = kMaxMessage,
                                                           .max_stranger_bytes = max_stranger_bytes,
                                                           .max_unsent_bytes = kMaxUnsent});
  }

  void start(TcpChannel::MessageHandler on_message) {
    EXPECT_THAT(run_on(*executor,
                       [&] {
                         return channel->start(std::move(on_message), [this](Status status) {
                           ++closes;
                           end.set_value(std::move(status));
                         });
                       }),
                IsOk());
  }
  void start_collecting() {
    start([this](std::span<const std::byte> message) {
      const std::lock_guard lock(mutex);
      received.push_back(bytes_of(message));
    });
  }
  size_t num_received() {
    const std::lock_guard lock(mutex);
    return received.size();
  }

  const size_t max_stranger_bytes;
  const SteadyClock clock;
  std::unique_ptr<ThreadExecutor> executor = ThreadExecutor::create("test", clock).value();
  std::optional<RawClient> client;
  std::unique_ptr<TcpChannel> channel;
  int channel_fd = -1;
  std::mutex mutex;
  std::vector<Bytes> received;
  std::promise<Status> end;
  std::atomic<int> closes{0};
};

TEST_F(TcpChannelTest, MessagesOfEverySizeArriveWholeAndInOrderHoweverTheStreamIsCut) {
  start_collecting();
  SeededRng rng;
  std::vector<Bytes> sent;
  Bytes stream;
  for (const size_t size : {size_t{0}, size_t{1}, size_t{0}, size_t{3}, size_t{4}, size_t{65532},
                            size_t{65536}, kMaxMessage, size_t{0}, kMaxMessage - 1}) {
    sent.push_back(rng.bytes(size));
    const Bytes framed = RawClient::framed(sent.back());
    stream.insert(stream.end(), framed.begin(), framed.end());
  }
  for (size_t at = 0; at < stream.size();) {
    const size_t piece = std::min(stream.size() - at, at < 64 ? 1 : 1 + rng.below(90'000));
    ASSERT_TRUE(client->send_bytes(std::span(stream).subspan(at, piece)));
    at += piece;
  }
  ASSERT_TRUE(eventually([&] { return num_received() == sent.size(); }));
  EXPECT_EQ(received, sent);
}

TEST_F(TcpChannelTest, ByteByByteAndAllAtOnceAreTheSame) {
  start_collecting();
  const Bytes message(17, std::byte{7});
  Bytes stream;
  for (int i = 0; i < 40; ++i) {
    const Bytes framed = RawClient::framed(message);
    stream.insert(stream.end(), framed.begin(), framed.end());
  }
  for (const std::byte& byte : stream) ASSERT_TRUE(client->send_bytes({&byte, 1}));
  ASSERT_TRUE(client->send_bytes(stream));
  ASSERT_TRUE(eventually([&] { return num_received() == 80; }));
  for (const Bytes& each : received) EXPECT_EQ(each, message);
}

TEST_F(TcpChannelTest, AThousandMessagesGoBothWaysInOrder) {
  start([this](std::span<const std::byte> message) { channel->send(message); });
  for (uint32_t i = 0; i < 1000; ++i) {
    const Bytes message(i % 300, static_cast<std::byte>(i));
    ASSERT_TRUE(client->send_bytes(RawClient::framed(message)));
  }
  for (uint32_t i = 0; i < 1000; ++i) {
    ASSERT_EQ(client->receive_bytes(), Bytes(i % 300, static_cast<std::byte>(i))) << i;
  }
}

TEST_F(TcpChannelTest, AnOverlongAnnouncementEndsTheChannelBeforeItsBytesCome) {
  start_collecting();
  const Bytes framed = RawClient::framed(Bytes(kMaxMessage + 1));
  ASSERT_TRUE(client->send_bytes(std::span(framed).first(4)));
  EXPECT_THAT(end.get_future().get(),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr(std::to_string(kMaxMessage + 1))));
  EXPECT_TRUE(client->is_ended_by_peer());
  EXPECT_EQ(num_received(), 0U);
}

TEST_F(TcpChannelTest, AnOrderlyEndComesAfterTheLastWords) {
  start_collecting();
  ASSERT_TRUE(client->send_bytes(RawClient::framed(Bytes(50'000))));
  client->close();
  EXPECT_THAT(end.get_future().get(), IsOk());
  EXPECT_EQ(num_received(), 1U);
}

TEST_F(TcpChannelTest, AnEndInMidMessageIsAnError) {
  start_collecting();
  const Bytes framed = RawClient::framed(Bytes(100));
  ASSERT_TRUE(client->send_bytes(std::span(framed).first(60)));
  client->close();
  EXPECT_THAT(end.get_future().get(), StatusIs(StatusCode::kUnavailable, HasSubstr("mid-message")));
  EXPECT_EQ(closes, 1);
}

TEST_F(TcpChannelTest, APeerThatNeverReadsIsCutOffAtTheBoundOnce) {
  start_collecting();
  const Bytes message(50'000);
  size_t sends = 0;
  run_on(*executor, [&] {
    while (closes == 0 && sends < 10'000) {
      channel->send(message);
      ++sends;
    }
    for (int i = 0; i < 100; ++i) channel->send(message);  // dropped
  });
  EXPECT_LT(sends, 10'000U);
  EXPECT_THAT(end.get_future().get(),
              StatusIs(StatusCode::kResourceExhausted, HasSubstr("does not read")));
  EXPECT_EQ(closes, 1);
}

TEST_F(TcpChannelTest, ASlowReaderGetsEverythingBelowTheBound) {
  start_collecting();
  const Bytes message(kMaxMessage, std::byte{3});
  run_on(*executor, [&] {
    for (int i = 0; i < 9; ++i) channel->send(message);
  });
  for (int i = 0; i < 9; ++i) ASSERT_EQ(client->receive_bytes(), message);
  EXPECT_EQ(closes, 0);
}

TEST_F(TcpChannelTest, CloseFromInsideTheMessageHandlerDeliversNothingMore) {
  std::atomic<int> messages{0};
  start([&](std::span<const std::byte>) {
    ++messages;
    channel->close();
    channel->send(Bytes(3));
  });
  Bytes two = RawClient::framed(Bytes(10));
  const Bytes second = two;
  two.insert(two.end(), second.begin(), second.end());
  ASSERT_TRUE(client->send_bytes(two));
  EXPECT_TRUE(client->is_ended_by_peer());
  drain(*executor);
  EXPECT_EQ(messages, 1);
  EXPECT_EQ(closes, 0) << "close() is silent";
}

TEST_F(TcpChannelTest, DestroyFromInsideTheMessageHandlerIsSafe) {
  const auto kept = std::make_shared<std::string>("captured by the handler");
  std::promise<std::string> after;
  start([this, kept, &after](std::span<const std::byte>) {
    channel.reset();
    after.set_value(*kept);
  });
  ASSERT_TRUE(client->send_bytes(RawClient::framed(Bytes(10))));
  EXPECT_EQ(after.get_future().get(), *kept);
  EXPECT_TRUE(client->is_ended_by_peer());
  drain(*executor);
  EXPECT_EQ(kept.use_count(), 1);
}

TEST_F(TcpChannelTest, DestroyFromInsideTheCloseHandlerIsSafeHoweverTheEndCame) {
  const auto kept = std::make_shared<std::string>("captured by the handler");
  for (const size_t first_bytes : {size_t{0}, size_t{2}, size_t{4}}) {  // last: an overlong length
    const UniqueFd listener = tcp_listen("127.0.0.1", 0).value();
    RawClient other = RawClient::connect(tcp_local_port(listener).value());
    UniqueFd accepted;
    ASSERT_TRUE(eventually([&] { return (accepted = tcp_accept(listener).value()).is_open(); }));
    std::promise<std::string> after;
    run_on(*executor, [&] {
      channel = make_channel(std::move(accepted));
      EXPECT_THAT(channel->start([](std::span<const std::byte>) {},
                                 [this, kept, &after](const Status&) {
                                   channel.reset();
                                   after.set_value(*kept);
                                 }),
                  IsOk());
    });
    ASSERT_TRUE(other.send_bytes(Bytes(first_bytes, std::byte{0xff})));
    if (first_bytes < 4) other.close();
    EXPECT_EQ(after.get_future().get(), *kept);
    drain(*executor);
    EXPECT_EQ(kept.use_count(), 1);
  }
}

TEST_F(TcpChannelTest, DestroyFromInsideACloseHandlerThatASendCausedIsSafe) {
  run_on(*executor, [&] {
    EXPECT_THAT(channel->start([](std::span<const std::byte>) {},
                               [this](const Status&) {
                                 ++closes;
                                 channel.reset();
                               }),
                IsOk());
    while (channel) channel->send(Bytes(50'000));
  });
  EXPECT_EQ(closes, 1);
}

TEST_F(TcpChannelTest, AFloodOfMessagesLeavesTheExecutorToOthers) {
  // Each message that is delivered makes another one readable before the channel looks again.
  bool stop = false;
  uint64_t messages = 0;
  const Bytes framed = RawClient::framed(Bytes(1));
  start([&](std::span<const std::byte>) {
    if (++messages == 1) executor->post([&] { stop = true; });
    if (stop || messages > 100'000) return;
    EXPECT_TRUE(client->send_bytes(framed));
    pollfd arrived{channel_fd, POLLIN, 0};
    EXPECT_EQ(::poll(&arrived, 1, 20'000), 1);
  });
  ASSERT_TRUE(client->send_bytes(framed));
  EXPECT_TRUE(eventually([&] { return run_on(*executor, [&] { return stop; }); }));
  EXPECT_LT(run_on(*executor, [&] { return messages; }), 100'000U);
}

/// The peer is a stranger until the handler trusts it.
class TcpChannelOfAStrangerTest : public TcpChannelTest {
 protected:
  static constexpr size_t kMaxStranger = 100;
  TcpChannelOfAStrangerTest() : TcpChannelTest(kMaxStranger) {}
};

TEST_F(TcpChannelOfAStrangerTest, ALargeMessageEndsTheChannelBeforeItsBytesCome) {
  start_collecting();
  const Bytes framed = RawClient::framed(Bytes(kMaxStranger + 1));
  ASSERT_TRUE(client->send_bytes(std::span(framed).first(4)));
  ASSERT_TRUE(client->is_ended_by_peer());
  EXPECT_THAT(end.get_future().get(),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("the limit is 100 until")));
  EXPECT_EQ(num_received(), 0U);
}

TEST_F(TcpChannelOfAStrangerTest, TrustMakesRoomForLargeMessagesAtOnce) {
  start([this](std::span<const std::byte> message) {
    channel->trust();
    const std::lock_guard lock(mutex);
    received.push_back(bytes_of(message));
  });
  Bytes stream = RawClient::framed(Bytes(kMaxStranger));
  const Bytes large = RawClient::framed(Bytes(kMaxMessage));
  stream.insert(stream.end(), large.begin(), large.end());
  ASSERT_TRUE(client->send_bytes(stream));
  EXPECT_TRUE(eventually([&] { return num_received() == 2; }));
  EXPECT_EQ(closes, 0);
}

}  // namespace
}  // namespace kvferry
