#include "kvferry/storage_backend.h"

#include <unordered_map>
#include <utility>

#include "kvferry/chunk_record.h"
#include "kvferry/mutex.h"

namespace kvferry {
namespace {

Status closed_error(const std::string& backend) {
  return Status(StatusCode::kCancelled, "backend " + backend + " is closed");
}

/// Ends of a batch, for a caller who waits for all of them, or until a time.
template <typename T>
class BatchWait {
 public:
  explicit BatchWait(size_t size) : outcomes_(size), missing_(size) {}

  void end(size_t item, T outcome) KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (taken_ || outcomes_[item].has_value()) return;
    outcomes_[item] = std::move(outcome);
    if (--missing_ == 0) all_ended_.notify_all();
  }

  /// Items that have not ended by then are empty.
  std::vector<std::optional<T>> take(TimePoint deadline) KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    while (missing_ > 0 && all_ended_.wait_until(mutex_, deadline)) {
    }
    taken_ = true;
    return std::move(outcomes_);
  }

 private:
  Mutex mutex_;
  CondVar all_ended_;
  bool taken_ KVFERRY_GUARDED_BY(mutex_) = false;
  std::vector<std::optional<T>> outcomes_ KVFERRY_GUARDED_BY(mutex_);
  size_t missing_ KVFERRY_GUARDED_BY(mutex_);
};

template <typename T>
bool is_true(const std::optional<Result<T>>& outcome) {
  return outcome.has_value() && outcome->has_value() && outcome->value();
}

/// For the methods that take one key.
std::span<const CacheEngineKey> one(const CacheEngineKey& key) { return {&key, 1}; }

}  // namespace

/// What a backend counts, and its way to the end. Outlives it by the completions that are open.
struct StorageBackend::Books {
  std::atomic<uint64_t> contains_items{0};
  std::atomic<uint64_t> put_items{0};
  std::atomic<uint64_t> put_failures{0};
  std::atomic<uint64_t> put_bytes{0};
  std::atomic<uint64_t> get_hits{0};
  std::atomic<uint64_t> get_misses{0};
  std::atomic<uint64_t> get_failures{0};
  std::atomic<uint64_t> get_bytes{0};
  std::atomic<uint64_t> removed{0};

  std::function<void(const CacheEngineKey&, MemoryObjPtr)> prefetch_handler;

  Mutex mutex;
  std::unordered_map<CacheEngineKey, int> put_tasks KVFERRY_GUARDED_BY(mutex);
  std::function<void()> on_closed KVFERRY_GUARDED_BY(mutex);

  /// False after close(): nothing new begins. Pairs with leave().
  bool enter(size_t items) {
    open_items.fetch_add(static_cast<int64_t>(items));
    calls.fetch_add(1);
    if (!closed.load()) return true;
    open_items.fetch_sub(static_cast<int64_t>(items));
    return false;
  }

  /// The last to leave after close() starts the end of the backend itself.
  void leave(StorageBackend& backend, const std::shared_ptr<Books>& self) {
    if (calls.fetch_sub(1) == 1 && closed.load() && !ending.exchange(true)) {
      backend.do_close([self] { self->end_item(); });
    }
  }

  /// Items, and the backend's own end, which counts as one.
  void end_item() {
    if (open_items.fetch_sub(1) != 1) return;
    std::function<void()> callback;
    {
      MutexLock lock(mutex);
      callback = std::exchange(on_closed, nullptr);
    }
    if (callback) callback();
  }

  void begin_puts(std::span<const CacheEngineKey> keys) {
    MutexLock lock(mutex);
    for (const CacheEngineKey& key : keys) ++put_tasks[key];
  }
  void end_put(const CacheEngineKey& key) {
    MutexLock lock(mutex);
    const auto task = put_tasks.find(key);
    if (task != put_tasks.end() && --task->second == 0) put_tasks.erase(task);
  }

