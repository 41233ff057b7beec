#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backends/local_disk/disk_catalog.h"
#include "backends/local_disk/factory.h"
#include "backends/local_disk/io/block_io.h"
#include "backends/local_disk/io/file_system.h"
#include "backends/local_disk/sync_queue.h"
#include "core/priority_turns.h"

namespace kvferry {

/// One chunk to be read or written, while it waits for its turn and then until it has ended.
class DiskItem {
 public:
  enum Priority : uint8_t { kForeground, kPrefetch, kPut };

  virtual ~DiskItem() = default;
  virtual Priority priority() const = 0;
  /// Room on disk that it needs before it can begin.
  virtual size_t bytes_needed() const { return 0; }
  /// On the executor, when its turn has come and its room is reserved; does not block.
  virtual void start() = 0;
  /// In place of start().
  virtual void refuse(Status status) = 0;
};

/// What a store opened with (open_store.h).
struct DiskStoreParts {
  BackendContext context;
  LocalDiskOptions options;
  std::shared_ptr<FileSystem> files;
  std::unique_ptr<BlockIo> io;
  OpenFile lock;
  bool direct = false;
  uint64_t last_generation = 0;
};

/// An open store: its files and its catalog, and whose turn it is.
///
/// Queues and turns live on the executor, blocking calls on the work pool, the catalog is locked;
/// items go from one to the other. What runs holds the store by shared_ptr.
class DiskStore : public std::enable_shared_from_this<DiskStore> {
 public:
  explicit DiskStore(DiskStoreParts parts);

  // For items, from any thread.
  FileSystem& files() const { return *parts_.files; }
  BlockIo& io() const { return *parts_.io; }
  DiskCatalog& catalog() { return catalog_; }
  const StorePaths& paths() const { return paths_; }
  const BackendContext& context() const { return parts_.context; }
  Durability durability() const { return parts_.options.durability; }
  /// O_DIRECT, if memory at that address allows it.
  bool is_direct(const std::byte* address) const;
  uint64_t next_generation() { return last_generation_.fetch_add(1) + 1; }

  /// Takes its turn; refused with kResourceExhausted when too many wait.
  void enqueue(std::vector<std::shared_ptr<DiskItem>> items);
  /// The item no longer uses anything; the next may begin.
  void item_ended(DiskItem::Priority priority);
  /// Room has been made.
  void look_for_work();
  /// On the work pool.
  void run_blocking(Executor::Task task);

  // These block.
  /// Unlinks what the catalog has given up.
  void unlink(ChunkFile& file);
  /// The same for a file that is not what it should be, and says so.
  void remove_bad_file(ChunkFile& file, std::string_view counter, const Status& why);
  void unlink_later(std::vector<ChunkFilePtr> files);
  void note_unsynced(const CacheEngineKey& key, ChunkFilePtr file);

  void count(std::string_view counter, uint64_t amount = 1);
  /// At powers of two of `number`, so that a bad disk does not fill the log.
  void log(LogLevel level, std::string_view event, uint64_t number, const Status& why);

  /// Ends what is open, syncs what is not synced (kAsync), gives the directory free.
  void close(std::function<void()> on_closed);

 private:
  // On the executor.
  void pump();
  bool is_put_ready();
  bool may_start(size_t priority);
  void start_next(size_t priority, const PriorityTurns::Waiting& waiting);
  void sync_now();
  void sync_later();
  bool is_quiet();
  void finish_close();

  void blocking_ended();
  void sync_batch(const std::vector<UnsyncedChunk>& batch);

  DiskStoreParts parts_;
  const StorePaths paths_;
  DiskCatalog catalog_;
  SyncQueue unsynced_;
  std::atomic<uint64_t> last_generation_;
  std::atomic<size_t> num_waiting_{0};
  std::atomic<uint64_t> num_bad_files_{0};

  Mutex mutex_;
  size_t num_blocking_ KVFERRY_GUARDED_BY(mutex_) = 0;  // tasks on the work pool
  bool is_closing_ KVFERRY_GUARDED_BY(mutex_) = false;

  // Executor only.
  PriorityTurns turns_;
  std::array<std::deque<std::shared_ptr<DiskItem>>, kNumPriorities> queues_;
  size_t num_active_ = 0;
  size_t num_active_background_ = 0;
  bool is_first_put_reserved_ = false;
  std::function<void()> on_closed_;
};

}  // namespace kvferry
