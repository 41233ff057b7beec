#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kvferry/cache_config.h"
#include "kvferry/cache_operation.h"
#include "kvferry/chunk_layout.h"
#include "kvferry/kv_layout.h"
#include "kvferry/layer_progress.h"
#include "kvferry/logger.h"
#include "kvferry/status.h"
#include "kvferry/storage_backend.h"
#include "kvferry/transport.h"

namespace kvferry {

struct CacheEngineOptions {
  /// What makes chunks of one engine good for another: all of it is part of their keys.
  std::string model;
  int32_t world_size = 1;
  int32_t worker_id = 0;
  std::vector<std::pair<std::string, std::string>> tags;  ///< adapter, tenant, weight revision

  /// The engine's paged cache: one group, in host memory, which outlives the cache engine.
  KVLayout pages;
  CacheConfig config;
  Logger* logger = nullptr;  ///< borrowed; null: no log
  /// How chunks travel between peers. Null: a new one of the configuration's name. Loopback leads
  /// to the engines that were given the same object.
  std::shared_ptr<Transport> transport = nullptr;
};

/// The pages of tokens: slots[i] is where token i lies. Negative: leave that token out.
struct PagedTokens {
  std::span<const uint32_t> tokens;
  std::span<const int64_t> slots;  ///< as many
  /// What the ids do not say (hashes of images, a tenant): part of every key. Where ids stand for
  /// something that differs from prompt to prompt, it must be here.
  std::span<const std::string> extra_keys = {};
};

struct LookupResult {
  int64_t tokens = 0;                ///< from the first on without a gap; held, not yet verified
  std::vector<int64_t> sink_tokens;  ///< of these, how many come from each sink
  /// Keeps them from being evicted until the last copy goes (or pin_timeout); null without `pin`.
  /// Must go before the engine does.
  std::shared_ptr<void> pins;
};

struct StoreResult {
  size_t chunks = 0;       ///< that the tokens make
  size_t held = 0;         ///< of these, were there, or on their way, in every sink
  size_t stored = 0;       ///< are in at least one more sink now
  size_t lost = 0;         ///< are in no sink that lacked them
  size_t failed_puts = 0;  ///< single sinks that refused, failed, or were late
  Status status;           ///< the first fault, if any: the rest was stored all the same
};

struct RetrieveResult {
  int64_t tokens =
      0;  ///< the first so many are in their pages, verified. What follows is undefined
  std::vector<int64_t> sink_tokens;  ///< of these, how many came from each sink
  Status status;                     ///< kDeadlineExceeded, kCancelled or a bad slot; OK for a miss
};

struct PrefetchResult {
  int64_t tokens = 0;  ///< the first so many are in memory now
  size_t fetched = 0;  ///< chunks that were brought
  size_t refused = 0;  ///< chunks that were not, for lack of room for prefetches
};

struct ClearResult {
  size_t chunks = 0;  ///< so many were in a sink
  Status status;      ///< of the first sink that did not let go: chunks may still be in it
};

struct StoreOptions {
  Duration timeout = Duration::zero();  ///< 0: store_timeout of the configuration
  /// Layer by layer: the pages of a layer are read once it says that they are complete. Null: all
  /// are. It must come to the last layer before the timeout.
  std::shared_ptr<LayerProgress> layers = nullptr;
  /// Runs once, when the pages are read (or will not be): the engine may reuse them.
  std::function<void()> on_pages_read = nullptr;
  std::function<void(const StoreResult&)> on_done = nullptr;
};

struct RetrieveOptions {
  Duration timeout = Duration::zero();  ///< 0: retrieve_timeout of the configuration
  std::function<void(const RetrieveResult&)> on_done = nullptr;
  /// Layer by layer: runs for each layer, in order, when its K and V of the first `tokens` tokens
  /// are in their pages, verified. Later layers may say fewer tokens: what counts is the result.
  std::function<void(int32_t layer, int64_t tokens)> on_layer = nullptr;
};

/// How long operations of one kind took: counts[i] of them up to upper_bounds_seconds[i], the last
/// count longer than any.
struct LatencyReport {
  std::vector<double> upper_bounds_seconds;
  std::vector<uint64_t> counts;
  double sum_seconds = 0;
};

/// What one sink is and did.
struct SinkReport {
  std::string name;
  uint64_t hits = 0;  ///< chunks that it gave, verified
  uint64_t hit_bytes = 0;
  std::vector<std::pair<std::string, uint64_t>> misses;  ///< by cause
  uint64_t puts = 0;
  uint64_t put_bytes = 0;
  uint64_t failed_puts = 0;
  uint64_t refused_puts = 0;
  uint64_t late_items = 0;
  uint64_t discarded = 0;  ///< chunks taken out as their bytes were wrong
  uint64_t in_flight_bytes = 0;
  uint64_t max_in_flight_bytes = 0;
  uint64_t queued_items = 0;
  uint64_t max_queued_gets = 0;  ///< of retrieves, and as many of prefetches
  uint64_t max_queued_puts = 0;
  BackendUsage usage;
  std::map<std::string, double> own_counters;  ///< what the backend counts for itself
  std::map<std::string, double> own_gauges;
};

struct CacheStats {
  uint64_t lookups = 0;
  uint64_t looked_up_tokens = 0;
  uint64_t found_tokens = 0;
  uint64_t retrieved_tokens = 0;  ///< verified, in pages
  uint64_t stored_chunks = 0;
  uint64_t mismatched_chunks = 0;  ///< failed verification; never served
  uint64_t prefetched_chunks = 0;
  uint64_t refused_prefetch_chunks = 0;  ///< had no room among those in flight
  uint64_t prefetch_in_flight_bytes = 0;
  uint64_t max_prefetch_in_flight_bytes = 0;
  uint64_t timed_out_pins = 0;  ///< pinned chunks that pin_timeout released
  uint64_t shared_fetches = 0;  ///< joined an equal one under way
  uint64_t promotions = 0;
  uint64_t pool_bytes = 0;  ///< the bound of all chunks in memory
  uint64_t pool_peak_bytes = 0;
  uint64_t pool_used_bytes = 0;
  uint64_t pool_refused = 0;  ///< allocations that found it full
  LatencyReport lookup_latency;
  LatencyReport retrieve_latency;
  LatencyReport store_latency;
  std::vector<SinkReport> sinks;
};

/// Keeps KV of prompts in its sinks (memory, disk, remote stores, backends from outside) and puts
/// it back into an engine's pages: what an engine integrator calls.
///
/// Tokens are cut into chunks, each named by the hash of all tokens up to its end. A chunk counts
/// as good when its bytes, as they went into the pages, have the digests that were computed where
/// they were gathered.
///
/// Threads: any thread. Callbacks come on a thread of the engine's, and must not block.
class KVFERRY_EXPORT CacheEngine {
 public:
  /// Builds pool and sinks as the configuration says, all or nothing.
  /// Errors: kInvalidArgument naming key or field; what a sink's factory says, with its name.
  static Result<std::unique_ptr<CacheEngine>> create(CacheEngineOptions options);
  /// Ends every operation (kCancelled) and closes every sink.
  ~CacheEngine();
  CacheEngine(const CacheEngine&) = delete;
  CacheEngine& operator=(const CacheEngine&) = delete;

