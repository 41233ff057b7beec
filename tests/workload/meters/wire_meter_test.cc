#include "workload/meters/wire_meter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <utility>

#include "kvferry/make_transport.h"
#include "tests/support/status_matchers.h"
#include "workload/meters/chunk_walk.h"
#include "workload/oracle/kv_content.h"

namespace kvferry {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr ModelShape kTiny{"tiny", 3, 2, 64, DType::kBF16, PagePreset::kVllmNhd, 16};
constexpr int64_t kChunkBytes = 256 * 3 * 2 * 2 * 64 * 2;
constexpr int64_t kBlocks = 5 * 16 + 3;  // five chunks, and some left over
constexpr uint64_t kSenderSeed = 1;
constexpr uint64_t kReceiverSeed = 2;

// Three pieces a chunk; a round of nine chunks goes round ring and caches.
WireMeterOptions small_options() {
  return {.fragment_bytes = 128 * 1024, .ring_chunks = 2, .timeout = std::chrono::seconds(30)};
}

struct Meters {
  std::unique_ptr<WireMeter> sender;
  std::unique_ptr<WireMeter> receiver;

  std::pair<Result<WireRound>, Result<WireRound>> run(WireRoundKind kind, int64_t bytes) {
    return run(kind, kind, bytes);
  }
  std::pair<Result<WireRound>, Result<WireRound>> run(WireRoundKind sent, WireRoundKind received,
                                                      int64_t bytes) {
    auto other = std::async(std::launch::async, [this, received, bytes] {
      return receiver->run_round(received, bytes);
    });
    Result<WireRound> mine = sender->run_round(sent, bytes);
    return {std::move(mine), other.get()};
  }
};

/// Two sides in this process, over the real transport where the build has it.
class WireMeterTest : public ::testing::Test {
 protected:
  static bool has_ucx() { return KVFERRY_HAVE_UCX != 0; }

  void SetUp() override {
    transport = make_transport(has_ucx() ? "ucx" : "loopback").value();
    if (!transport->is_available(peer_class()).is_ok()) {
      GTEST_SKIP() << transport->is_available(peer_class()).to_string();
    }
  }

  static PeerClass peer_class() {
    return has_ucx() ? PeerClass::kSameHostPull : PeerClass::kSameProcess;
  }

  Result<std::unique_ptr<WireMeter>> make(WireSide side, WireMeterOptions options) {
    options.seed = side == WireSide::kSender ? kSenderSeed : kReceiverSeed;
    return WireMeter::create(side, *transport, peer_class(),
                             side == WireSide::kSender ? source : target, options);
  }

  Meters connected(const WireMeterOptions& sender_options,
                   const WireMeterOptions& receiver_options) {
    Meters meters{make(WireSide::kSender, sender_options).value(),
                  make(WireSide::kReceiver, receiver_options).value()};
    const std::string sender = meters.sender->address();
    EXPECT_THAT(meters.sender->connect(meters.receiver->address()), IsOk());
    EXPECT_THAT(meters.receiver->connect(sender), IsOk());
    return meters;
  }
  Meters connected(const WireMeterOptions& options = small_options()) {
    return connected(options, options);
  }

