#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/paged_copy.h"
#include "kvferry/clock.h"
#include "kvferry/status.h"
#include "workload/engine/paged_kv_cache.h"

namespace kvferry {

struct CopyMeterOptions {
  int64_t fragment_bytes = 512 * 1024;
  StoreHint gather_store = StoreHint::kCached;    ///< as the runtime's
  size_t ring_chunks = 4;                         ///< staging or landing chunks, used in turn
  Duration time_limit = std::chrono::seconds(2);  ///< of the timed rounds
  int max_rounds = 1'000'000;
  int min_rounds = 5;  ///< even if they take longer
  uint64_t seed = 1;   ///< of the order of blocks
};

/// How fast paged copies are here, and how fast they could be. Payload bytes, decimal GB/s, medians
/// over rounds.
struct CopyRates {
  double ours_gbps = 0;     ///< fragments of fragmented blocks, digests computed
  double ceiling_gbps = 0;  ///< the better of memcpy and streaming_copy(), contiguous, no digests
  int rounds = 0;
  bool exceeds_cache = false;  ///< the pages walked are more than the last-level cache holds
};

/// Gathers chunks of 256 tokens from all over the cache into a ring of staging chunks, fragment by
/// fragment, as the runtime does, on the caller's thread.
///
/// A round is one chunk by each contender; the ceiling copies pieces of the fragments' sizes from
/// contiguous page memory, walking through all of it too. Before anything is timed, one chunk's
/// bytes and digests are compared with the oracle's.
///
/// The whole cache must be scratch: pages are overwritten.
///
/// Errors: kInvalidArgument if the cache is smaller than one chunk or an option is not positive;
///   kDataLoss if the copy is wrong; kResourceExhausted if there is no memory for two rings.
/// Cost:   time_limit; memory for 2 * ring_chunks chunks
Result<CopyRates> measure_gather(const PagedKVCache& cache, const CopyMeterOptions& options = {});

/// The other way: from a ring of landing chunks into pages, with streaming stores.
///
/// Errors and cost: as measure_gather(), with one ring.
Result<CopyRates> measure_scatter(const PagedKVCache& cache, const CopyMeterOptions& options = {});

}  // namespace kvferry
