#include "runtime/telemetry/flight_recorder.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <set>
#include <thread>

namespace kvferry {
namespace {

using ::testing::HasSubstr;

TimePoint at(int microseconds) { return TimePoint(std::chrono::microseconds(microseconds)); }

TransferEvent event_of(uint64_t transfer) {
  TransferEvent event;
  event.transfer = transfer;
  return event;
}

TEST(FlightRecorder, KeepsTheLatestInOrder) {
  FlightRecorder recorder(4);
  for (uint64_t i = 0; i < 11; ++i) recorder.record(event_of(i));
  const auto events = recorder.events();
  ASSERT_EQ(events.size(), 4U);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(events[i].transfer, 7 + i);
}

TEST(FlightRecorder, WithoutRoomKeepsNothing) {
  FlightRecorder recorder(0);
  recorder.record(event_of(1));
  EXPECT_TRUE(recorder.events().empty());
  TransferRecorder record(recorder, 1, TransferSide::kSource);
  record(TransferStage::kOffer, 1, at(0), at(1));
  EXPECT_EQ(record.timeline(1), "");
  TransferRecorder()(TransferStage::kOffer, 1, at(0), at(1));
}

TEST(FlightRecorder, TakesEventsOfAllThreads) {
  FlightRecorder recorder(1000);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&recorder, t] {
      for (int i = 0; i < 100; ++i) recorder.record(event_of(t));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(recorder.events().size(), 400U);
}

TEST(TransferRecorder, TellsTheTimelineOfOneTransferOnOneSide) {
  FlightRecorder recorder(100);
  const TransferRecorder out(recorder, 5, TransferSide::kSource);
  const TransferRecorder in(recorder, 5, TransferSide::kDestination);
  const TransferRecorder other(recorder, 6, TransferSide::kSource);
  out(TransferStage::kGather, 1, at(30), at(70), 2);
  out(TransferStage::kLookup, 1, at(10), at(12));
  in(TransferStage::kWire, 1, at(20), at(25), 0);
  out(TransferStage::kLookup, 2, at(11), at(12));
  other(TransferStage::kLookup, 1, at(13), at(14));
  EXPECT_EQ(out.timeline(1), "lookup +0+2us gather[2] +20+40us");
}

TEST(ChromeTrace, IsJsonWhateverANoteHolds) {
  std::vector<TransferEvent> events;
  for (uint8_t stage = 0; stage <= static_cast<uint8_t>(TransferStage::kChunk); ++stage) {
    TransferEvent event;
    event.session = 0xabcd;
    event.transfer = 7;
    event.stage = static_cast<TransferStage>(stage);
    event.begin = TimePoint(std::chrono::nanoseconds(1'234'567));
    event.end = TimePoint(std::chrono::nanoseconds(1'234'999));
    event.note = "\"\\\n\xff";
    events.push_back(event);
  }
  const std::string text = chrome_trace_events(events, "a \"process\"", 42);
  const nlohmann::json trace = nlohmann::json::parse("[" + text + "]", nullptr, false);
  ASSERT_FALSE(trace.is_discarded()) << text;
  std::set<std::string> names;
  int opened = 0;
  for (const nlohmann::json& each : trace) {
    EXPECT_EQ(each.at("pid"), 42);
    const std::string phase = each.at("ph").get<std::string>();
    if (phase == "M") continue;
    names.insert(each.at("name").get<std::string>());
    opened += phase == "b" ? 1 : phase == "e" ? -1 : 0;
    if (phase == "X") {
      EXPECT_DOUBLE_EQ(each.at("dur").get<double>(), 0.432);
    }
    if (phase != "e") {
      EXPECT_DOUBLE_EQ(each.at("ts").get<double>(), 1234.567);
      EXPECT_EQ(each.at("args").at("transfer"), "abcd.7");
    }
  }
  EXPECT_EQ(opened, 0) << "what is opened is closed";
  EXPECT_EQ(names.size(), 11U);
  EXPECT_THAT(text, HasSubstr(R"("a \"process\"")"));
}

}  // namespace
}  // namespace kvferry