  std::atomic<int64_t> open_items{1};
  std::atomic<int64_t> calls{0};
  std::atomic<bool> closed{false};
  std::atomic<bool> ending{false};
};

TimePoint StorageBackend::blocking_deadline() const {
  return context_.executor->clock().now() + context_.blocking_timeout;
}

StorageBackend::StorageBackend(BackendContext context, BackendTraits traits)
    : context_(std::move(context)), traits_(traits), books_(std::make_shared<Books>()) {}

BackendStats StorageBackend::stats() const {
  BackendStats stats;
  stats.contains_items = books_->contains_items.load();
  stats.put_items = books_->put_items.load();
  stats.put_failures = books_->put_failures.load();
  stats.put_bytes = books_->put_bytes.load();
  stats.get_hits = books_->get_hits.load();
  stats.get_misses = books_->get_misses.load();
  stats.get_failures = books_->get_failures.load();
  stats.get_bytes = books_->get_bytes.load();
  stats.removed = books_->removed.load();
  const int64_t open = books_->open_items.load() - (books_->closed.load() ? 0 : 1);
  stats.open_items = open > 0 ? static_cast<uint64_t>(open) : 0;
  return stats;
}

// ---- what the runtime calls

void StorageBackend::submit_contains(std::span<const CacheEngineKey> keys, ContainsDone done) {
  const std::shared_ptr<Books> books = books_;
  if (books->enter(keys.size())) {
    books->contains_items.fetch_add(keys.size());
    do_contains(keys, [books, done = std::move(done)](size_t item, Result<bool> is_held) {
      done(item, std::move(is_held));
      books->end_item();
    });
  } else {
    for (size_t i = 0; i < keys.size(); ++i) done(i, make_error(closed_error(name())));
  }
  books->leave(*this, books);
}

void StorageBackend::submit_put(std::span<const CacheEngineKey> keys,
                                std::span<const MemoryObjPtr> objs, const TransferSpec& spec,
                                PutDone done) {
  const std::shared_ptr<Books> books = books_;
  if (keys.size() != objs.size()) {
    for (size_t i = 0; i < keys.size(); ++i) {
      done(i, Status(StatusCode::kInvalidArgument, std::to_string(keys.size()) + " keys but " +
                                                       std::to_string(objs.size()) +
                                                       " objects in one put; give one of each"));
    }
    return;
  }
  if (books->enter(keys.size())) {
    books->put_items.fetch_add(keys.size());
    books->begin_puts(keys);
    // Keys and objects live until their item ends, whatever the backend keeps.
    auto taken = std::make_shared<std::vector<std::pair<CacheEngineKey, MemoryObjPtr>>>();
    taken->reserve(keys.size());
    for (size_t i = 0; i < keys.size(); ++i) taken->emplace_back(keys[i], objs[i]);
    do_put(keys, objs, spec,
           [books, taken = std::move(taken), done = std::move(done)](size_t item, Status status) {
             auto& [key, obj] = (*taken)[item];
             if (status.is_ok()) {
               books->put_bytes.fetch_add(obj->bytes().size());
             } else {
               books->put_failures.fetch_add(1);
             }
             books->end_put(key);
             obj.reset();
             done(item, std::move(status));
             books->end_item();
           });
  } else {
    for (size_t i = 0; i < keys.size(); ++i) done(i, closed_error(name()));
  }
  books->leave(*this, books);
}

void StorageBackend::submit_get(std::span<const CacheEngineKey> keys, const GetOptions& options,
                                GetDone done) {
  const std::shared_ptr<Books> books = books_;
  if (books->enter(keys.size())) {
    do_get(keys, options, [books, done = std::move(done)](size_t item, Result<MemoryObjPtr> obj) {
      if (!obj.has_value()) {
        books->get_failures.fetch_add(1);
      } else if (!obj.value()) {
        books->get_misses.fetch_add(1);
      } else {
        books->get_hits.fetch_add(1);
        books->get_bytes.fetch_add((*obj)->bytes().size());
      }
      done(item, std::move(obj));
      books->end_item();
    });
  } else {
    for (size_t i = 0; i < keys.size(); ++i) done(i, make_error(closed_error(name())));
  }
  books->leave(*this, books);
}

