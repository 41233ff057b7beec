#include "workload/meters/copy_meter.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cuda/host/streaming_copy.h"
#include "kernels/paged_copy.h"
#include "kvferry/checksum.h"
#include "kvferry/chunk_hash.h"
#include "runtime/steady_clock.h"
#include "workload/meters/chunk_ring.h"
#include "workload/meters/chunk_walk.h"
#include "workload/oracle/kv_content.h"

namespace kvferry {
namespace {

/// The page memory as the contiguous ranges that it consists of, walked through again and again.
class ContiguousPages {
 public:
  explicit ContiguousPages(const KVLayout& layout) {
    std::vector<std::pair<std::byte*, std::byte*>> spans;
    for (const KVGroup& group : layout.groups) {
      for (const KVPlane& plane : group.planes) {
        const int64_t bytes = (group.num_blocks - 1) * plane.block_stride_bytes +
                              (group.block_tokens - 1) * plane.token_stride_bytes +
                              (plane.num_heads - 1) * plane.head_stride_bytes + plane.content_bytes;
        spans.emplace_back(plane.base, plane.base + bytes);
      }
    }
    std::ranges::sort(spans);
    for (const auto& [begin, end] : spans) {
      if (!ranges_.empty() && begin <= ranges_.back().data() + ranges_.back().size()) {
        std::byte* const start = ranges_.back().data();
        ranges_.back() = {start, std::max(start + ranges_.back().size(), end)};
      } else {
        ranges_.emplace_back(begin, end);
      }
    }
  }

  /// Calls copy(pages, offset in piece, bytes) for the next `bytes`: once, and again at the end of
  /// a range.
  template <typename Copy>
  void next_piece(size_t bytes, Copy&& copy) {
    for (size_t done = 0; done < bytes;) {
      const std::span<std::byte> left = ranges_[range_].subspan(offset_);
      const size_t part = std::min(left.size(), bytes - done);
      copy(left.data(), done, part);
      done += part;
      offset_ += part;
      if (part == left.size()) {
        range_ = (range_ + 1) % ranges_.size();
        offset_ = 0;
      }
    }
  }

 private:
  std::vector<std::span<std::byte>> ranges_;
  size_t range_ = 0;
  size_t offset_ = 0;
};

/// One contender: a chunk from pages into a ring, or back.
class Contender {
 public:
  enum class Way : uint8_t { kOurs, kMemcpy, kStreaming };

  Contender(Way way, CopyDirection direction, const ChunkWalk& walk, ContiguousPages pages,
            ChunkRing& ring, StoreHint store)
      : way_(way),
        direction_(direction),
        walk_(walk),
        pages_(std::move(pages)),
        ring_(ring),
        store_(store) {}

  Status run_round() {
    const std::span<std::byte> chunk = ring_.chunk(step_++);
    const TimePoint start = clock_.now();
    if (way_ == Way::kOurs) {
      KVFERRY_RETURN_IF_ERROR(copy_paged(walk_.chunk(round_++), chunk));
    } else {
      copy_contiguous(chunk);
    }
    seconds_.push_back(std::chrono::duration<double>(clock_.now() - start).count());
    return {};
  }

  void forget_rounds() { seconds_.clear(); }
  int rounds() const { return static_cast<int>(seconds_.size()); }

  /// REQUIRES: at least one round
  double median_gbps() {
    const auto middle = seconds_.begin() + static_cast<ptrdiff_t>(seconds_.size() / 2);
    std::nth_element(seconds_.begin(), middle, seconds_.end());
    return static_cast<double>(walk_.chunk_bytes()) / *middle / 1e9;
  }

 private:
  Status copy_paged(const PagedCopy& copy, std::span<std::byte> chunk) {
    for (const Fragment& fragment : walk_.fragments()) {
      const auto planes = fragment.plane_end - fragment.plane_begin;
      digests_.resize(static_cast<size_t>(planes * copy.tiles_per_plane()));
      KVFERRY_RETURN_IF_ERROR(direction_ == CopyDirection::kGather
                                  ? gather(copy, fragment.plane_begin, fragment.plane_end, chunk,
                                           digests_, {.store = store_})
                                  : scatter(copy, fragment.plane_begin, fragment.plane_end, chunk,
                                            digests_, {.store = store_}));
    }
    return {};
  }

