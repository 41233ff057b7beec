#include "tools/demo/decode_worker.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <future>
#include <string>
#include <thread>
#include <utility>

namespace kvferry {
namespace {

using SteadyTime = std::chrono::steady_clock;

constexpr uint64_t kCacheSeedOffset = 2;
constexpr const char* kPrefill = "prefill";

// A lost connection is made again within so long, with pauses that double. Prefill refuses us until
// it has noticed the loss as well, which takes it the engine's silence limit at most.
constexpr auto kReconnectWithin = std::chrono::seconds(20);
constexpr auto kFirstPause = std::chrono::milliseconds(100);
constexpr auto kMaxPause = std::chrono::seconds(2);
// So many times in a row what is missing is asked for without a chunk that comes.
constexpr int kFruitlessFetches = 4;

double seconds_since(SteadyTime::time_point start) {
  return std::chrono::duration<double>(SteadyTime::now() - start).count();
}

/// Was the connection the cause, and not the chunk?
bool is_lost(const Status& end) {
  return end.code() == StatusCode::kUnavailable || end.code() == StatusCode::kDeadlineExceeded;
}

/// Would prefill refuse us however often we come? One that has ended is not started again.
bool is_final(const Status& refusal) {
  const bool nobody_listens =
      refusal.domain() == ErrorDomain::kErrno && refusal.native_code() == ECONNREFUSED;
  return nobody_listens || refusal.code() == StatusCode::kPermissionDenied ||
         refusal.code() == StatusCode::kInvalidArgument ||
         refusal.code() == StatusCode::kFailedPrecondition;
}

}  // namespace

Result<std::unique_ptr<DecodeWorker>> DecodeWorker::create(const WorkerSetup& setup,
                                                           std::shared_ptr<Transport> transport) {
  KVFERRY_ASSIGN_OR_RETURN(WorkerBase base, WorkerBase::create(setup, setup.seed + kCacheSeedOffset,
                                                               std::move(transport)));
  std::unique_ptr<DecodeWorker> worker(new DecodeWorker(std::move(base)));
  KVFERRY_ASSIGN_OR_RETURN(TransferEngineOptions options,
                           worker->base_.engine_options(1, static_cast<size_t>(setup.pool_chunks)));
  KVFERRY_ASSIGN_OR_RETURN(worker->engine_, TransferEngine::create(std::move(options)));
  return worker;
}

Result<nlohmann::json> DecodeWorker::connect(int64_t prefill_port) {
  prefill_port_ = static_cast<uint16_t>(prefill_port);
  KVFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const std::string peer,
                           engine_->connect(base_.setup().host, prefill_port_));
  const std::vector<PeerInfo> peers = engine_->peers();
  if (peers.empty()) return make_error(StatusCode::kUnavailable, "the prefill side is gone");
  return nlohmann::json{{"path", peers.front().path},
                        {"peer_class", static_cast<int>(peers.front().peer_class)}};
}

Status DecodeWorker::reconnect() {
  const auto give_up_at = SteadyTime::now() + kReconnectWithin;
  SteadyTime::duration pause = kFirstPause;
  for (;;) {
    const auto peer = engine_->connect(base_.setup().host, prefill_port_);
    if (peer) return {};
    if (is_final(peer.error()) || SteadyTime::now() + pause > give_up_at) {
      return peer.error().with_context(
          "the connection to prefill was lost, and cannot be made again");
    }
    std::this_thread::sleep_for(pause);
    pause = std::min<SteadyTime::duration>(2 * pause, kMaxPause);
  }
}

void DecodeWorker::fetch_once(const std::vector<FetchItem>& items, std::vector<Status>& ends) {
  std::vector<size_t> missing;
  std::vector<FetchItem> wanted;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!is_lost(ends[i])) continue;
    missing.push_back(i);
    wanted.push_back(items[i]);
  }
  std::promise<void> done;
  engine_->fetch(
      kPrefill, std::move(wanted),
      {.on_chunk = [&](size_t item, const Status& status) { ends[missing[item]] = status; },
       .on_done = [&done](const FetchSummary&) { done.set_value(); }});
  done.get_future().wait();
}

