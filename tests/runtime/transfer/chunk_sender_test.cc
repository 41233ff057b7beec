#include "runtime/transfer/chunk_sender.h"

#include <gmock/gmock.h>

#include "runtime/telemetry/log_limit.h"
#include "tests/runtime/transfer/one_direction.h"

namespace kvferry {
namespace {

using ::testing::SizeIs;

class ChunkSenderTest : public OneDirectionTest {
 protected:
  ChunkSender sender{
      context,
      "peer",
      {.send_message = [this](const ControlMessage& message) { said.push_back(message); },
       .send_chunk = [](const std::shared_ptr<OutgoingChunk>&) {},
       .give_up_link = [](const Status&) {}}};
};

TEST_F(ChunkSenderTest, WhatIsOutOfOrderDoesNotFillTheLog) {
  for (uint64_t i = 0; i < 10'000; ++i) {
    sender.on_grant({i, {i, i}, {i, i}});
    sender.on_ack({i, {i, i}, ChunkOutcome::kFailed, "no"});
  }
  EXPECT_EQ(logger.lines.size(), size_t{LogLimit::kLines});
  pass(2 * LogLimit::kWindow);
  EXPECT_EQ(logger.lines.size(), LogLimit::kLines + 1U) << "how many more there were";
}

// Each would be looked for among all that the peer has asked for: a minute of the control thread.
TEST_F(ChunkSenderTest, AFloodOfWithdrawalsCostsLittle) {
  constexpr uint64_t kFetches = 4096;
  for (uint64_t i = 1; i <= kFetches; ++i) {
    sender.on_fetch({i, std::vector(kMaxFetchItems / kFetches, some_chunk()), {}});
  }
  EXPECT_THAT(said, SizeIs(0));
  for (uint64_t i = 0; i < 6'000'000; ++i) sender.on_withdraw({kFetches + 1 + i});
  EXPECT_TRUE(sender.wants_slot(FetchPriority::kForeground));
  for (uint64_t i = 1; i <= kFetches; ++i) sender.on_withdraw({i});
  EXPECT_FALSE(sender.wants_slot(FetchPriority::kForeground));
}

TEST_F(ChunkSenderTest, WhatIsWithdrawnMakesRoomForMore) {
  const std::vector<ChunkRef> all(kMaxFetchItems, some_chunk());
  sender.on_fetch({1, all, {}});
  ASSERT_TRUE(sender.use_slot(FetchPriority::kForeground));
  EXPECT_THAT(said, SizeIs(1)) << "nobody serves here";
  sender.on_withdraw({1});
  sender.on_fetch({2, all, FetchPriority::kBackground});
  EXPECT_THAT(said, SizeIs(1));
  EXPECT_FALSE(sender.wants_slot(FetchPriority::kForeground));
  sender.on_fetch({3, {some_chunk()}, {}});
  ASSERT_THAT(said, SizeIs(2));
  EXPECT_EQ(std::get<UnservedMessage>(said.back()).code, StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace kvferry
