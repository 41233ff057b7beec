#include "runtime/cache/cache_core.h"

#include <algorithm>
#include <future>
#include <utility>

#include "runtime/cache/prefetch_operation.h"
#include "runtime/cache/retrieve_operation.h"
#include "runtime/cache/store_operation.h"
#include "runtime/storage/close_backends.h"

namespace kvferry {
namespace {

constexpr Duration kLongestTimeout = std::chrono::hours(24 * 365);
constexpr size_t kMaxOperations = 4096;
constexpr Duration kSlack = std::chrono::milliseconds(100);  // for an answer on its way

std::vector<CacheEngineKey> keys_of(std::span<const ChunkRef> chunks) {
  std::vector<CacheEngineKey> keys;
  keys.reserve(chunks.size());
  for (const ChunkRef& chunk : chunks) keys.push_back(chunk.key);
  return keys;
}

Status check(const PagedTokens& pages) {
  if (pages.tokens.size() == pages.slots.size()) return {};
  return Status(StatusCode::kInvalidArgument, std::to_string(pages.tokens.size()) + " tokens but " +
                                                  std::to_string(pages.slots.size()) +
                                                  " slots; give one slot a token");
}

/// Empty if it has not come by then.
template <typename T>
std::optional<T> wait_until(std::future<T> result, TimePoint deadline) {
  if (result.wait_until(deadline) != std::future_status::ready) return std::nullopt;
  return result.get();
}

}  // namespace

CacheCore::CacheCore(ThreadExecutor& control, WorkPool& copiers, MemoryPool& pool,
                     TokenChunks space, std::vector<std::shared_ptr<Sink>> sinks,
                     CacheLimits limits, Logger* logger)
    : control_(control),
      space_(std::move(space)),
      sinks_(std::move(sinks)),
      storage_(control, sinks_),
      context_{.control = control,
               .copiers = copiers,
               .pool = pool,
               .storage = storage_,
               .space = space_,
               .limits = limits,
               .logger = logger,
               .counters = {},
               .storing = {}},
      pin_timeouts_(control, limits.pin_timeout, context_.counters.timed_out_pins) {}

// ---- lookup

std::vector<size_t> CacheCore::find_prefix(const std::vector<ChunkRef>& chunks,
                                           TimePoint deadline) {
  std::vector<CacheEngineKey> keys = keys_of(chunks);
  PrefixSearch search(keys.size());
  if (!sinks_.empty() && sinks_.front()->is_memory()) {
    // Where memory has all, nobody else is asked, and no other thread.
    sinks_.front()->backend().submit_contains(keys,
                                              [&search](size_t item, const Result<bool>& is_held) {
                                                if (is_held.has_value() && *is_held)
                                                  search.sinks[item] = 0;
                                              });
    search.next_sink = 1;
    if (search.first_gap() == keys.size()) return search.sinks;
  }
  auto promised = std::make_shared<std::promise<std::vector<size_t>>>();
  control_.post([this, promised, keys = std::move(keys), search, deadline]() mutable {
    if (is_closed_) {
      promised->set_value({});
      return;
    }
    storage_.find_prefix(
        std::move(keys), std::move(search), deadline,
        [promised](std::vector<size_t> sinks) { promised->set_value(std::move(sinks)); });
  });
  return wait_until(promised->get_future(), deadline + kSlack).value_or(std::vector<size_t>());
}

size_t CacheCore::pin_prefix(const std::vector<ChunkRef>& chunks, const std::vector<size_t>& sinks,
                             TimePoint deadline, LookupResult& result) {
  auto pins = std::make_shared<PrefixPins>(next_owner_.fetch_add(1));
  size_t pinned = sinks.size();
  for (size_t s = 0; s < sinks_.size(); ++s) {
    std::vector<size_t> here;
    std::vector<CacheEngineKey> keys;
    for (size_t i = 0; i < pinned; ++i) {
      if (sinks[i] != s) continue;
      here.push_back(i);
      keys.push_back(chunks[i].key);
    }
    if (keys.empty()) continue;
    const size_t good = pins->pin(sinks_[s], std::move(keys), deadline);
    if (good < here.size()) pinned = here[good];
  }
  control_.post([this, weak = std::weak_ptr<PrefixPins>(pins)] {
    if (const auto held = weak.lock()) pin_timeouts_.add(held);
  });
  result.pins = std::move(pins);
  return pinned;
}

LookupResult CacheCore::lookup(std::span<const uint32_t> tokens, bool pin,
                               std::span<const std::string> extra_keys) {
  const TimePoint begin = context_.now();
  const TimePoint deadline = begin + context_.limits.lookup_timeout;
  const std::vector<ChunkRef> chunks = space_.split(tokens, extra_keys);
  const std::vector<size_t> sinks = find_prefix(chunks, deadline);
  LookupResult result;
  size_t found = sinks.size();
  if (pin && found > 0) found = pin_prefix(chunks, sinks, deadline, result);
  const int64_t found_tokens = found == 0 ? 0 : chunks[found - 1].token_end;
  if (found_tokens < context_.limits.min_retrieve_tokens) {
    found = 0;
    result.pins.reset();
  }
  result.tokens = found == 0 ? 0 : found_tokens;
  result.sink_tokens.resize(sinks_.size());
  for (size_t i = 0; i < found; ++i) result.sink_tokens[sinks[i]] += chunks[i].num_tokens();
  context_.counters.lookup_latency.add(context_.now() - begin);
  context_.counters.lookups.fetch_add(1);
  context_.counters.looked_up_tokens.fetch_add(tokens.size());
  context_.counters.found_tokens.fetch_add(static_cast<uint64_t>(result.tokens));
  return result;
}

// ---- operations

/// `make(done)` makes the operation, which calls `done` once at its end.
template <typename T, typename Make>
OperationHandle<T> CacheCore::begin(Duration timeout, Status refusal, LatencyHistogram* latency,
                                    std::function<void(const T&)> on_done, Make make) {
  using State = typename OperationHandle<T>::State;
  auto slot = std::make_shared<std::weak_ptr<CacheOperation>>();
  auto state = std::make_shared<State>([this, slot] {
    control_.post([slot] {
      if (const auto operation = slot->lock()) {
        operation->stop(Status(StatusCode::kCancelled, "cancelled by its caller"));
      }
    });
  });
  const TimePoint begin = context_.now();
  const TimePoint deadline = begin + std::min(timeout, kLongestTimeout);
  auto begin_here = [this, state, slot, begin, deadline, latency, refusal = std::move(refusal),
                     on_done = std::move(on_done), make = std::move(make)]() mutable {
    auto operation =
        make([this, state, slot, begin, latency, on_done = std::move(on_done)](const T& result) {
          if (latency != nullptr) latency->add(context_.now() - begin);
          if (on_done) on_done(result);
          state->end(result);
          if (const auto ended = slot->lock()) operations_.erase(ended);
        });
    *slot = operation;
    operations_.insert(operation);
    if (is_closed_) {
      operation->stop(Status(StatusCode::kCancelled, "the cache engine ends"));
    } else if (operations_.size() > kMaxOperations) {
      operation->stop(Status(StatusCode::kResourceExhausted,
                             std::to_string(kMaxOperations) +
                                 " operations are under way; wait for some of them to end"));
    } else if (!refusal.is_ok()) {
      operation->stop(refusal);
    } else {
      operation->start(deadline);
    }
  };
  control_.post(std::move(begin_here));
  return OperationHandle<T>(state);
}

OperationHandle<StoreResult> CacheCore::store(const PagedTokens& pages, StoreOptions options) {
  Status refusal = check(pages);
  std::vector<ChunkRef> chunks;
  if (refusal.is_ok()) chunks = space_.split(pages.tokens, pages.extra_keys);
  const Duration timeout =
      options.timeout > Duration::zero() ? options.timeout : context_.limits.store_timeout;
  return begin<StoreResult>(
      timeout, std::move(refusal), &context_.counters.store_latency, std::move(options.on_done),
      [this, chunks = std::move(chunks),
       slots = std::vector<int64_t>(pages.slots.begin(), pages.slots.end()),
       layers = std::move(options.layers),
       on_read = std::move(options.on_pages_read)](StoreOperation::Done done) mutable {
        return std::make_shared<StoreOperation>(context_, std::move(chunks), std::move(slots),
                                                std::move(layers), std::move(on_read),
                                                std::move(done));
      });
}

OperationHandle<RetrieveResult> CacheCore::retrieve(const PagedTokens& pages,
                                                    RetrieveOptions options) {
  Status refusal = check(pages);
  std::vector<ChunkRef> chunks;
  if (refusal.is_ok()) chunks = space_.split(pages.tokens, pages.extra_keys);
  const Duration timeout =
      options.timeout > Duration::zero() ? options.timeout : context_.limits.retrieve_timeout;
  return begin<RetrieveResult>(
      timeout, std::move(refusal), &context_.counters.retrieve_latency, std::move(options.on_done),
      [this, chunks = std::move(chunks),
       slots = std::vector<int64_t>(pages.slots.begin(), pages.slots.end()),
       on_layer = std::move(options.on_layer)](RetrieveOperation::Done done) mutable {
        return std::make_shared<RetrieveOperation>(context_, std::move(chunks), std::move(slots),
                                                   std::move(on_layer), std::move(done));
      });
}

OperationHandle<PrefetchResult> CacheCore::prefetch(std::span<const uint32_t> tokens,
                                                    std::span<const std::string> extra_keys) {
  return begin<PrefetchResult>(
      context_.limits.retrieve_timeout, Status(), nullptr, nullptr,
      [this, chunks = space_.split(tokens, extra_keys)](PrefetchOperation::Done done) mutable {
        return std::make_shared<PrefetchOperation>(context_, std::move(chunks), std::move(done));
      });
}

ClearResult CacheCore::clear(std::span<const uint32_t> tokens,
                             std::span<const std::string> extra_keys) {
  auto promised = std::make_shared<std::promise<ClearResult>>();
  control_.post([this, promised, keys = keys_of(space_.split(tokens, extra_keys))] {
    for (const CacheEngineKey& key : keys) {
      const auto found = context_.storing.find(key);
      if (found != context_.storing.end()) found->second = true;
    }
    storage_.remove(keys, [promised](Removal removal) {
      const auto removed = std::ranges::count(removal.were_held, true);
      promised->set_value({static_cast<size_t>(removed), std::move(removal.status)});
    });
  });
  return wait_until(promised->get_future(), context_.now() + context_.limits.store_timeout)
      .value_or(ClearResult{0,
                            {StatusCode::kDeadlineExceeded,
                             "a sink did not say in time that it let go; clear again"}});
}

// ---- what it did, and its end

CacheStats CacheCore::stats() const {
  const CacheCounters& counters = context_.counters;
  CacheStats stats;
  stats.lookups = counters.lookups.load();
  stats.looked_up_tokens = counters.looked_up_tokens.load();
  stats.found_tokens = counters.found_tokens.load();
  stats.retrieved_tokens = counters.retrieved_tokens.load();
  stats.stored_chunks = counters.stored_chunks.load();
  stats.mismatched_chunks = counters.mismatched_chunks.load();
  stats.prefetched_chunks = counters.prefetched_chunks.load();
  stats.refused_prefetch_chunks = counters.refused_prefetch_chunks.load();
  stats.prefetch_in_flight_bytes = counters.prefetch_bytes.load();
  stats.max_prefetch_in_flight_bytes = context_.limits.prefetch_max_in_flight_bytes;
  stats.timed_out_pins = counters.timed_out_pins.load();
  stats.shared_fetches = storage_.stats().shared_fetches;
  stats.promotions = storage_.stats().promotions;
  const MemoryPoolUsage usage = context_.pool.usage();
  stats.pool_bytes = usage.slot_bytes * usage.num_slots;
  stats.pool_peak_bytes = usage.slot_bytes * usage.peak_used_slots;
  stats.pool_used_bytes = usage.slot_bytes * usage.used_slots;
  stats.pool_refused = usage.refused;
  stats.lookup_latency = counters.lookup_latency.report();
  stats.retrieve_latency = counters.retrieve_latency.report();
  stats.store_latency = counters.store_latency.report();
  for (const std::shared_ptr<Sink>& sink : sinks_) {
    const SinkStats from = sink->stats();
    SinkReport& report = stats.sinks.emplace_back();
    report.name = sink->name();
    report.hits = from.hits;
    report.hit_bytes = from.hit_bytes;
    for (size_t cause = 0; cause < kNumMissCauses; ++cause) {
      report.misses.emplace_back(miss_cause_name(static_cast<MissCause>(cause)),
                                 from.misses.at(cause));
    }
    report.puts = from.puts;
    report.put_bytes = from.put_bytes;
    report.failed_puts = from.failed_puts;
    report.refused_puts = from.refused_puts;
    report.late_items = from.late_items;
    report.discarded = from.discarded;
    report.in_flight_bytes = from.in_flight_bytes;
    report.max_in_flight_bytes = from.max_in_flight_bytes;
    report.queued_items = from.queued_items;
    report.max_queued_gets = sink->limits().max_queued_gets;
    report.max_queued_puts = sink->limits().max_queued_puts;
    report.usage = sink->backend().usage();
    if (sink->counters() != nullptr) {
      report.own_counters = sink->counters()->counters();
      report.own_gauges = sink->counters()->gauges();
    }
  }
  return stats;
}

bool CacheCore::close(Duration timeout) {
  const TimePoint deadline = context_.now() + timeout;
  auto stopped = std::make_shared<std::promise<bool>>();
  control_.post([this, stopped] {
    is_closed_ = true;
    const auto operations = operations_;
    for (const auto& operation : operations) {
      operation->stop(Status(StatusCode::kCancelled, "the cache engine ends"));
    }
    stopped->set_value(true);
  });
  if (!wait_until(stopped->get_future(), deadline).has_value()) return false;
  std::vector<StorageBackend*> backends;
  for (const std::shared_ptr<Sink>& sink : sinks_) backends.push_back(&sink->backend());
  return close_backends(backends, deadline);
}

}  // namespace kvferry
