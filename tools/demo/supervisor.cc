#include "tools/demo/supervisor.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <set>
#include <utility>

#include "kvferry/chunk_layout.h"
#include "runtime/control/peer_probe.h"
#include "runtime/steady_clock.h"

namespace kvferry {
namespace {

constexpr size_t kMaxErrors = 20;

// How long leases may be held after the last chunk, and how often we look.
constexpr Duration kQuietWithin = std::chrono::seconds(5);
constexpr int kAskAgainMilliseconds = 10;

constexpr int kLookEveryMilliseconds =
    std::chrono::duration_cast<std::chrono::milliseconds>(SilenceWatch::kLookEvery).count();

int64_t whole_seconds(Duration time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time).count();
}

std::string who(const WorkerProcess& worker) {
  return worker.role() + " (pid " + std::to_string(worker.pid()) + ")";
}

Status worker_error(const WorkerProcess& worker, const nlohmann::json& reply) {
  return Status(StatusCode::kInternal,
                worker.role() + " worker: " + reply.value("error", "no reason given"));
}

}  // namespace

Supervisor::Supervisor(const DemoPlan& plan, Interrupts& interrupts)
    : plan_(plan), interrupts_(interrupts), progress_("kvferry demo", plan.requests.size()) {}

Supervisor::~Supervisor() {
  // Whoever presses Ctrl-C does not want to wait for what the workers are at.
  if (interrupts_.signal() != 0) kill_workers();
}

void Supervisor::kill_workers() {
  for (WorkerProcess* worker : {prefill_.get(), decode_.get()}) {
    if (worker != nullptr) worker->kill();
  }
}

Result<DemoReport> Supervisor::run() {
  DemoReport report;
  KVFERRY_RETURN_IF_ERROR(start_workers());
  KVFERRY_ASSIGN_OR_RETURN(const nlohmann::json listening, call(*prefill_, {{"do", "listen"}}));
  KVFERRY_ASSIGN_OR_RETURN(const nlohmann::json connected,
                           call(*decode_, {{"do", "connect"}, {"port", listening.at("port")}}));
  report.path = connected.at("path").get<std::string>();
  std::optional<StageMeasurer> measurer;
  if (!plan_.skip_ceilings) {
    measurer = make_measurer();
    KVFERRY_RETURN_IF_ERROR(
        measurer->measure_stages(connected.at("peer_class").get<int>(), report));
  }
  KVFERRY_RETURN_IF_ERROR(replay(measurer, report));
  if (measurer) KVFERRY_RETURN_IF_ERROR(measurer->after_replay(report));
  KVFERRY_RETURN_IF_ERROR(collect(report));
  if (plan_.keeps_trace) {
    KVFERRY_ASSIGN_OR_RETURN(report.trace, collect_trace());
  }
  return report;
}

StageMeasurer Supervisor::make_measurer() {
  using Json = nlohmann::json;
  return StageMeasurer({
      .prefill = [this](const Json& message) { return call(*prefill_, message); },
      .decode = [this](const Json& message) { return call(*decode_, message); },
      .both = [this](const Json& to_prefill,
                     const Json& to_decode) -> Result<std::pair<Json, Json>> {
        KVFERRY_RETURN_IF_ERROR(send(*prefill_, to_prefill));
        KVFERRY_RETURN_IF_ERROR(send(*decode_, to_decode));
        KVFERRY_ASSIGN_OR_RETURN(Json prefill, wait_for(*prefill_));
        KVFERRY_ASSIGN_OR_RETURN(Json decode, wait_for(*decode_));
        return std::make_pair(std::move(prefill), std::move(decode));
      },
  });
}

