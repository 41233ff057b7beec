#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kvferry/backend_context.h"
#include "kvferry/cache_engine_key.h"
#include "kvferry/memory_obj.h"
#include "kvferry/pin_counts.h"
#include "kvferry/status.h"

namespace kvferry {

/// What a backend promises about what is put into it.
struct BackendTraits {
  /// What was put can be got until it is removed or evicted. Not so: a log, a blackhole.
  bool retains = true;
  /// pin() holds chunks against eviction. Not so: pins are refused, contains() says what is there.
  bool pins = true;
  /// What was put outlives the process.
  bool persists = false;
  /// Hands out the very memory that was put: no copy, nothing that could have changed it.
  bool is_memory = false;
  /// Not so: chunks come out of it that somebody else puts there, and the runtime puts none.
  bool takes_puts = true;
};

/// Of whom contains() asks, where what is put goes to another place than all that is got comes
/// from.
enum class ContainsIntent : uint8_t {
  kGet,  ///< whoever would give it
  kPut,  ///< where a put would bring it
};

enum class GetIntent : uint8_t {
  kForeground,  ///< a request waits for it
  kPrefetch,    ///< a request will want it
};

struct GetOptions {
  GetIntent intent = GetIntent::kForeground;
  /// Nobody wants it after that: it may end kDeadlineExceeded without having been read.
  TimePoint deadline = TimePoint::max();
};

/// Where a put is to go, for backends that send to peers (LMCache's transfer_spec).
struct TransferSpec {
  std::string peer;  ///< empty: as configured
};

enum class PinOp : uint8_t { kPin, kUnpin };

struct BackendUsage {
  uint64_t entries = 0;
  uint64_t bytes = 0;           ///< held, overheads included
  uint64_t capacity_bytes = 0;  ///< 0: not bounded here
  uint64_t pinned_entries = 0;
  uint64_t evicted_entries = 0;  ///< for room, so far
};

/// What a backend was asked for and did so far, in items.
struct BackendStats {
  uint64_t contains_items = 0;
  uint64_t put_items = 0;
  uint64_t put_failures = 0;
  uint64_t put_bytes = 0;
  uint64_t get_hits = 0;
  uint64_t get_misses = 0;
  uint64_t get_failures = 0;
  uint64_t get_bytes = 0;
  uint64_t removed = 0;
  uint64_t open_items = 0;  ///< begun and not ended
  uint64_t stray_ends = 0;  ///< of items that had ended or never were: the backend's bug, ignored
};

/// Ends of the items of one batch: each is called exactly once for each index, in any order, on any
/// thread, also from inside the call that started it. Must not block.
using ContainsDone = std::function<void(size_t item, Result<bool> is_held)>;
using PutDone = std::function<void(size_t item, Status status)>;
using GetDone = std::function<void(size_t item, Result<MemoryObjPtr> obj)>;
using RemoveDone = std::function<void(size_t item, Result<bool> was_held)>;
using PinDone = std::function<void(size_t item, Result<bool> is_done)>;

/// A place that keeps chunks: a sink of the runtime, built in or from outside.
///
/// An author implements the six do_ calls. All else stands here once: the calls that the runtime
/// uses (submit_...), and the methods of LMCache's StorageBackendInterface under their names. What
/// is promised to callers is held by conformance/backend_contract.h:
///
/// - A put owns what it took until it ends. OK: visible to every contains and get that starts
///   afterwards (if the backend retains). Otherwise: not visible, and the status says why.
/// - A miss is a value (a null object, false), a fault is a Status. Neither is ever wrong bytes.
/// - A get gives the object with layout, tokens, digests and the key's own chunk_digest. Its bytes
///   are compared with the digests by whoever takes them: MemoryObj::is_verified() says whether
///   somebody has. The methods that return objects have done so.
/// - Pins are counted per owner. A pinned chunk is not evicted, and not removed but by force.
/// - After close() has ended no memory is touched and nothing is called any more.
///
/// Threads: any thread, internally locked. Blocking methods wait up to the context's
///   blocking_timeout and are not for executors.
/// Owner:   whoever made it closes it, and destroys it once that has ended
class KVFERRY_EXPORT StorageBackend {
 public:
  virtual ~StorageBackend() = default;
  StorageBackend(const StorageBackend&) = delete;
  StorageBackend& operator=(const StorageBackend&) = delete;

  const std::string& name() const { return context_.name; }
  const BackendTraits& traits() const { return traits_; }
  BackendStats stats() const;
  virtual BackendUsage usage() const { return {}; }

