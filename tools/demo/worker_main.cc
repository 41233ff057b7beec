#include "tools/demo/worker_main.h"

#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
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

/// Ends this process at once when the supervisor is gone, whatever the worker is doing.
void watch_supervisor(int supervisor_pid, const std::string& role) {
  std::thread([supervisor_pid, role] {
    const UniqueFd pidfd = open_pidfd(supervisor_pid);
    pollfd poll_fd{pidfd.get(), POLLIN, 0};
    while (pidfd.is_open() && ::poll(&poll_fd, 1, -1) < 0) {
    }
    // One line is enough for two workers.
    if (role == "decode") {
      std::fprintf(stderr, "kvferry demo: the supervisor (pid %d) is gone; workers stop\n",
                   supervisor_pid);
    }
    ::_exit(1);
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
  };
}

Commands decode_commands(DecodeWorker& worker) {
  return {
      {"connect",
       [&](const nlohmann::json& in) { return worker.connect(in.at("port").get<int64_t>()); }},
      {"fetch", [&](const nlohmann::json& in) { return worker.fetch(in.get<PromptCommand>()); }},
      {"stats", [&](const nlohmann::json&) { return worker.stats(); }},
  };
}

Answer answer(const Commands& commands, const nlohmann::json& message) {
  const auto command = commands.find(message.at("do").get<std::string>());
  if (command == commands.end()) {
    return make_error(StatusCode::kInternal, "the supervisor asked for what a worker cannot do");
  }
  return command->second(message);
}

/// Answers commands until the supervisor closes the channel.
int serve(WorkerChannel& channel, const Commands& commands) {
  for (;;) {
    auto message = channel.receive();
    if (!message) return 0;
    Answer result = answer(commands, *message);
    const nlohmann::json reply = result ? nlohmann::json{{"ok", std::move(result).value()}}
                                        : nlohmann::json{{"error", result.error().to_string()}};
    if (!channel.send(reply).is_ok()) return 0;
  }
}

template <typename Worker>
Result<int> run_role(WorkerChannel& channel, const WorkerSetup& setup,
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
  const Result<int> code = setup.role == "prefill"
                               ? run_role<PrefillWorker>(channel, setup, prefill_commands)
                               : run_role<DecodeWorker>(channel, setup, decode_commands);
  if (code) return *code;
  channel.send({{"error", code.error().to_string()}}).ignore("this process ends anyway");
  return 1;
}

}  // namespace kvferry
