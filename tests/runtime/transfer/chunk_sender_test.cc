#include "runtime/transfer/chunk_sender.h"

#include <gmock/gmock.h>

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
  EXPECT_THAT(logger.lines, SizeIs(LogLimit::kLines));
  pass(LogLimit::kWindow);
  EXPECT_THAT(logger.lines, SizeIs(LogLimit::kLines + 1)) << "how many more there were";
}

}  // namespace
}  // namespace kvferry