void StorageBackend::submit_remove(std::span<const CacheEngineKey> keys, bool force,
                                   RemoveDone done) {
  const std::shared_ptr<Books> books = books_;
  if (books->enter(keys.size())) {
    do_remove(keys, force, [books, done = std::move(done)](size_t item, Result<bool> was_held) {
      if (was_held.has_value() && *was_held) books->removed.fetch_add(1);
      done(item, std::move(was_held));
      books->end_item();
    });
  } else {
    for (size_t i = 0; i < keys.size(); ++i) done(i, make_error(closed_error(name())));
  }
  books->leave(*this, books);
}

void StorageBackend::submit_pin(std::span<const CacheEngineKey> keys, PinOwner owner, PinOp op,
                                PinDone done) {
  const std::shared_ptr<Books> books = books_;
  if (books->enter(keys.size())) {
    do_pin(keys, owner, op, [books, done = std::move(done)](size_t item, Result<bool> is_done) {
      done(item, std::move(is_done));
      books->end_item();
    });
  } else {
    for (size_t i = 0; i < keys.size(); ++i) done(i, make_error(closed_error(name())));
  }
  books->leave(*this, books);
}

void StorageBackend::close(std::function<void()> on_closed) {
  const std::shared_ptr<Books> books = books_;
  books->calls.fetch_add(1);
  if (!books->closed.load()) {
    {
      MutexLock lock(books->mutex);
      books->on_closed = std::move(on_closed);
    }
    books->closed.store(true);
  }
  books->leave(*this, books);
}

void StorageBackend::do_pin(std::span<const CacheEngineKey> keys, PinOwner /*owner*/, PinOp /*op*/,
                            PinDone done) {
  for (size_t i = 0; i < keys.size(); ++i) done(i, false);
}

// ---- LMCache's methods

bool StorageBackend::contains(const CacheEngineKey& key, bool pin) {
  return batched_contains(one(key), pin) == 1;
}

size_t StorageBackend::batched_contains(std::span<const CacheEngineKey> keys, bool pin) {
  auto wait = std::make_shared<BatchWait<Result<bool>>>(keys.size());
  const auto done = [wait](size_t item, Result<bool> held) { wait->end(item, std::move(held)); };
  const bool pins = pin && traits_.pins;
  if (pins) {
    submit_pin(keys, 0, PinOp::kPin, done);
  } else {
    submit_contains(keys, done);
  }
  const auto outcomes = wait->take(blocking_deadline());
  size_t prefix = 0;
  while (prefix < keys.size() && is_true(outcomes[prefix])) ++prefix;
  for (size_t i = prefix; pins && i < keys.size(); ++i) {
    if (is_true(outcomes[i])) unpin(keys[i]);  // past the gap nobody gets to know of the pin
  }
  return prefix;
}

bool StorageBackend::exists_in_put_tasks(const CacheEngineKey& key) const {
  MutexLock lock(books_->mutex);
  return books_->put_tasks.contains(key);
}

void StorageBackend::batched_submit_put_task(
    std::span<const CacheEngineKey> keys, std::span<const MemoryObjPtr> objs,
    const TransferSpec& spec, std::function<void(const CacheEngineKey&, Status)> on_complete) {
  if (!on_complete) {
    submit_put(keys, objs, spec, [](size_t, const Status&) {});
    return;
  }
  auto named = std::make_shared<std::vector<CacheEngineKey>>(keys.begin(), keys.end());
  submit_put(keys, objs, spec,
             [named, on_complete = std::move(on_complete)](size_t item, Status status) {
               on_complete((*named)[item], std::move(status));
             });
}

