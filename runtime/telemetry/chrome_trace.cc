#include <array>
#include <cinttypes>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "kvferry/transfer_trace.h"

namespace kvferry {
namespace {

// Work of a thread, one at a time, lies on the thread's track; what is waited for, and overlaps,
// has a track of its own for each chunk or fragment.
enum Track : uint8_t { kControlThread = 1, kDataThread = 2, kOwnTrack = 3 };

struct Stage {
  std::string_view name;
  Track track;
};

constexpr std::array<Stage, 11> kStages = {{{"lookup", kControlThread},
                                            {"plan", kControlThread},
                                            {"offer", kOwnTrack},
                                            {"grant", kOwnTrack},
                                            {"gather", kDataThread},
                                            {"send", kOwnTrack},
                                            {"wire", kOwnTrack},
                                            {"scatter", kDataThread},
                                            {"verify", kDataThread},
                                            {"acknowledge", kOwnTrack},
                                            {"chunk", kOwnTrack}}};

std::string json_string(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string hex(uint64_t value) {
  std::array<char, 17> text{};
  std::snprintf(text.data(), text.size(), "%" PRIx64, value);
  return text.data();
}

std::string microseconds(int64_t nanoseconds) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%" PRId64 ".%03d", nanoseconds / 1000,
                static_cast<int>(nanoseconds % 1000));
  return text.data();
}

std::string name_of(std::string_view kind, int pid, int tid, std::string_view name) {
  return R"({"ph":"M","name":)" + json_string(kind) + R"(,"pid":)" + std::to_string(pid) +
         R"(,"tid":)" + std::to_string(tid) + R"(,"args":{"name":)" + json_string(name) + "}}";
}

std::string args_of(const TransferEvent& event) {
  std::string args = R"("args":{"transfer":")" + hex(event.session) + '.' +
                     std::to_string(event.transfer) + R"(","side":)" +
                     (event.side == TransferSide::kSource ? R"("source")" : R"("destination")");
  if (event.fragment >= 0) args += R"(,"fragment":)" + std::to_string(event.fragment);
  if (!event.note.empty()) args += R"(,"note":)" + json_string(event.note);
  return args + '}';
}

std::string json_of(const TransferEvent& event, int pid) {
  const Stage& stage = kStages[static_cast<size_t>(event.stage)];
  const std::string begin = microseconds(event.begin.time_since_epoch().count());
  const std::string common =
      R"("name":)" + json_string(stage.name) + R"(,"pid":)" + std::to_string(pid);
  if (stage.track != kOwnTrack) {
    return R"({"ph":"X",)" + common + R"(,"cat":"work","tid":)" + std::to_string(stage.track) +
           R"(,"ts":)" + begin + R"(,"dur":)" + microseconds((event.end - event.begin).count()) +
           ',' + args_of(event) + '}';
  }
  std::string id = (event.side == TransferSide::kSource ? "source." : "destination.") +
                   hex(event.session) + '.' + std::to_string(event.transfer);
  if (event.fragment >= 0) id += '.' + std::to_string(event.fragment);
  const std::string_view category = event.stage == TransferStage::kChunk ? "chunk"
                                    : event.fragment >= 0                ? "fragment"
                                                                         : "wait";
  const std::string track = common + R"(,"cat":)" + json_string(category) + R"(,"id":)" +
                            json_string(id) + R"(,"tid":)" + std::to_string(kControlThread) +
                            R"(,"ts":)";
  return R"({"ph":"b",)" + track + begin + ',' + args_of(event) + "},\n" + R"({"ph":"e",)" + track +
         microseconds(event.end.time_since_epoch().count()) + '}';
}

}  // namespace

std::string_view transfer_stage_name(TransferStage stage) {
  return kStages[static_cast<size_t>(stage)].name;
}

std::string chrome_trace_events(std::span<const TransferEvent> events, std::string_view process,
                                int pid) {
  std::string out = name_of("process_name", pid, 0, process) + ",\n" +
                    name_of("thread_name", pid, kControlThread, "control") + ",\n" +
                    name_of("thread_name", pid, kDataThread, "data");
  for (const TransferEvent& event : events) out += ",\n" + json_of(event, pid);
  return out;
}

}  // namespace kvferry