Status Supervisor::start_workers() {
  WorkerSetup setup;
  setup.model = plan_.model.name;
  setup.best_path = static_cast<int>(plan_.best_path);
  setup.scratch_blocks = plan_.scratch_blocks;
  setup.token = std::to_string(random_u64());
  setup.num_blocks = plan_.num_blocks;
  setup.pool_chunks = plan_.pool_chunks;
  setup.chunk_bytes = plan_.chunk_bytes;
  setup.corrupt_one_in = plan_.corrupt_one_in;
  setup.seed = plan_.seed;
  setup.host = plan_.host;
  setup.keeps_trace = plan_.keeps_trace;
  setup.verbose = plan_.verbose;
  KVFERRY_ASSIGN_OR_RETURN(prefill_, WorkerProcess::start("prefill", plan_.prefill_netns));
  KVFERRY_ASSIGN_OR_RETURN(decode_, WorkerProcess::start("decode", plan_.decode_netns));
  std::printf("kvferry demo: supervisor pid %d, prefill pid %d, decode pid %d\n", ::getpid(),
              prefill_->pid(), decode_->pid());
  std::fflush(stdout);
  // Both allocate at the same time: that is most of their start.
  for (WorkerProcess* worker : {prefill_.get(), decode_.get()}) {
    setup.role = worker->role();
    setup.device =
        device_name(worker == prefill_.get() ? plan_.prefill_device : plan_.decode_device);
    KVFERRY_RETURN_IF_ERROR(send(*worker, setup));
  }
  for (WorkerProcess* worker : {prefill_.get(), decode_.get()}) {
    KVFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const nlohmann::json ready, wait_for(*worker));
  }
  return {};
}

Status Supervisor::replay(std::optional<StageMeasurer>& measurer, DemoReport& report) {
  for (const TraceRequest& request : plan_.requests) {
    KVFERRY_RETURN_IF_ERROR(replay_one(request, report));
    progress_.show(static_cast<size_t>(report.requests), progress_text(report));
    if (!measurer) continue;
    KVFERRY_RETURN_IF_ERROR(
        measurer->between_requests(report.requests, static_cast<int64_t>(plan_.requests.size())));
  }
  return {};
}

Status Supervisor::replay_one(const TraceRequest& request, DemoReport& report) {
  const int64_t fits =
      plan_.num_blocks * plan_.model.block_tokens / kDefaultChunkTokens * kDefaultChunkTokens;
  const int64_t limit = plan_.max_tokens > 0 ? std::min(fits, plan_.max_tokens) : fits;
  PromptCommand prompt{request.hash_ids, request.input_length,
                       std::min(limit, request.input_length)};
  report.requests_cut += prompt.max_tokens < request.input_length ? 1 : 0;
  nlohmann::json compute = prompt;
  compute["do"] = "compute";
  KVFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const nlohmann::json computed,
                           call(*prefill_, compute));
  nlohmann::json fetch = prompt;
  fetch["do"] = "fetch";
  KVFERRY_ASSIGN_OR_RETURN(const nlohmann::json fetched, call(*decode_, fetch));
  ++report.requests;
  report.tokens += fetched.at("tokens").get<int64_t>();
  report.tokens_held += fetched.at("tokens_held").get<int64_t>();
  report.chunks += fetched.at("chunks").get<int64_t>();
  report.chunks_moved += fetched.at("chunks_moved").get<int64_t>();
  report.chunks_moved_again += fetched.at("chunks_moved_again").get<int64_t>();
  report.chunks_reused += fetched.at("chunks_reused").get<int64_t>();
  report.chunks_verified += fetched.at("chunks_verified").get<int64_t>();
  report.reconnects += fetched.at("reconnects").get<int64_t>();
  report.bytes_moved += fetched.at("bytes").get<int64_t>();
  report.transfer_seconds += fetched.at("transfer_seconds").get<double>();
  report.request_ms.push_back(fetched.at("request_seconds").get<double>() * 1e3);
  for (const auto& error : fetched.at("errors")) {
    if (report.errors.size() < kMaxErrors) report.errors.push_back(error.get<std::string>());
  }
  return {};
}

