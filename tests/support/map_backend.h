#pragma once

#include <list>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "kvferry/chunk_record.h"
#include "kvferry/mutex.h"
#include "kvferry/storage_backend.h"

namespace kvferry {

/// A mistake that a backend's author may make.
enum class MapFault {
  kNone,
  kWrongSize,           ///< a get gives one byte less
  kEndsTwice,           ///< the last item of a put batch ends twice
  kNeverEnds,           ///< so does the last item of a get batch
  kLateWrite,           ///< into a get's object, after the get ended
  kLateRead,            ///< of a put's bytes, when they are got
  kKeepsReference,      ///< to each object that it ever gave
  kSwallowsError,       ///< what it cannot keep it says to have put
  kKeepsOldChunk,       ///< a put of a key that it has changes nothing
  kLosesDigests,        ///< a get gives no tile digests
  kMixesItems,          ///< ends of a batch come with each other's numbers
  kMissIsError,         ///< a get of an unknown key ends kNotFound
  kUnpinsForAnybody,    ///< owners of pins are not told apart
  kRemovesPinned,       ///< without force
  kForgetsToEvict,      ///< past its capacity
  kKeepsRemoved,        ///< a remove says yes and removes nothing
  kForgetsOnReopen,     ///< what was put last
  kOwnMemory,           ///< gets give memory of its own
  kHangsWithoutMemory,  ///< waits for the allocator for ever
  kDropsLateItems,      ///< the last get's, when it closes
  kHoldsLock,           ///< while it calls completions
  kServesCorrupt,       ///< one byte of one chunk is changed
};

/// What a MapBackend keeps; outlives it, as a disk would.
struct MapStore {
  struct Entry {
    ChunkRecord record;
    std::vector<std::byte> bytes;
    const std::byte* late = nullptr;  // for kLateRead
    PinCounts pins;
    std::list<CacheEngineKey>::iterator age;
  };

  Mutex mutex;
  std::map<CacheEngineKey, Entry> entries KVFERRY_GUARDED_BY(mutex);
  std::list<CacheEngineKey> oldest_first KVFERRY_GUARDED_BY(mutex);
  size_t bytes KVFERRY_GUARDED_BY(mutex) = 0;
  uint64_t evicted KVFERRY_GUARDED_BY(mutex) = 0;
};

/// The plainest backend that keeps the contract, and on demand one that does not: a map, worked on
/// by the pool.
///
/// Threads: any thread, internally locked
class MapBackend final : public StorageBackend {
 public:
  MapBackend(const BackendContext& context, std::shared_ptr<MapStore> store, size_t capacity_bytes,
             MapFault fault = MapFault::kNone);

  BackendUsage usage() const override;

 private:
  void do_contains(std::span<const CacheEngineKey> keys, ContainsDone done) override;
  void do_put(std::span<const CacheEngineKey> keys, std::span<const MemoryObjPtr> objs,
              const TransferSpec& spec, PutDone done) override;
  void do_get(std::span<const CacheEngineKey> keys, const GetOptions& options,
              GetDone done) override;
  void do_remove(std::span<const CacheEngineKey> keys, bool force, RemoveDone done) override;
  void do_pin(std::span<const CacheEngineKey> keys, PinOwner owner, PinOp op,
              PinDone done) override;
  void do_close(std::function<void()> on_closed) override;

  /// Runs `work` for each key on the pool.
  void for_each(std::span<const CacheEngineKey> keys,
                std::function<void(size_t item, const CacheEngineKey& key)> work);
  /// Ends the last batch that was held back, and not this one.
  void hold_back(std::span<const CacheEngineKey> keys, GetDone done);
  Status put(const CacheEngineKey& key, const MemoryObj& obj);
  Result<MemoryObjPtr> get(const CacheEngineKey& key);
  Result<MemoryObjPtr> allocate(size_t size_bytes);
  bool remove_one(const CacheEngineKey& key, bool force);
  bool pin_one(const CacheEngineKey& key, PinOwner owner, PinOp op);
  void evict_for(size_t bytes) KVFERRY_REQUIRES(store_->mutex);
  void erase(std::map<CacheEngineKey, MapStore::Entry>::iterator entry)
      KVFERRY_REQUIRES(store_->mutex);
  bool has(MapFault fault) const { return fault_ == fault; }

  const std::shared_ptr<MapStore> store_;
  const size_t capacity_bytes_;
  const MapFault fault_;
  Mutex kept_mutex_;
  std::function<void()> held_back_ KVFERRY_GUARDED_BY(kept_mutex_);
  std::vector<MemoryObjPtr> kept_ KVFERRY_GUARDED_BY(kept_mutex_);
};

}  // namespace kvferry