Result<DecodeWorker::Fetched> DecodeWorker::fetch_missing(std::vector<PromptChunk>& prompt) {
  std::vector<FetchItem> items;
  Fetched fetched;
  for (const PromptChunk& chunk : prompt) {
    if (chunk.is_held) continue;
    fetched.bytes += chunk.ref.num_tokens() * base_.model().token_bytes();
    items.push_back({chunk.ref, {&cache_.cache().layout(), chunk.slots}});
  }
  fetched.ends.assign(items.size(), Status(StatusCode::kUnavailable, "not fetched yet"));
  const auto start = SteadyTime::now();
  ptrdiff_t missing = std::ssize(items);
  for (int fruitless = 0; missing > 0;) {
    fetch_once(items, fetched.ends);
    const ptrdiff_t still = std::ranges::count_if(fetched.ends, is_lost);
    if (still == 0) break;
    fruitless = still < std::exchange(missing, still) ? 0 : fruitless + 1;
    if (fruitless == kFruitlessFetches) {
      return make_error(
          std::ranges::find_if(fetched.ends, is_lost)
              ->with_context("fetched " + std::to_string(fruitless) + " times, and no chunk came"));
    }
    if (!engine_->peers().empty()) continue;
    KVFERRY_RETURN_IF_ERROR(reconnect());
    ++fetched.reconnects;
  }
  fetched.seconds = seconds_since(start);
  return fetched;
}

Result<nlohmann::json> DecodeWorker::fetch(const PromptCommand& command) {
  const auto start = SteadyTime::now();
  const std::vector<ChunkRef> chunks = base_.chunks_of(command);
  KVFERRY_ASSIGN_OR_RETURN(std::vector<PromptChunk> prompt, cache_.open_prompt(chunks));
  const double lookup_seconds = seconds_since(start);

  int64_t tokens = 0;
  int64_t tokens_held = 0;
  int64_t moved_again = 0;
  for (const PromptChunk& chunk : prompt) {
    tokens += chunk.ref.num_tokens();
    if (chunk.is_held) {
      tokens_held += chunk.ref.num_tokens();
    } else {
      moved_again += cache_.was_evicted(chunk.ref.key) ? 1 : 0;
      // Stale bytes must not pass for fetched ones.
      KVFERRY_RETURN_IF_ERROR(base_.oracle().poison(chunk.slots));
    }
  }
  KVFERRY_ASSIGN_OR_RETURN(const Fetched fetched, fetch_missing(prompt));

  nlohmann::json errors = nlohmann::json::array();
  size_t item = 0;
  int64_t moved = 0;
  for (PromptChunk& chunk : prompt) {
    if (chunk.is_held) continue;
    const Status& end = fetched.ends[item++];
    if (end.is_ok()) {
      KVFERRY_RETURN_IF_ERROR(cache_.publish(chunk));
      ++moved;
    } else {
      errors.push_back(end.to_string());
    }
  }
  KVFERRY_ASSIGN_OR_RETURN(const int64_t verified, verify(prompt, errors));
  KVFERRY_RETURN_IF_ERROR(cache_.close_prompt(prompt));
  const auto num_chunks = static_cast<int64_t>(prompt.size());
  return nlohmann::json{{"tokens", tokens},
                        {"tokens_held", tokens_held},
                        {"chunks", num_chunks},
                        {"chunks_moved", moved},
                        {"chunks_moved_again", moved_again},
                        {"chunks_reused", num_chunks - static_cast<int64_t>(fetched.ends.size())},
                        {"chunks_verified", verified},
                        {"bytes", fetched.bytes},
                        {"reconnects", fetched.reconnects},
                        {"transfer_seconds", fetched.seconds},
                        {"request_seconds", lookup_seconds + fetched.seconds},
                        {"errors", errors}};
}

Result<int64_t> DecodeWorker::verify(const std::vector<PromptChunk>& prompt,
                                     nlohmann::json& errors) {
  int64_t verified = 0;
  for (const PromptChunk& chunk : prompt) {
    if (!chunk.is_held) continue;
    KVFERRY_ASSIGN_OR_RETURN(const auto mismatch,
                             base_.oracle().verify(chunk.slots, chunk.ref.key.chunk_hash));
    if (mismatch) {
      errors.push_back("wrong bytes in chunk " + chunk.ref.key.to_string() + ": " +
                       mismatch->to_string());
    } else {
      ++verified;
    }
  }
  return verified;
}

Result<nlohmann::json> DecodeWorker::stats() {
  nlohmann::json stats = stats_json(engine_->stats());
  stats["chunks_evicted"] = cache_.evictions();
  return stats;
}

}  // namespace kvferry