Result<std::pair<nlohmann::json, nlohmann::json>> Supervisor::final_stats() {
  const SteadyClock clock;
  const TimePoint deadline = clock.now() + kQuietWithin;
  for (;;) {
    KVFERRY_ASSIGN_OR_RETURN(nlohmann::json decode, call(*decode_, {{"do", "stats"}}));
    KVFERRY_ASSIGN_OR_RETURN(nlohmann::json prefill, call(*prefill_, {{"do", "stats"}}));
    // Decode is done when it has sent the last acknowledgement; prefill's lease ends with its
    // arrival. So what is held now is a leak only if it stays.
    const bool is_quiet = decode.at("leases_active") == 0 && prefill.at("leases_active") == 0;
    if (is_quiet || clock.now() > deadline) {
      return std::make_pair(std::move(decode), std::move(prefill));
    }
    pollfd interrupt{interrupts_.fd(), POLLIN, 0};
    ::poll(&interrupt, 1, kAskAgainMilliseconds);
  }
}

Status Supervisor::collect(DemoReport& report) {
  KVFERRY_ASSIGN_OR_RETURN(const auto stats, final_stats());
  const auto& [decode, prefill] = stats;
  report.chunks_evicted = decode.at("chunks_evicted").get<int64_t>();
  report.chunks_mismatched = decode.at("chunks_mismatched").get<int64_t>();
  report.chunks_refetched = decode.at("chunks_refetched").get<int64_t>();
  const auto corrupted = prefill.at("corrupted_keys").get<std::set<std::string>>();
  const auto mismatched = decode.at("mismatched_keys").get<std::set<std::string>>();
  report.chunks_corrupted = static_cast<int64_t>(corrupted.size());
  report.corrupted_keys_found = corrupted == mismatched;
  for (const nlohmann::json* side : {&decode, &prefill}) {
    report.leases_leaked += side->at("leases_active").get<int64_t>();
    report.quarantined_bytes += side->at("quarantined_bytes").get<int64_t>();
  }
  report.prefill_rss_peak_bytes = prefill.at("rss_peak_bytes").get<int64_t>();
  report.decode_rss_peak_bytes = decode.at("rss_peak_bytes").get<int64_t>();
  if (report.transfer_seconds > 0) {
    report.pipeline.gbps = static_cast<double>(report.bytes_moved) / 1e9 / report.transfer_seconds;
  }
  return {};
}

Result<std::string> Supervisor::collect_trace() {
  KVFERRY_ASSIGN_OR_RETURN(const nlohmann::json prefill, call(*prefill_, {{"do", "trace"}}));
  KVFERRY_ASSIGN_OR_RETURN(const nlohmann::json decode, call(*decode_, {{"do", "trace"}}));
  return "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n" +
         prefill.at("events").get<std::string>() + ",\n" + decode.at("events").get<std::string>() +
         "\n]}\n";
}

Result<nlohmann::json> Supervisor::call(WorkerProcess& worker, const nlohmann::json& message) {
  KVFERRY_RETURN_IF_ERROR(send(worker, message));
  return wait_for(worker);
}

Status Supervisor::send(WorkerProcess& worker, const nlohmann::json& message) {
  return worker.channel().send(message).is_ok() ? Status() : ended(worker);
}

Status Supervisor::check_alive(WorkerProcess& worker) {
  pollfd poll_fd{worker.channel().fd(), POLLIN, 0};
  const bool is_gone = ::poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & (POLLHUP | POLLERR)) != 0;
  return is_gone ? ended(worker) : Status();
}

Status Supervisor::check_interrupted() {
  if (interrupts_.signal() == 0) return {};
  return Status(StatusCode::kCancelled, "interrupted by " + signal_name(interrupts_.signal()));
}

