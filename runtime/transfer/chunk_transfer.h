#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/paged_copy.h"
#include "kvferry/checksum.h"
#include "kvferry/chunk_layout.h"
#include "kvferry/memory_obj.h"
#include "kvferry/transfer.h"
#include "kvferry/transfer_engine.h"

namespace kvferry {

/// How one chunk lies in pages and in memory, and what its digests are bound to. Both sides derive
/// it, each from its own pages (or from the record that the object goes with), and agree because
/// the layout digest and the identity do.
///
/// Threads: immutable.
struct ChunkPlan {
  ChunkRef ref;
  ChunkLayout layout;
  ChunkIdentity identity;
  std::vector<Fragment> fragments;
  /// None: the chunk goes from memory to memory as it lies there, with its object's digests.
  std::optional<PagedCopy> copy;
  CUevent_st* after = nullptr;  ///< PagedChunk::after

  int64_t first_tile(const Fragment& fragment) const {
    return fragment.plane_begin * layout.tiles_per_plane();
  }
  int64_t num_tiles(const Fragment& fragment) const {
    return (fragment.plane_end - fragment.plane_begin) * layout.tiles_per_plane();
  }
};

/// Errors: kInvalidArgument or kOutOfRange, when slots and layout do not fit the chunk, or the
/// pages
///   do not lie on `device`, the engine's.
Result<ChunkPlan> plan_chunk(const ChunkRef& ref, const PagedChunk& pages, int64_t fragment_bytes,
                             Device device = Device::host());

/// The same of a chunk that goes from memory to memory. A format that scatters layers makes it one
/// fragment.
ChunkPlan plan_object(const CacheEngineKey& key, const MemoryObj& obj, int64_t fragment_bytes);

/// A fragment target, up to `target_bytes`, with which the tile digests of each fragment of a chunk
/// of `num_tokens` fit into a link's header of `max_header_bytes`, if those of one layer do. At
/// least 1.
int64_t fit_fragment_bytes(const KVLayout& pages, int64_t target_bytes, size_t max_header_bytes,
                           int64_t num_tokens = kDefaultChunkTokens);
int64_t fit_fragment_bytes(const ChunkLayout& layout, int64_t target_bytes,
                           size_t max_header_bytes);

/// When the last fragment of a chunk moved, for the control side, which hears of no fragment.
///
/// Threads: any.
class ChunkProgress {
 public:
  void note(TimePoint now) { at_ = now.time_since_epoch().count(); }
  TimePoint last() const { return TimePoint(Duration(at_)); }

 private:
  std::atomic<Duration::rep> at_{0};
};

/// An object that is to be sent, until release() is called: nobody reads it for that any more.
struct OpenObject {
  MemoryObjPtr obj;
  std::function<void()> release;
  std::shared_ptr<void> keep = {};  ///< goes when the last reference of the transfer has gone
};

/// Bytes of a granted chunk on their way out. Belongs to the data executor from send() on.
struct OutgoingChunk {
  uint64_t transfer_id = 0;
  ChunkPlan plan;
  std::shared_ptr<void> keep = {};  ///< goes after the memory
  MemoryObjPtr staging;             ///< or the object itself
  std::shared_ptr<ChunkProgress> progress = std::make_shared<ChunkProgress>();
  LeaseId landing = {};

  // Data executor only.
  size_t next_fragment = 0;
  size_t open_gathers = 0;
  size_t open_offers = 0;
  uint64_t tile_sum = 0;
  Status status = {};
};

/// Bytes of a granted chunk on their way in. Belongs to the data executor from expect() on.
struct IncomingChunk {
  uint64_t transfer_id = 0;
  ChunkPlan plan;
  std::shared_ptr<void> keep = {};  ///< goes after the memory
  MemoryObjPtr landing_memory;      ///< or the object itself
  LeaseId landing;
  std::shared_ptr<ChunkProgress> progress = std::make_shared<ChunkProgress>();

  // Data executor only.
  std::vector<bool> accepted = {};
  size_t open_receives = 0;
  size_t open_scatters = 0;
  size_t finished = 0;
  uint64_t tile_sum = 0;
  bool abandoned = false;        ///< no more fragments come, or are wanted
  bool tells_abandoned = false;  ///< once its pages are quiet
  Status status = {};
};

}  // namespace kvferry