  std::shared_ptr<Transport> transport;
  const PagedKVCache source =
      PagedKVCache::create(kTiny, kTiny.preset, kBlocks, kSenderSeed).value();
  const PagedKVCache target =
      PagedKVCache::create(kTiny, kTiny.preset, kBlocks, kReceiverSeed).value();
};

TEST_F(WireMeterTest, EveryRoundMovesWholeChunks) {
  Meters meters = connected();
  EXPECT_THAT(meters.sender->path(), HasSubstr(has_ucx() ? "ucx" : "loopback"));
  for (int again = 0; again < 2; ++again) {
    for (const WireRoundKind kind :
         {WireRoundKind::kLink, WireRoundKind::kBareWire, WireRoundKind::kBarePipeline}) {
      if (kind != WireRoundKind::kLink && !has_ucx()) continue;
      for (const int64_t chunks : {1, 9}) {
        const auto [sent, received] = meters.run(kind, chunks * kChunkBytes - 1);
        ASSERT_THAT(sent, IsOk()) << wire_round_kind_name(kind);
        ASSERT_THAT(received, IsOk()) << wire_round_kind_name(kind);
        EXPECT_EQ(sent->bytes, chunks * kChunkBytes);
        EXPECT_EQ(received->bytes, chunks * kChunkBytes);
        EXPECT_GT(received->seconds, 0);
        EXPECT_GT(received->gbps(), 0);
        const bool copies = kind == WireRoundKind::kBarePipeline;
        EXPECT_EQ(sent->gather_seconds > 0, copies);
        EXPECT_EQ(received->scatter_seconds > 0, copies);
        EXPECT_EQ(sent->scatter_seconds, 0);
        EXPECT_EQ(received->gather_seconds, 0);
      }
    }
  }
}

TEST_F(WireMeterTest, ThePipelineMovesThePages) {
  if (!has_ucx()) GTEST_SKIP() << "built without UCX";
  const auto from = ChunkWalk::create(source, 128 * 1024, kSenderSeed).value();
  const auto to = ChunkWalk::create(target, 128 * 1024, kReceiverSeed).value();
  ASSERT_EQ(from.num_chunks(), 5U);
  const auto hash_of = [](size_t chunk) {
    return ChunkHash{.bytes = {static_cast<uint8_t>(chunk + 1)}};
  };
  for (size_t i = 0; i < 5; ++i) {
    ASSERT_THAT(fill_chunk(source.layout(), from.chunk(i).slots(), hash_of(i)), IsOk());
  }
  // A window of one piece, and the ring whole.
  for (const int64_t window_bytes : {1, 0}) {
    for (size_t i = 0; i < 5; ++i) {
      ASSERT_THAT(poison_slots(target.layout(), to.chunk(i).slots()), IsOk());
    }
    WireMeterOptions options = small_options();
    options.window_bytes = window_bytes;
    options.staging_store = window_bytes == 0 ? StoreHint::kCached : StoreHint::kStreaming;
    Meters meters = connected(options);
    // The second round goes on where the first ended.
    for (const int64_t chunks : {2, 3}) {
      const auto [sent, received] = meters.run(WireRoundKind::kBarePipeline, chunks * kChunkBytes);
      ASSERT_THAT(sent, IsOk());
      ASSERT_THAT(received, IsOk());
    }
    for (size_t i = 0; i < 5; ++i) {
      const auto mismatch = verify_chunk(target.layout(), to.chunk(i).slots(), hash_of(i));
      ASSERT_THAT(mismatch, IsOk());
      EXPECT_FALSE(mismatch->has_value()) << (*mismatch)->to_string();
    }
  }
}

TEST_F(WireMeterTest, APeerThatTakesNoPartEndsTheRound) {
  WireMeterOptions options = small_options();
  options.timeout = std::chrono::milliseconds(50);
  for (const WireRoundKind kind : {WireRoundKind::kBarePipeline, WireRoundKind::kLink}) {
    if (kind != WireRoundKind::kLink && !has_ucx()) continue;
    Meters meters = connected(options);
    EXPECT_THAT(meters.receiver->run_round(kind, 1),
                StatusIs(StatusCode::kDeadlineExceeded, HasSubstr(wire_round_kind_name(kind))));
    EXPECT_THAT(meters.receiver->run_round(kind, 1),
                StatusIs(StatusCode::kFailedPrecondition, HasSubstr("earlier")));
    meters.receiver.reset();
    // Nobody pulls.
    const StatusCode code = meters.sender->run_round(kind, 1).error().code();
    EXPECT_THAT(code, AnyOf(StatusCode::kDeadlineExceeded, StatusCode::kUnavailable));
  }
}

TEST_F(WireMeterTest, OtherPiecesThanExpectedAreFound) {
  WireMeterOptions sender_options = small_options();
  sender_options.timeout = std::chrono::milliseconds(500);
  WireMeterOptions receiver_options = small_options();
  receiver_options.fragment_bytes = 256 * 1024;
  for (const WireRoundKind kind : {WireRoundKind::kBareWire, WireRoundKind::kLink}) {
    if (kind != WireRoundKind::kLink && !has_ucx()) continue;
    Meters meters = connected(sender_options, receiver_options);
    const auto [sent, received] = meters.run(kind, 9 * kChunkBytes);
    EXPECT_THAT(received, StatusIs(StatusCode::kDataLoss, HasSubstr("expected")));
    EXPECT_FALSE(sent.has_value());
  }
}

TEST_F(WireMeterTest, RefusesWhatCannotBe) {
  const auto with = [](auto change) {
    WireMeterOptions options = small_options();
    change(options);
    return options;
  };
  EXPECT_THAT(make(WireSide::kSender, with([](auto& o) { o.fragment_bytes = 0; })),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("fragment_bytes 0")));
  EXPECT_THAT(make(WireSide::kSender, with([](auto& o) { o.ring_chunks = 0; })),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(make(WireSide::kSender, with([](auto& o) { o.window_bytes = -1; })),
              StatusIs(StatusCode::kInvalidArgument));
  const PagedKVCache small = PagedKVCache::create(kTiny, kTiny.preset, 15, 1).value();
  EXPECT_THAT(WireMeter::create(WireSide::kSender, *transport, peer_class(), small),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("15 blocks")));

  const auto meter = make(WireSide::kReceiver, small_options()).value();
  EXPECT_THAT(meter->run_round(WireRoundKind::kLink, 1),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("connect")));
  EXPECT_THAT(meter->run_round(WireRoundKind::kLink, 0), StatusIs(StatusCode::kInvalidArgument));
  const std::string address = meter->address();
  for (const size_t bytes : {size_t{0}, size_t{3}, size_t{4}, address.size() / 3}) {
    EXPECT_THAT(meter->connect(address.substr(0, bytes)), StatusIs(StatusCode::kInvalidArgument));
  }
}

TEST_F(WireMeterTest, ConnectsOnce) {
  Meters meters = connected();
  EXPECT_THAT(meters.sender->connect(meters.receiver->address()),
              StatusIs(StatusCode::kFailedPrecondition));
}

TEST_F(WireMeterTest, BareRoundsNeedUcx) {
  if (has_ucx()) GTEST_SKIP() << "built with UCX";
  Meters meters = connected();
  EXPECT_THAT(meters.sender->run_round(WireRoundKind::kBareWire, 1),
              StatusIs(StatusCode::kUnimplemented));
}

}  // namespace
}  // namespace kvferry