Status Supervisor::ended(WorkerProcess& worker) {
  const std::optional<Status> last_words = read_last_words(worker);
  const std::string end = worker.describe_end();
  KVFERRY_RETURN_IF_ERROR(check_interrupted());
  return last_words.value_or(Status(StatusCode::kUnavailable, end));
}

std::optional<Status> Supervisor::read_last_words(WorkerProcess& worker) {
  for (;;) {
    const auto message = worker.channel().try_receive();
    if (!message || !message->has_value()) return std::nullopt;
    if (!(*message)->contains("ok")) return worker_error(worker, **message);
  }
}

WorkerProcess& Supervisor::other_than(const WorkerProcess& worker) {
  return &worker == prefill_.get() ? *decode_ : *prefill_;
}

Status Supervisor::look_at(const WorkerProcess& worker, TimePoint now, SilenceWatch& watch) {
  const WorkerProcess* stopped = nullptr;
  for (const WorkerProcess* suspect : {&std::as_const(other_than(worker)), &worker}) {
    if (suspect->is_stopped()) stopped = suspect;
  }
  const WorkerProcess& culprit = stopped != nullptr ? *stopped : worker;
  const SilenceWatch::Verdict verdict = watch.look(now, stopped != nullptr ? stopped->pid() : 0);
  const std::string silence = "no answer from " + who(worker) + " for " +
                              std::to_string(whole_seconds(watch.silent_for())) + " s; ";
  switch (verdict) {
    case SilenceWatch::Verdict::kWait:
      break;
    case SilenceWatch::Verdict::kSayStopped:
      has_explained_ = true;
      progress_.say(silence + (&culprit == &worker ? "it" : who(culprit)) +
                    " is stopped: kill -CONT " + std::to_string(culprit.pid()));
      break;
    case SilenceWatch::Verdict::kSaySlow:
      if (std::exchange(said_slow_, true)) break;
      has_explained_ = true;
      progress_.say(silence + "it is at work, or hangs");
      break;
    case SilenceWatch::Verdict::kEndStopped:
      kill_workers();
      return Status(StatusCode::kUnavailable,
                    "the " + culprit.role() + " worker (pid " + std::to_string(culprit.pid()) +
                        ") was stopped for " + std::to_string(whole_seconds(watch.stopped_for())) +
                        " s; both workers were killed");
    case SilenceWatch::Verdict::kEndHanging:
      kill_workers();
      return Status(StatusCode::kDeadlineExceeded,
                    silence + "it hangs, or has too much to do; both workers were killed");
  }
  return {};
}

Result<nlohmann::json> Supervisor::wait_for(WorkerProcess& worker) {
  WorkerProcess& other = other_than(worker);
  const SteadyClock clock;
  SilenceWatch watch(clock.now());
  has_explained_ = false;
  for (;;) {
    KVFERRY_RETURN_IF_ERROR(check_interrupted());
    auto message = worker.channel().try_receive();
    if (!message || !message->has_value()) {
      // Of two that have ended, the one that was not asked is why.
      KVFERRY_RETURN_IF_ERROR(check_alive(other));
      if (!message) return make_error(ended(worker));
    } else {
      if (has_explained_) progress_.say(who(worker) + " goes on");
      const nlohmann::json& reply = **message;
      if (reply.contains("ok")) return reply.at("ok");
      // So it is for an error.
      KVFERRY_RETURN_IF_ERROR(check_alive(other));
      return make_error(worker_error(worker, reply));
    }
    const TimePoint now = clock.now();
    if (watch.is_due(now)) KVFERRY_RETURN_IF_ERROR(look_at(worker, now, watch));
    std::array<pollfd, 3> poll_fds = {pollfd{worker.channel().fd(), POLLIN, 0},
                                      pollfd{other.channel().fd(), POLLRDHUP, 0},
                                      pollfd{interrupts_.fd(), POLLIN, 0}};
    ::poll(poll_fds.data(), poll_fds.size(), kLookEveryMilliseconds);
  }
}

}  // namespace kvferry