  void copy_contiguous(std::span<std::byte> chunk) {
    auto* const copy =
        way_ == Way::kMemcpy
            ? [](void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }
            : [](void* to, const void* from, size_t bytes) { streaming_copy(to, from, bytes); };
    for (const Fragment& fragment : walk_.fragments()) {
      std::byte* const piece = chunk.data() + fragment.offset_bytes;
      pages_.next_piece(static_cast<size_t>(fragment.size_bytes),
                        [&](std::byte* pages, size_t offset, size_t bytes) {
                          if (direction_ == CopyDirection::kGather) {
                            copy(piece + offset, pages, bytes);
                          } else {
                            copy(pages, piece + offset, bytes);
                          }
                        });
    }
  }

  const Way way_;
  const CopyDirection direction_;
  const ChunkWalk& walk_;
  ContiguousPages pages_;
  ChunkRing& ring_;
  const StoreHint store_;
  const SteadyClock clock_;
  size_t step_ = 0;   // in the ring
  size_t round_ = 0;  // in the walk
  std::vector<uint64_t> digests_;
  std::vector<double> seconds_;
};

/// The chunk that the oracle knows by `hash`, whole.
void write_expected(const ChunkLayout& layout, const ChunkHash& hash, std::span<std::byte> chunk) {
  for (size_t i = 0; i < layout.planes.size(); ++i) {
    const ChunkPlane& plane = layout.planes[i];
    for (int64_t token = 0; token < layout.num_tokens; ++token) {
      const int64_t offset = plane.offset_bytes + token * plane.token_stride_bytes;
      expected_row(
          hash, token, static_cast<int32_t>(i), 0,
          chunk.subspan(static_cast<size_t>(offset), static_cast<size_t>(plane.row_bytes)));
    }
  }
}

Status wrong(std::string_view what) {
  return {StatusCode::kDataLoss,
          std::string(what) + "; nothing was timed (a bug, or this machine's memory)"};
}

/// One chunk each way against the oracle, which shares no code with kernels/.
Status check_copies(const PagedKVCache& cache, const ChunkWalk& walk, ChunkRing& ring) {
  const ChunkHash hash{.bytes = {0x6b, 0x76}};
  const PagedCopy& copy = walk.chunk(0);
  const int32_t num_planes = copy.num_planes();
  const std::span<std::byte> chunk = ring.chunk(0);
  std::vector<std::byte> expected(walk.chunk_bytes());
  write_expected(walk.layout(), hash, expected);
  std::vector<uint64_t> expected_digests(static_cast<size_t>(walk.layout().num_tiles()));
  KVFERRY_RETURN_IF_ERROR(
      compute_tile_digests(walk.layout(), expected, 0, num_planes, expected_digests));
  std::vector<uint64_t> digests(expected_digests.size());

  KVFERRY_RETURN_IF_ERROR(fill_chunk(cache.layout(), copy.slots(), hash));
  KVFERRY_RETURN_IF_ERROR(
      gather(copy, 0, num_planes, chunk, digests, {.store = StoreHint::kCached}));
  if (!std::ranges::equal(chunk, expected))
    return wrong("gather copied other bytes than the pages'");
  if (digests != expected_digests) return wrong("gather computed wrong digests");

  digests.assign(digests.size(), 0);
  KVFERRY_RETURN_IF_ERROR(poison_slots(cache.layout(), copy.slots()));
  KVFERRY_RETURN_IF_ERROR(
      scatter(copy, 0, num_planes, expected, digests, {.store = StoreHint::kStreaming}));
  KVFERRY_ASSIGN_OR_RETURN(const std::optional<ContentMismatch> mismatch,
                           verify_chunk(cache.layout(), copy.slots(), hash));
  if (mismatch) return wrong("scatter: " + mismatch->to_string());
  if (digests != expected_digests) return wrong("scatter computed wrong digests");
  return {};
}

Status check_options(const CopyMeterOptions& options) {
  if (options.ring_chunks < 1 || options.min_rounds < 1 ||
      options.max_rounds < options.min_rounds) {
    return {StatusCode::kInvalidArgument,
            "copy meter: ring_chunks " + std::to_string(options.ring_chunks) + ", rounds from " +
                std::to_string(options.min_rounds) + " to " + std::to_string(options.max_rounds) +
                "; each is at least 1"};
  }
  return {};
}

/// Rounds of all contenders side by side; who begins changes from round to round.
Status run_rounds(std::span<Contender> contenders, const CopyMeterOptions& options) {
  const SteadyClock clock;
  const auto run_each = [&](size_t first) -> Status {
    for (size_t i = 0; i < contenders.size(); ++i) {
      KVFERRY_RETURN_IF_ERROR(contenders[(first + i) % contenders.size()].run_round());
    }
    return {};
  };
  for (size_t i = 0; i < options.ring_chunks; ++i) KVFERRY_RETURN_IF_ERROR(run_each(i));
  for (Contender& contender : contenders) contender.forget_rounds();  // that was the warm-up

  const TimePoint end = clock.now() + options.time_limit;
  for (int round = 0; round < options.max_rounds; ++round) {
    if (round >= options.min_rounds && clock.now() >= end) break;
    KVFERRY_RETURN_IF_ERROR(run_each(static_cast<size_t>(round)));
  }
  return {};
}

Result<CopyRates> measure(CopyDirection direction, const PagedKVCache& cache,
                          const CopyMeterOptions& options) {
  KVFERRY_RETURN_IF_ERROR(check_options(options));
  KVFERRY_ASSIGN_OR_RETURN(const ChunkWalk walk,
                           ChunkWalk::create(cache, options.fragment_bytes, options.seed));
  KVFERRY_ASSIGN_OR_RETURN(ChunkRing ring, ChunkRing::create(walk, options.ring_chunks));
  // Streaming stores throw their destination out of the cache: in the same ring they would slow
  // down whoever comes next.
  std::optional<ChunkRing> streamed_ring;
  if (direction == CopyDirection::kGather) {
    KVFERRY_ASSIGN_OR_RETURN(streamed_ring, ChunkRing::create(walk, options.ring_chunks));
  }
  KVFERRY_RETURN_IF_ERROR(check_copies(cache, walk, ring));

  const StoreHint store =
      direction == CopyDirection::kGather ? options.gather_store : StoreHint::kStreaming;
  ChunkRing& streamed = streamed_ring ? *streamed_ring : ring;
  ChunkRing& ours = store == StoreHint::kStreaming ? streamed : ring;
  const ContiguousPages pages(cache.layout());
  std::array<Contender, 3> contenders = {
      Contender(Contender::Way::kOurs, direction, walk, pages, ours, store),
      Contender(Contender::Way::kMemcpy, direction, walk, pages, ring, store),
      Contender(Contender::Way::kStreaming, direction, walk, pages, streamed, store)};
  KVFERRY_RETURN_IF_ERROR(run_rounds(contenders, options));

  CopyRates rates;
  rates.rounds = contenders[0].rounds();
  rates.ours_gbps = contenders[0].median_gbps();
  rates.ceiling_gbps = std::max(contenders[1].median_gbps(), contenders[2].median_gbps());
  rates.exceeds_cache =
      exceeds_last_level_cache(walk.working_set_bytes(static_cast<size_t>(rates.rounds)));
  return rates;
}

}  // namespace

Result<CopyRates> measure_gather(const PagedKVCache& cache, const CopyMeterOptions& options) {
  return measure(CopyDirection::kGather, cache, options);
}

Result<CopyRates> measure_scatter(const PagedKVCache& cache, const CopyMeterOptions& options) {
  return measure(CopyDirection::kScatter, cache, options);
}

}  // namespace kvferry
