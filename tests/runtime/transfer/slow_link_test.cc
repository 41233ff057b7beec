// Links that are slow, or take nothing any more.

#include <gmock/gmock.h>

#include <chrono>
#include <thread>

#include "tests/support/engine_pair.h"
#include "tests/support/eventually.h"
#include "tests/support/wrapped_transport.h"

namespace kvferry {
namespace {

using ::testing::Each;

TEST(SlowLink, AChunkThatMovesIsNotStuckHoweverLongItTakes) {
  static constexpr Duration kLimit = std::chrono::seconds(2);
  EnginePair pair({.fragment_bytes = 1,
                   .hook = [](const StagedFragment&) { std::this_thread::sleep_for(kLimit / 3); },
                   .silence_limit = std::chrono::seconds(1),  // looks every quarter of it
                   .transfer_timeout = kLimit});
  ASSERT_THAT(pair.connect(), IsOk());
  auto opened = pair.decode_cache->open_prompt(pair.prefill_prompt(1, 256)).value();
  EXPECT_THAT(pair.fetch(opened), Each(IsOk())) << "four fragments take longer than the limit";
  EXPECT_EQ(pair.decode->stats().chunks_refetched, 0U);
}

TEST(SlowLink, WhatWaitsBehindAChunkThatMovesIsNotStuckEither) {
  static constexpr Duration kLimit = std::chrono::seconds(1);
  EnginePair pair({.pool_chunks = 1,
                   .fragment_bytes = 1,
                   .hook = [](const StagedFragment&) { std::this_thread::sleep_for(kLimit / 3); },
                   .silence_limit = std::chrono::milliseconds(500),
                   .transfer_timeout = kLimit});
  ASSERT_THAT(pair.connect(), IsOk());
  auto opened = pair.decode_cache->open_prompt(pair.prefill_prompt(1, 256 * 2)).value();
  EXPECT_THAT(pair.fetch(opened), Each(IsOk())) << "the peer is busy with the first";
}

/// Takes nothing.
class BrokenLink final : public WrappedLink {
 public:
  using WrappedLink::WrappedLink;
  void offer(std::span<const std::byte> header, std::span<const std::byte> /*source*/,
             LinkCompletion on_sent) override {
    // The peer refuses it for its size; the end comes as that of any offer.
    inner().offer(header, {}, [on_sent = std::move(on_sent)](const Status&) {
      on_sent({StatusCode::kUnavailable, "this link is broken"});
    });
  }
};

TEST(BrokenLink, ALinkThatTakesNothingEndsItsSessionSoThatPeersConnectAgain) {
  EnginePair pair({.transport_object = std::make_shared<WrappedTransport<BrokenLink>>(
                       make_transport("loopback").value())});
  ASSERT_THAT(pair.connect(), IsOk());
  auto opened = pair.decode_cache->open_prompt(pair.prefill_prompt(1, 256 * 12)).value();
  EXPECT_THAT(pair.fetch(opened), Each(StatusIs(StatusCode::kUnavailable)));
  EXPECT_TRUE(eventually([&] { return pair.decode->peers().empty(); }));
  EXPECT_TRUE(eventually([&] {
    const TransferStats stats = pair.prefill->stats();
    return stats.leases_active == 0 && stats.quarantined_bytes == 0;
  }));
  EXPECT_THAT(pair.connect(), IsOk());
}

}  // namespace
}  // namespace kvferry
