#include "tools/demo/worker_main.h"

#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "runtime/control/peer_probe.h"
#include "tools/demo/decode_worker.h"
#include "tools/demo/prefill_worker.h"
#include "tools/demo/stage_meters.h"
#include "tools/demo/worker_channel.h"

namespace kvferry {
namespace {

using Answer = Result<nlohmann::json>;
using Command = std::function<Answer(const nlohmann::json&)>;
using Commands = std::map<std::string, Command>;

/// Who notices first, the channel's reader or the watch, says it; the process ends at once.
[[noreturn]] void end_without_supervisor(int supervisor_pid, const std::string& role) {
  static std::once_flag said;
  std::call_once(said, [&] {
    // One line is enough for two workers.
    if (role == "decode") {
      std::fprintf(stderr, "kvferry demo: the supervisor (pid %d) is gone; workers stop\n",
                   supervisor_pid);
    }
    ::_exit(1);
  });
  std::abort();  // not reached
}

/// Ends this process when the supervisor is gone, whatever the worker is doing.
void watch_supervisor(int supervisor_pid, const std::string& role) {
  std::thread([supervisor_pid, role] {
    const UniqueFd pidfd = open_pidfd(supervisor_pid);
    pollfd poll_fd{pidfd.get(), POLLIN, 0};
    // Where there is no pidfd this looks once a second whose child it is.
    while (::getppid() == supervisor_pid && ::poll(&poll_fd, 1, 1000) <= 0) {
    }
    end_without_supervisor(supervisor_pid, role);
  }).detach();
}

/// What both roles do the same.
Commands meter_commands(StageMeters& meters) {
  return {
      {"measure_copies", [&](const nlohmann::json&) { return meters.measure_copies(); }},
      {"open_wire",
       [&](const nlohmann::json& in) {
         return meters.open_wire(static_cast<PeerClass>(in.at("peer_class").get<int>()));
       }},
      {"connect_wire",
       [&](const nlohmann::json& in) {
         return meters.connect_wire(in.at("address").get<std::string>());
       }},
      {"round",
       [&](const nlohmann::json& in) {
         return meters.run_round(in.at("kind").get<std::string>(), in.at("bytes").get<int64_t>());
       }},
  };
}

Commands prefill_commands(PrefillWorker& worker) {
  return {
      {"listen", [&](const nlohmann::json&) { return worker.listen(); }},
      {"compute",
       [&](const nlohmann::json& in) { return worker.compute(in.get<PromptCommand>()); }},
      {"stats", [&](const nlohmann::json&) { return worker.stats(); }},
      {"trace", [&](const nlohmann::json&) { return worker.trace(); }},
  };
}

Commands decode_commands(DecodeWorker& worker) {
  return {
      {"connect",
       [&](const nlohmann::json& in) { return worker.connect(in.at("port").get<int64_t>()); }},
      {"fetch", [&](const nlohmann::json& in) { return worker.fetch(in.get<PromptCommand>()); }},
      {"stats", [&](const nlohmann::json&) { return worker.stats(); }},
      {"trace", [&](const nlohmann::json&) { return worker.trace(); }},
  };
}

Answer answer(const Commands& commands, const nlohmann::json& message) {
  const auto command = commands.find(message.at("do").get<std::string>());
  if (command == commands.end()) {
    return make_error(StatusCode::kInternal, "the supervisor asked for what a worker cannot do");
  }
  return command->second(message);
}

/// Answers commands until the supervisor says that it is over. False: it went without that.
bool serve(WorkerChannel& channel, const Commands& commands) {
  for (;;) {
    auto message = channel.receive();
    if (!message) return false;
    if (message->at("do") == "end") return true;
    Answer result = answer(commands, *message);
    const nlohmann::json reply = result ? nlohmann::json{{"ok", std::move(result).value()}}
                                        : nlohmann::json{{"error", result.error().to_string()}};
    channel.send(reply).ignore("a supervisor that is gone, or has ended us, shows when we read on");
  }
}

template <typename Worker>
Result<bool> run_role(WorkerChannel& channel, const WorkerSetup& setup,
                      Commands (*make_commands)(Worker&)) {
  KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<Worker> worker, Worker::create(setup));
  KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<StageMeters> meters, StageMeters::create(setup));
  Commands commands = make_commands(*worker);
  commands.merge(meter_commands(*meters));
  KVFERRY_RETURN_IF_ERROR(channel.send({{"ok", {{"pid", ::getpid()}}}}));
  return serve(channel, commands);
}

}  // namespace

int run_worker(int channel_fd, int supervisor_pid) {
  WorkerChannel channel{UniqueFd(channel_fd)};
  auto first = channel.receive();
  if (!first) return 1;
  const auto setup = first->get<WorkerSetup>();
  watch_supervisor(supervisor_pid, setup.role);
  const Result<bool> in_order = setup.role == "prefill"
                                    ? run_role<PrefillWorker>(channel, setup, prefill_commands)
                                    : run_role<DecodeWorker>(channel, setup, decode_commands);
  if (in_order && !*in_order) end_without_supervisor(supervisor_pid, setup.role);
  if (in_order) return 0;
  channel.send({{"error", in_order.error().to_string()}}).ignore("this process ends anyway");
  return 1;
}

}  // namespace kvferry
