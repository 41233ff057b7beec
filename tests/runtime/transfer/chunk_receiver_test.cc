#include "runtime/transfer/chunk_receiver.h"

#include <gmock/gmock.h>

#include "tests/runtime/transfer/one_direction.h"

namespace kvferry {
namespace {

class ChunkReceiverTest : public OneDirectionTest {
 protected:
  void fetch(Duration timeout) {
    receiver.fetch(++fetches, {{some_chunk(), {}}},
                   {.timeout = timeout, .on_chunk = [this](size_t, const Status&) { ++ends; }});
  }

  ChunkReceiver receiver{
      context,
      "peer",
      {.send_message = [this](const ControlMessage& message) { said.push_back(message); },
       .expect_chunk = [](const std::shared_ptr<IncomingChunk>&) {},
       .abandon_chunk = [](uint64_t, const Status&) {}}};
  FetchId fetches = 0;
  int ends = 0;
};

TEST_F(ChunkReceiverTest, DeadlinesThatPassLeaveNoTimersBehind) {
  fetch(std::chrono::hours(1));
  for (int i = 0; i < 100; ++i) {
    fetch(std::chrono::seconds(1));
    pass(std::chrono::seconds(2));
    ASSERT_EQ(ends, i + 1);
    ASSERT_LE(executor.timers, 1) << "one for the fetch that has an hour";
  }
  pass(std::chrono::hours(1));
  EXPECT_EQ(ends, 101);
  EXPECT_EQ(executor.timers, 0);
}

TEST_F(ChunkReceiverTest, ALaterDeadlineIsNotMissed) {
  fetch(std::chrono::seconds(30));
  fetch(std::chrono::seconds(10));
  fetch(std::chrono::seconds(20));
  for (int i = 1; i <= 3; ++i) {
    pass(std::chrono::seconds(10) + std::chrono::milliseconds(1));
    EXPECT_EQ(ends, i);
  }
}

TEST_F(ChunkReceiverTest, RecordsOfOffersThatWaitHaveABound) {
  constexpr uint32_t kOffers = 80;
  std::vector<StatusCode> refused;
  ObjectFetchOptions options;
  options.allocator = pool.get();
  options.on_object = [&](size_t, const Result<MemoryObjPtr>& obj) {
    refused.push_back(obj ? StatusCode::kOk : obj.error().code());
  };
  receiver.fetch_objects(1, std::vector(kOffers, some_chunk().key), std::move(options));
  const uint64_t request = std::get<FetchMessage>(said.at(0)).fetch_id;
  for (uint32_t i = 0; i < kOffers; ++i) {
    OfferMessage offer;
    offer.transfer_id = i + 1;
    offer.fetch_id = request;
    offer.item = i;
    offer.record.resize(size_t{1} << 20);
    receiver.on_offer(offer);
  }
  EXPECT_EQ(refused, std::vector(16, StatusCode::kResourceExhausted)) << "64 MiB of them may wait";
  receiver.end(Status(StatusCode::kCancelled, "the test ends"));
  EXPECT_EQ(refused.size(), kOffers);
}

}  // namespace
}  // namespace kvferry
