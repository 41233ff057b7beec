#include "backends/local_disk/disk_store.h"

#include <bit>
#include <utility>

#include "backends/local_disk/io/aligned_buffer.h"

namespace kvferry {

DiskStore::DiskStore(DiskStoreParts parts)
    : parts_(std::move(parts)),
      paths_(parts_.options.path),
      catalog_(parts_.options.policy, parts_.options.max_bytes, parts_.options.typical_chunk_bytes),
      unsynced_(parts_.options.max_unsynced_bytes),
      last_generation_(parts_.last_generation) {}

bool DiskStore::is_direct(const std::byte* address) const {
  return parts_.direct && is_block_aligned(address);
}

void DiskStore::look_for_work() {
  context().executor->post([self = shared_from_this()] { self->pump(); });
}

void DiskStore::enqueue(std::vector<std::shared_ptr<DiskItem>> items) {
  std::vector<std::shared_ptr<DiskItem>> taken;
  for (std::shared_ptr<DiskItem>& item : items) {
    if (num_waiting_.fetch_add(1) < parts_.options.max_waiting) {
      taken.push_back(std::move(item));
      continue;
    }
    num_waiting_.fetch_sub(1);
    item->refuse(Status(StatusCode::kResourceExhausted,
                        std::to_string(parts_.options.max_waiting) + " chunks wait for sink " +
                            context().name + " already; the disk does not keep up"));
  }
  if (taken.empty()) return;
  context().executor->post([self = shared_from_this(), taken = std::move(taken)] {
    for (const auto& item : taken) self->queues_[item->priority()].push_back(item);
    self->pump();
  });
}

void DiskStore::item_ended(DiskItem::Priority priority) {
  context().executor->post([self = shared_from_this(), priority] {
    --self->num_active_;
    if (priority != DiskItem::kForeground) --self->num_active_background_;
    self->pump();
  });
}

void DiskStore::run_blocking(Executor::Task task) {
  {
    MutexLock lock(mutex_);
    ++num_blocking_;
  }
  context().work_pool->submit([self = shared_from_this(), task = std::move(task)]() mutable {
    task();
    task = nullptr;
    self->blocking_ended();
  });
}

// While the store closes, what ends here counts until the executor has heard of it: that is the
// last that is done with the context.
void DiskStore::blocking_ended() {
  {
    MutexLock lock(mutex_);
    if (!is_closing_) {
      --num_blocking_;
      return;
    }
  }
  context().executor->post([self = shared_from_this()] {
    {
      MutexLock lock(self->mutex_);
      --self->num_blocking_;
    }
    self->pump();
  });
}

// ---- whose turn it is

/// Also when it is not its turn yet: then its room is there when it is.
bool DiskStore::is_put_ready() {
  auto& puts = queues_[DiskItem::kPut];
  while (!puts.empty() && !is_first_put_reserved_) {
    if (unsynced_.is_full()) return false;
    std::vector<ChunkFilePtr> victims;
    const DiskCatalog::Room room = catalog_.reserve(puts.front()->bytes_needed(), victims);
    unlink_later(std::move(victims));
    if (room == DiskCatalog::Room::kLater) return false;
    is_first_put_reserved_ = room == DiskCatalog::Room::kReserved;
    if (is_first_put_reserved_) break;
    const auto item = std::move(puts.front());
    puts.pop_front();
    num_waiting_.fetch_sub(1);
    item->refuse(Status(StatusCode::kResourceExhausted,
                        "no room for " + std::to_string(item->bytes_needed()) + " bytes in sink " +
                            context().name + ": what its " + std::to_string(catalog_.max_bytes()) +
                            " bytes hold is pinned; unpin it, or raise max_local_disk_size"));
  }
  return is_first_put_reserved_;
}

bool DiskStore::may_start(size_t priority) {
  const size_t depth = parts_.options.queue_depth;
  if (queues_[priority].empty() || num_active_ >= depth) return false;
  // One turn is kept for what a request waits for.
  if (priority != DiskItem::kForeground && depth > 1 && num_active_background_ >= depth - 1) {
    return false;
  }
  return priority != DiskItem::kPut || is_put_ready();
}

void DiskStore::start_next(size_t priority, const PriorityTurns::Waiting& waiting) {
  const std::shared_ptr<DiskItem> item = std::move(queues_[priority].front());
  queues_[priority].pop_front();
  num_waiting_.fetch_sub(1);
  turns_.took(priority, waiting);
  ++num_active_;
  if (priority != DiskItem::kForeground) ++num_active_background_;
  if (priority == DiskItem::kPut) is_first_put_reserved_ = false;
  item->start();
}

void DiskStore::pump() {
  for (;;) {
    PriorityTurns::Waiting waiting{};
    for (size_t i = 0; i < kNumPriorities; ++i) waiting[i] = may_start(i);
    const auto turn = turns_.next(waiting);
    if (!turn) break;
    start_next(*turn, waiting);
  }
  if (unsynced_.is_full()) sync_now();
  if (on_closed_) finish_close();
}

// ---- removing

void DiskStore::unlink(ChunkFile& file) {
  const Status status = files().unlink(paths_.chunk(file.name));
  const bool is_gone = status.is_ok() || status.code() == StatusCode::kNotFound;
  catalog_.unlinked(file, is_gone);
  if (is_gone) return;
  count("unlink_failures");
  log(LogLevel::kWarn, "disk_file_not_removed", ++num_bad_files_, status);
}

void DiskStore::unlink_later(std::vector<ChunkFilePtr> files) {
  if (files.empty()) return;
  run_blocking([this, files = std::move(files)] {
    for (const ChunkFilePtr& file : files) unlink(*file);
    look_for_work();
  });
}

void DiskStore::remove_bad_file(ChunkFile& file, std::string_view counter, const Status& why) {
  unlink(file);
  count(counter);
  log(LogLevel::kWarn, "disk_chunk_dropped", ++num_bad_files_,
      why.with_context(paths_.chunk(file.name)));
}

// ---- syncing later

void DiskStore::note_unsynced(const CacheEngineKey& key, ChunkFilePtr file) {
  if (unsynced_.add(key, std::move(file))) sync_later();
}

void DiskStore::sync_later() {
  Executor& executor = *context().executor;
  executor.post_at(executor.clock().now() + parts_.options.sync_interval,
                   [weak = weak_from_this()] {
                     if (const auto self = weak.lock()) self->sync_now();
                   });
}

void DiskStore::sync_now() {
  auto batch = unsynced_.begin_batch();
  if (batch.empty()) return;
  run_blocking([this, batch = std::move(batch)] { sync_batch(batch); });
}

void DiskStore::sync_batch(const std::vector<UnsyncedChunk>& batch) {
  const auto failed = sync_chunks(files(), paths_, catalog_, batch);
  for (const UnsyncedChunk& chunk : failed) {
    if (!catalog_.take_file(chunk.key, *chunk.file)) continue;
    remove_bad_file(*chunk.file, "sync_failures",
                    Status(StatusCode::kUnavailable, "could not be synced"));
  }
  if (unsynced_.end_batch(batch)) sync_later();
  look_for_work();
}

// ---- the end

void DiskStore::close(std::function<void()> on_closed) {
  context().executor->post([self = shared_from_this(), on_closed = std::move(on_closed)] {
    self->on_closed_ = on_closed;
    {
      MutexLock lock(self->mutex_);
      self->is_closing_ = true;
    }
    self->pump();
  });
}

bool DiskStore::is_quiet() {
  for (const auto& queue : queues_) {
    if (!queue.empty()) return false;
  }
  MutexLock lock(mutex_);
  return num_active_ == 0 && num_blocking_ == 0;
}

void DiskStore::finish_close() {
  if (!is_quiet()) return;
  if (!unsynced_.is_idle()) return sync_now();
  parts_.io->stop();
  parts_.lock.reset();
  std::exchange(on_closed_, nullptr)();
}

// ---- telling

void DiskStore::count(std::string_view counter, uint64_t amount) {
  if (context().metrics != nullptr && amount > 0) context().metrics->add(counter, amount);
}

void DiskStore::log(LogLevel level, std::string_view event, uint64_t number, const Status& why) {
  if (context().logger == nullptr || !std::has_single_bit(number)) return;
  context().logger->log(level, std::string(event) + " sink=" + context().name + " so_far=" +
                                   std::to_string(number) + " error=\"" + why.to_string() + "\"");
}

}  // namespace kvferry