bool StorageBackend::submit_prefetch_task(const CacheEngineKey& key) {
  const std::shared_ptr<Books> books = books_;
  if (books->closed.load()) return false;
  GetOptions options;
  options.intent = GetIntent::kPrefetch;
  submit_get(one(key), options,
             [books, key, pool = context_.work_pool](size_t, Result<MemoryObjPtr> obj) {
               if (!obj.has_value() || !obj.value() || !books->prefetch_handler) return;
               pool->submit([books, key, obj = std::move(obj).value()] {
                 if (verify_chunk(key, *obj).is_ok()) books->prefetch_handler(key, obj);
               });
             });
  return true;
}

MemoryObjPtr StorageBackend::get_blocking(const CacheEngineKey& key) {
  return std::move(batched_get_blocking(one(key)).front());
}

std::vector<MemoryObjPtr> StorageBackend::batched_get_blocking(
    std::span<const CacheEngineKey> keys) {
  auto wait = std::make_shared<BatchWait<Result<MemoryObjPtr>>>(keys.size());
  GetOptions options;
  options.deadline = blocking_deadline();
  submit_get(keys, options,
             [wait](size_t item, Result<MemoryObjPtr> obj) { wait->end(item, std::move(obj)); });
  auto outcomes = wait->take(blocking_deadline());
  std::vector<MemoryObjPtr> objs(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!is_true(outcomes[i])) continue;
    MemoryObjPtr obj = std::move(outcomes[i])->value();
    if (verify_chunk(keys[i], *obj).is_ok()) {
      objs[i] = std::move(obj);
    } else {
      books_->get_failures.fetch_add(1);
      remove(keys[i]);
    }
  }
  return objs;
}

std::future<MemoryObjPtr> StorageBackend::get_non_blocking(const CacheEngineKey& key) {
  auto promise = std::make_shared<std::promise<MemoryObjPtr>>();
  std::future<MemoryObjPtr> future = promise->get_future();
  submit_get(one(key), {},
             [promise, key, pool = context_.work_pool](size_t, Result<MemoryObjPtr> obj) {
               if (!obj.has_value() || !obj.value()) {
                 promise->set_value(MemoryObjPtr());
                 return;
               }
               pool->submit([promise, key, obj = std::move(obj).value()] {
                 const bool is_good = verify_chunk(key, *obj).is_ok();
                 promise->set_value(is_good ? obj : MemoryObjPtr());
               });
             });
  return future;
}

bool StorageBackend::pin(const CacheEngineKey& key, PinOwner owner) {
  auto wait = std::make_shared<BatchWait<Result<bool>>>(1);
  submit_pin(one(key), owner, PinOp::kPin,
             [wait](size_t item, Result<bool> done) { wait->end(item, std::move(done)); });
  return is_true(wait->take(blocking_deadline()).front());
}

bool StorageBackend::unpin(const CacheEngineKey& key, PinOwner owner) {
  auto wait = std::make_shared<BatchWait<Result<bool>>>(1);
  submit_pin(one(key), owner, PinOp::kUnpin,
             [wait](size_t item, Result<bool> done) { wait->end(item, std::move(done)); });
  return is_true(wait->take(blocking_deadline()).front());
}

bool StorageBackend::remove(const CacheEngineKey& key, bool force) {
  return batched_remove(one(key), force) == 1;
}

int64_t StorageBackend::batched_remove(std::span<const CacheEngineKey> keys, bool force) {
  auto wait = std::make_shared<BatchWait<Result<bool>>>(keys.size());
  submit_remove(keys, force,
                [wait](size_t item, Result<bool> held) { wait->end(item, std::move(held)); });
  const auto outcomes = wait->take(blocking_deadline());
  int64_t removed = 0;
  for (const auto& outcome : outcomes) removed += is_true(outcome) ? 1 : 0;
  return removed;
}

void StorageBackend::set_prefetch_handler(
    std::function<void(const CacheEngineKey& key, MemoryObjPtr obj)> handler) {
  books_->prefetch_handler = std::move(handler);
}

}  // namespace kvferry