  // What the runtime calls. `keys` and `objs` are borrowed for the call; objects are then held by
  // reference. After close(): every item ends kCancelled.
  void submit_contains(std::span<const CacheEngineKey> keys, ContainsDone done,
                       ContainsIntent intent = ContainsIntent::kGet);
  void submit_put(std::span<const CacheEngineKey> keys, std::span<const MemoryObjPtr> objs,
                  const TransferSpec& spec, PutDone done);
  void submit_get(std::span<const CacheEngineKey> keys, const GetOptions& options, GetDone done);
  void submit_remove(std::span<const CacheEngineKey> keys, bool force, RemoveDone done);
  void submit_pin(std::span<const CacheEngineKey> keys, PinOwner owner, PinOp op, PinDone done);
  /// Ends what is open, then calls `on_closed`. Once.
  void close(std::function<void()> on_closed);

  // LMCache's methods, under their names; docs/lmcache.md says what newest LMCache calls them.
  bool contains(const CacheEngineKey& key, bool pin = false);
  /// How many of `keys`, from the first on without a gap, are held.
  size_t batched_contains(std::span<const CacheEngineKey> keys, bool pin = false);
  bool exists_in_put_tasks(const CacheEngineKey& key) const;
  /// `on_complete` is called once per key. May be empty: errors are then only counted.
  void batched_submit_put_task(std::span<const CacheEngineKey> keys,
                               std::span<const MemoryObjPtr> objs, const TransferSpec& spec = {},
                               std::function<void(const CacheEngineKey&, Status)> on_complete = {});
  /// True if it is under way: what it finds goes to the prefetch handler.
  bool submit_prefetch_task(const CacheEngineKey& key);
  /// Null: not held, not in time, or not what its digests say.
  MemoryObjPtr get_blocking(const CacheEngineKey& key);
  std::future<MemoryObjPtr> get_non_blocking(const CacheEngineKey& key);
  std::vector<MemoryObjPtr> batched_get_blocking(std::span<const CacheEngineKey> keys);
  bool pin(const CacheEngineKey& key, PinOwner owner = 0);
  bool unpin(const CacheEngineKey& key, PinOwner owner = 0);
  bool remove(const CacheEngineKey& key, bool force = true);
  int64_t batched_remove(std::span<const CacheEngineKey> keys, bool force = true);

  /// Takes what submit_prefetch_task finds, verified. Set before use.
  void set_prefetch_handler(
      std::function<void(const CacheEngineKey& key, MemoryObjPtr obj)> handler);

 protected:
  StorageBackend(BackendContext context, BackendTraits traits);

  // To be implemented. Called on any thread, never after do_close.
  virtual void do_contains(std::span<const CacheEngineKey> keys, ContainsDone done) = 0;
  /// With ContainsIntent::kPut; as do_contains() unless overridden.
  virtual void do_contains_for_put(std::span<const CacheEngineKey> keys, ContainsDone done);
  /// `objs` have their bytes, layout, tokens and digests set, and are not changed any more.
  virtual void do_put(std::span<const CacheEngineKey> keys, std::span<const MemoryObjPtr> objs,
                      const TransferSpec& spec, PutDone done) = 0;
  virtual void do_get(std::span<const CacheEngineKey> keys, const GetOptions& options,
                      GetDone done) = 0;
  virtual void do_remove(std::span<const CacheEngineKey> keys, bool force, RemoveDone done) = 0;
  virtual void do_pin(std::span<const CacheEngineKey> keys, PinOwner owner, PinOp op, PinDone done);
  /// Ends every open item, then calls `on_closed`. Called once.
  virtual void do_close(std::function<void()> on_closed) = 0;

  const BackendContext& context() const { return context_; }

 private:
  struct Books;

  TimePoint blocking_deadline() const;
  template <typename Outcome>
  void end_all_closed(size_t num_items, const std::function<void(size_t, Outcome)>& done) const;
  std::vector<bool> contains_and_wait(std::span<const CacheEngineKey> keys);
  std::vector<bool> pin_and_wait(std::span<const CacheEngineKey> keys, PinOwner owner);
  void unpin_later(const CacheEngineKey& key, PinOwner owner);
  bool is_intact(const CacheEngineKey& key, MemoryObj& obj);
  void verify_on_pool(const CacheEngineKey& key, MemoryObjPtr obj,
                      std::function<void(MemoryObjPtr)> take);

  const BackendContext context_;
  const BackendTraits traits_;
  std::shared_ptr<Books> books_;  // shared with the completions of open items
};

}  // namespace kvferry
