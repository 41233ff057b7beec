#include "backends/remote/fs_connector.h"

#include <memory>
#include <utility>
#include <vector>

#include "backends/remote/factory.h"

namespace kvferry {
namespace {

Status too_many() {
  return Status(StatusCode::kResourceExhausted,
                "too many items wait for the shared directory; put less at once, or raise "
                "max_queued");
}

Status closing() {
  return Status(StatusCode::kCancelled, "the backend was closed before the item's turn");
}

}  // namespace

FsConnector::FsConnector(const BackendContext& context, const std::string& root,
                         const RemoteOptions& options)
    : context_(context),
      stale_after_(options.stale_after),
      files_(root),
      tasks_(*context.work_pool, static_cast<size_t>(options.store.connections),
             options.max_queued) {}

void FsConnector::for_all(std::span<const CacheEngineKey> keys, ForKey work,
                          const std::function<void(size_t, Status)>& give_up) {
  if (keys.empty()) return;
  const size_t num_items = keys.size();
  const bool taken = tasks_.submit([named = std::vector<CacheEngineKey>(keys.begin(), keys.end()),
                                    work = std::move(work), give_up](bool runs) {
    for (size_t i = 0; i < named.size(); ++i) {
      if (runs) {
        work(i, named[i]);
      } else {
        give_up(i, closing());
      }
    }
  });
  for (size_t i = 0; !taken && i < num_items; ++i) give_up(i, too_many());
}

void FsConnector::exists(std::span<const CacheEngineKey> keys, ContainsDone done) {
  for_all(
      keys,
      [this, done](size_t item, const CacheEngineKey& key) { done(item, files_.exists(key)); },
      [done](size_t item, Status why) { done(item, make_error(std::move(why))); });
}

void FsConnector::put(std::span<const CacheEngineKey> keys, std::span<const MemoryObjPtr> objs,
                      PutDone done) {
  remove_stale_now_and_then();
  for (size_t i = 0; i < keys.size(); ++i) {
    const bool taken = tasks_.submit([this, i, key = keys[i], obj = objs[i], done](bool runs) {
      done(i, runs ? files_.write(key, *obj) : closing());
    });
    if (!taken) done(i, too_many());
  }
}

void FsConnector::get(std::span<const CacheEngineKey> keys, const GetOptions& options,
                      GetDone done) {
  for (size_t i = 0; i < keys.size(); ++i) {
    const bool taken =
        tasks_.submit([this, i, key = keys[i], deadline = options.deadline, done](bool runs) {
          if (!runs) return done(i, make_error(closing()));
          if (context_.executor->clock().now() >= deadline) {
            return done(i, make_error(StatusCode::kDeadlineExceeded,
                                      "the deadline passed before the file's turn came"));
          }
          done(i, files_.read(key, *context_.allocator));
        });
    if (!taken) done(i, make_error(too_many()));
  }
}

void FsConnector::remove(std::span<const CacheEngineKey> keys, RemoveDone done) {
  for_all(
      keys,
      [this, done](size_t item, const CacheEngineKey& key) { done(item, files_.remove(key)); },
      [done](size_t item, Status why) { done(item, make_error(std::move(why))); });
}

void FsConnector::remove_stale_now_and_then() {
  const TimePoint now = context_.executor->clock().now();
  TimePoint due = next_removal_.load();
  if (now < due || !next_removal_.compare_exchange_strong(due, now + stale_after_)) return;
  // Not taken when there is much to do: the next time will do.
  tasks_.submit([this](bool runs) {
    if (!runs) return;
    const Result<size_t> removed = files_.remove_stale(stale_after_);
    if (removed && *removed > 0 && context_.metrics != nullptr) {
      context_.metrics->add("stale_files_removed", *removed);
    }
  });
}

void FsConnector::close(std::function<void()> on_closed) { tasks_.close(std::move(on_closed)); }

}  // namespace kvferry
