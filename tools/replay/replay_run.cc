#include "tools/replay/replay_run.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "tools/report_text.h"
#include "workload/oracle/kv_content.h"

namespace kvferry {
namespace {

constexpr int64_t kPagesSeed = 7;
constexpr Duration kMaxNap = std::chrono::milliseconds(100);

double ms_between(TimePoint from, TimePoint to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

SlotMapping slots_of(const ChunkRef& chunk, const std::vector<int64_t>& slots) {
  return SlotMapping(slots).subspan(static_cast<size_t>(chunk.token_begin),
                                    static_cast<size_t>(chunk.num_tokens()));
}

}  // namespace

Result<std::unique_ptr<ReplayRun>> ReplayRun::create(const ReplayPlan& plan, Logger* logger) {
  const int64_t block_tokens = plan.model.block_tokens;
  const int64_t blocks_each = (plan.longest_prompt + block_tokens - 1) / block_tokens;
  // Twice what is needed, so that pages are as scattered as in an engine that is not full.
  KVFERRY_ASSIGN_OR_RETURN(PagedKVCache pages, PagedKVCache::create(plan.model, plan.model.preset,
                                                                    2 * plan.clients * blocks_each,
                                                                    plan.seed + kPagesSeed));
  CacheEngineOptions options;
  options.model = std::string(plan.model.name);
  options.pages = pages.layout();
  options.config = plan.config;
  options.logger = logger;
  CacheEngineKey identity;
  identity.model = options.model;
  ChunkHasherOptions hashing;
  hashing.chunk_tokens = plan.config.chunk_tokens;
  hashing.seed = plan.config.hash_seed;
  hashing.hash_partial_chunk = plan.config.save_unfull_chunk;
  KVFERRY_ASSIGN_OR_RETURN(
      TokenChunks space,
      TokenChunks::create(std::move(identity), std::move(hashing), pages.layout()));
  std::unique_ptr<ReplayRun> run(new ReplayRun(plan, std::move(pages), std::move(space)));
  KVFERRY_ASSIGN_OR_RETURN(run->engine_, CacheEngine::create(std::move(options)));
  return run;
}

ReplayReport ReplayRun::run(const std::function<void(const ReplayReport&)>& on_request,
                            const std::function<bool()>& is_interrupted) {
  start_ = clock_.now();
  std::vector<std::thread> clients;
  for (int64_t i = 1; i < plan_.clients; ++i) {
    clients.emplace_back([&] { serve_requests(on_request, is_interrupted); });
  }
  serve_requests(on_request, is_interrupted);
  for (std::thread& client : clients) client.join();

  MutexLock lock(mutex_);
  ReplayReport report = std::move(report_);
  report.seconds = std::chrono::duration<double>(clock_.now() - start_).count();
  report.chunk_bytes = static_cast<int64_t>(space_.chunk_bytes());
  report.stats = engine_->stats();
  report.by_sink.resize(report.stats.sinks.size());
  report.rss_peak_bytes = kvferry::rss_peak_bytes();
  report.accesses.num_chunks = static_cast<uint32_t>(numbers_.size());
  report.is_complete = report.requests == static_cast<int64_t>(plan_.requests.size());
  add_optimum(report);
  return report;
}

void ReplayRun::add_optimum(ReplayReport& report) const {
  bool is_bounded = true;
  size_t chunks = 0;
  for (const SinkReport& sink : report.stats.sinks) {
    is_bounded = is_bounded && sink.usage.capacity_bytes > 0;
    chunks += sink.usage.capacity_bytes / space_.chunk_bytes();
  }
  report.optimum_capacity = is_bounded ? chunks : 0;
  report.optimum = model_optimum(report.accesses, is_bounded ? chunks : report.accesses.num_chunks);
}

std::optional<size_t> ReplayRun::take_request(const std::function<bool()>& is_interrupted) {
  size_t index = 0;
  {
    MutexLock lock(mutex_);
    if (next_ == plan_.requests.size()) return std::nullopt;
    index = next_++;
  }
  if (plan_.speed > 0) {
    const auto after =
        std::chrono::duration_cast<Duration>(std::chrono::duration<double, std::milli>(
            static_cast<double>(plan_.requests[index].timestamp_ms -
                                plan_.requests.front().timestamp_ms) /
            plan_.speed));
    while (clock_.now() < start_ + after && !is_interrupted()) {
      std::this_thread::sleep_for(std::min<Duration>(start_ + after - clock_.now(), kMaxNap));
    }
  }
  if (is_interrupted()) return std::nullopt;
  return index;
}

void ReplayRun::serve_requests(const std::function<void(const ReplayReport&)>& on_request,
                               const std::function<bool()>& is_interrupted) {
  while (const std::optional<size_t> index = take_request(is_interrupted)) {
    const RequestOutcome outcome = serve(plan_.requests[*index]);
    MutexLock lock(mutex_);
    report_.add(outcome);
    on_request(report_);
  }
}

RequestOutcome ReplayRun::serve(const TraceRequest& request) {
  RequestOutcome outcome;
  const std::vector<uint32_t> tokens = expand_tokens(request, plan_.max_tokens);
  const std::vector<ChunkRef> chunks = space_.split(tokens);
  note_accesses(chunks);
  outcome.chunks = static_cast<int64_t>(chunks.size());
  const auto num_tokens = static_cast<int64_t>(tokens.size());
  std::vector<int64_t> blocks;
  {
    MutexLock lock(mutex_);
    const int64_t count = pages_.blocks_for(num_tokens);
    while (pages_.free_blocks() < count) blocks_freed_.wait(mutex_);
    blocks = pages_.allocate(count).value();
  }
  const auto slots =
      slots_from_block_table(blocks, plan_.model.block_tokens, 0, num_tokens).value();
  const Status status = serve_in_pages(tokens, chunks, slots, outcome);
  if (!status.is_ok()) outcome.error = status.to_string();
  MutexLock lock(mutex_);
  pages_.free(blocks).ignore("they were allocated above");
  blocks_freed_.notify_all();
  return outcome;
}

Status ReplayRun::serve_in_pages(const std::vector<uint32_t>& tokens,
                                 const std::vector<ChunkRef>& chunks,
                                 const std::vector<int64_t>& slots, RequestOutcome& outcome) {
  const KVLayout& layout = pages_.layout();
  const TimePoint begin = clock_.now();
  const LookupResult found = engine_->lookup(tokens);
  outcome.lookup_ms = ms_between(begin, clock_.now());
  // What an earlier request left there must not pass for what is retrieved.
  KVFERRY_RETURN_IF_ERROR(
      poison_slots(layout, SlotMapping(slots).first(static_cast<size_t>(found.tokens))));
  const TimePoint looked_up = clock_.now();
  const RetrieveResult got = engine_->retrieve({tokens, slots}).wait();
  const TimePoint retrieved = clock_.now();
  outcome.retrieve_ms = ms_between(looked_up, retrieved);
  if (!got.status.is_ok()) outcome.retrieve_fault = got.status.to_string();
  outcome.by_sink = got.sink_tokens;
  // Only the last chunk of a prompt may have fewer tokens; it counts as one, too.
  const int64_t chunk_tokens = plan_.config.chunk_tokens;
  for (int64_t& sink : outcome.by_sink) sink = (sink + chunk_tokens - 1) / chunk_tokens;
  for (const ChunkRef& chunk : chunks) {
    const SlotMapping here = slots_of(chunk, slots);
    if (chunk.token_end <= got.tokens) {
      ++outcome.retrieved;
      KVFERRY_ASSIGN_OR_RETURN(const auto mismatch,
                               verify_chunk(layout, here, chunk.key.chunk_hash));
      if (mismatch.has_value()) ++outcome.wrong;
    } else {
      KVFERRY_RETURN_IF_ERROR(fill_chunk(layout, here, chunk.key.chunk_hash));
    }
  }
  const TimePoint computed = clock_.now();
  const StoreResult stored = engine_->store({tokens, slots}).wait();
  outcome.store_ms = ms_between(computed, clock_.now());
  if (!stored.status.is_ok()) outcome.store_fault = stored.status.to_string();
  outcome.stored = static_cast<int64_t>(stored.stored);
  outcome.lost = static_cast<int64_t>(stored.lost);
  return {};
}

void ReplayRun::note_accesses(const std::vector<ChunkRef>& chunks) {
  MutexLock lock(mutex_);
  std::vector<uint32_t>& request = report_.accesses.requests.emplace_back();
  request.reserve(chunks.size());
  for (const ChunkRef& chunk : chunks) {
    const auto number = static_cast<uint32_t>(numbers_.size());
    request.push_back(numbers_.try_emplace(chunk.key, number).first->second);
  }
}

}  // namespace kvferry