  /// How much of `tokens` the sinks hold. Blocks, lookup_timeout at most: a sink that does not
  /// answer holds nothing.
  LookupResult lookup(std::span<const uint32_t> tokens, bool pin = false,
                      std::span<const std::string> extra_keys = {});

  /// Gathers the chunks that a sink lacks, each once, and puts them into those that lack them.
  /// Tokens and slots are copied; the pages are read until on_pages_read.
  OperationHandle<StoreResult> store(const PagedTokens& pages, StoreOptions options = {});

  /// Puts the longest prefix that can be read and verified into its pages. Chunks whose slots are
  /// all negative count as good. The pages are written until the operation has ended.
  OperationHandle<RetrieveResult> retrieve(const PagedTokens& pages, RetrieveOptions options = {});

  /// Brings chunks into memory (local_cpu), verified, as far as there is room for prefetches.
  OperationHandle<PrefetchResult> prefetch(std::span<const uint32_t> tokens,
                                           std::span<const std::string> extra_keys = {});

  /// Takes the chunks of `tokens` out of every sink, pinned or not. Blocks, store_timeout at most.
  /// What was under way before does not bring them back.
  ClearResult clear(std::span<const uint32_t> tokens, std::span<const std::string> extra_keys = {});

  CacheStats stats() const;
  /// Where metrics are served; 0: nowhere.
  uint16_t metrics_port() const;
  /// Where peers find it; 0: it does not listen.
  uint16_t peer_port() const;
  /// The sinks, in the order in which they are asked. Borrowed.
  std::vector<StorageBackend*> sinks() const;

 private:
  class Impl;
  explicit CacheEngine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvferry
