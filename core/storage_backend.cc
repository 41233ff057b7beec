#include "kvferry/storage_backend.h"

#include <unordered_map>
#include <utility>

#include "kvferry/chunk_record.h"
#include "kvferry/mutex.h"

namespace kvferry {
namespace {

Status check_put(std::span<const CacheEngineKey> keys, std::span<const MemoryObjPtr> objs) {
  if (keys.size() != objs.size()) {
    return Status(StatusCode::kInvalidArgument, std::to_string(keys.size()) + " keys but " +
                                                    std::to_string(objs.size()) +
                                                    " objects in one put; give one of each");
  }
  for (size_t i = 0; i < objs.size(); ++i) {
    if (!objs[i]) {
      return Status(StatusCode::kInvalidArgument,
                    "no object for " + keys[i].to_string() + " in a put");
    }
  }
  return {};
}

/// Ends of a batch, for a caller who waits for all of them, or until a time.
template <typename T>
class BatchWait {
 public:
  explicit BatchWait(size_t size) : outcomes_(size), missing_(size) {}

  /// False: too late, nobody gets to know of it.
  bool end(size_t item, T outcome) KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (taken_) return false;
    outcomes_[item] = std::move(outcome);
    if (--missing_ == 0) all_ended_.notify_all();
    return true;
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
bool is_true(const Result<T>& outcome) {
  return outcome.has_value() && outcome.value();
}
template <typename T>
bool is_true(const std::optional<Result<T>>& outcome) {
  return outcome.has_value() && is_true(*outcome);
}

std::vector<bool> are_true(const std::vector<std::optional<Result<bool>>>& outcomes) {
  std::vector<bool> answers;
  answers.reserve(outcomes.size());
  for (const auto& outcome : outcomes) answers.push_back(is_true(outcome));
  return answers;
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
  std::atomic<uint64_t> stray_ends{0};

  std::function<void(const CacheEngineKey&, MemoryObjPtr)> prefetch_handler;

  Mutex mutex;
  std::unordered_map<CacheEngineKey, int> put_tasks KVFERRY_GUARDED_BY(mutex);
  std::function<void()> on_closed KVFERRY_GUARDED_BY(mutex);

  /// False after close(): nothing new begins. Else the call ends with leave(), and do_close waits
  /// for that.
  bool enter(StorageBackend& backend, const std::shared_ptr<Books>& self, size_t items) {
    if (closed.load()) return false;
    calls.fetch_add(1);
    if (closed.load()) {
      leave(backend, self);
      return false;
    }
    open_items.fetch_add(static_cast<int64_t>(items));
    return true;
  }

  /// The last to leave after close() starts the end of the backend itself.
  void leave(StorageBackend& backend, const std::shared_ptr<Books>& self) {
    if (calls.fetch_sub(1) == 1 && closed.load() && !ending.exchange(true)) {
      backend.do_close([self, ended = std::make_shared<std::atomic<bool>>(false)] {
        if (ended->exchange(true)) {
          self->stray_ends.fetch_add(1);
        } else {
          self->end_item();
        }
      });
    }
  }

  /// What the backend calls for the items of one batch: `note`, then `done`, once for each.
  template <typename Outcome, typename Note>
  static std::function<void(size_t, Outcome)> once_each(const std::shared_ptr<Books>& self,
                                                        size_t size, Note note,
                                                        std::function<void(size_t, Outcome)> done) {
    auto ended = std::make_shared<std::vector<std::atomic<bool>>>(size);
    return [self, ended, note = std::move(note), done = std::move(done)](size_t item,
                                                                         Outcome outcome) {
      if (item >= ended->size() || (*ended)[item].exchange(true)) {
        self->stray_ends.fetch_add(1);
        return;
      }
      note(item, outcome);
      done(item, std::move(outcome));
      self->end_item();
    };
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
  stats.stray_ends = books_->stray_ends.load();
  const int64_t open = books_->open_items.load() - (books_->closed.load() ? 0 : 1);
  stats.open_items = open > 0 ? static_cast<uint64_t>(open) : 0;
  return stats;
}

// ---- what the runtime calls

template <typename Outcome>
void StorageBackend::end_all_closed(size_t num_items,
                                    const std::function<void(size_t, Outcome)>& done) const {
  const Status closed(StatusCode::kCancelled, "backend " + name() + " is closed");
  for (size_t i = 0; i < num_items; ++i) done(i, make_error(closed));
}

void StorageBackend::do_contains_for_put(std::span<const CacheEngineKey> keys, ContainsDone done) {
  do_contains(keys, std::move(done));
}

void StorageBackend::submit_contains(std::span<const CacheEngineKey> keys, ContainsDone done,
                                     ContainsIntent intent) {
  const std::shared_ptr<Books> books = books_;
  if (!books->enter(*this, books, keys.size())) return end_all_closed(keys.size(), done);
  books->contains_items.fetch_add(keys.size());
  done = Books::once_each<Result<bool>>(
      books, keys.size(), [](size_t, const Result<bool>&) {}, std::move(done));
  if (intent == ContainsIntent::kPut) {
    do_contains_for_put(keys, std::move(done));
  } else {
    do_contains(keys, std::move(done));
  }
  books->leave(*this, books);
}

void StorageBackend::submit_put(std::span<const CacheEngineKey> keys,
                                std::span<const MemoryObjPtr> objs, const TransferSpec& spec,
                                PutDone done) {
  if (const Status valid = check_put(keys, objs); !valid.is_ok()) {
    for (size_t i = 0; i < keys.size(); ++i) done(i, valid);
    return;
  }
  const std::shared_ptr<Books> books = books_;
  if (!books->enter(*this, books, keys.size())) return end_all_closed(keys.size(), done);
  books->put_items.fetch_add(keys.size());
  books->begin_puts(keys);
  // Keys and objects live until their item ends, whatever the backend keeps.
  auto taken = std::make_shared<std::vector<std::pair<CacheEngineKey, MemoryObjPtr>>>();
  taken->reserve(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) taken->emplace_back(keys[i], objs[i]);
  const auto note = [books, taken = std::move(taken)](size_t item, const Status& status) {
    auto& [key, obj] = (*taken)[item];
    if (status.is_ok()) {
      books->put_bytes.fetch_add(obj->bytes().size());
    } else {
      books->put_failures.fetch_add(1);
    }
    books->end_put(key);
    obj.reset();
  };
  do_put(keys, objs, spec, Books::once_each<Status>(books, keys.size(), note, std::move(done)));
  books->leave(*this, books);
}

void StorageBackend::submit_get(std::span<const CacheEngineKey> keys, const GetOptions& options,
                                GetDone done) {
  const std::shared_ptr<Books> books = books_;
  if (!books->enter(*this, books, keys.size())) return end_all_closed(keys.size(), done);
  const auto note = [books](size_t, const Result<MemoryObjPtr>& obj) {
    if (!obj.has_value()) {
      books->get_failures.fetch_add(1);
    } else if (!obj.value()) {
      books->get_misses.fetch_add(1);
    } else {
      books->get_hits.fetch_add(1);
      books->get_bytes.fetch_add((*obj)->bytes().size());
    }
  };
  do_get(keys, options,
         Books::once_each<Result<MemoryObjPtr>>(books, keys.size(), note, std::move(done)));
  books->leave(*this, books);
}

void StorageBackend::submit_remove(std::span<const CacheEngineKey> keys, bool force,
                                   RemoveDone done) {
  const std::shared_ptr<Books> books = books_;
  if (!books->enter(*this, books, keys.size())) return end_all_closed(keys.size(), done);
  const auto note = [books](size_t, const Result<bool>& was_held) {
    if (is_true(was_held)) books->removed.fetch_add(1);
  };
  do_remove(keys, force, Books::once_each<Result<bool>>(books, keys.size(), note, std::move(done)));
  books->leave(*this, books);
}

void StorageBackend::submit_pin(std::span<const CacheEngineKey> keys, PinOwner owner, PinOp op,
                                PinDone done) {
  const std::shared_ptr<Books> books = books_;
  if (!books->enter(*this, books, keys.size())) return end_all_closed(keys.size(), done);
  do_pin(keys, owner, op,
         Books::once_each<Result<bool>>(
             books, keys.size(), [](size_t, const Result<bool>&) {}, std::move(done)));
  books->leave(*this, books);
}

void StorageBackend::close(std::function<void()> on_closed) {
  const std::shared_ptr<Books> books = books_;
  books->calls.fetch_add(1);
  {
    MutexLock lock(books->mutex);
    if (!books->closed.load()) {
      books->on_closed = std::move(on_closed);
      books->closed.store(true);
    }
  }
  books->leave(*this, books);
}

// NOLINTBEGIN(performance-unnecessary-value-param): taken as by the calls that keep it
void StorageBackend::do_pin(std::span<const CacheEngineKey> keys, PinOwner /*owner*/, PinOp /*op*/,
                            PinDone done) {
  for (size_t i = 0; i < keys.size(); ++i) done(i, false);
}
// NOLINTEND(performance-unnecessary-value-param)

// ---- LMCache's methods

bool StorageBackend::contains(const CacheEngineKey& key, bool pin) {
  return batched_contains(one(key), pin) == 1;
}

size_t StorageBackend::batched_contains(std::span<const CacheEngineKey> keys, bool pin) {
  const bool pins = pin && traits_.pins;
  const std::vector<bool> are_held = pins ? pin_and_wait(keys, 0) : contains_and_wait(keys);
  size_t prefix = 0;
  while (prefix < keys.size() && are_held[prefix]) ++prefix;
  for (size_t i = prefix; pins && i < keys.size(); ++i) {
    if (are_held[i]) unpin_later(keys[i], 0);  // past the gap nobody gets to know of the pin
  }
  return prefix;
}

std::vector<bool> StorageBackend::contains_and_wait(std::span<const CacheEngineKey> keys) {
  auto wait = std::make_shared<BatchWait<Result<bool>>>(keys.size());
  submit_contains(keys,
                  [wait](size_t item, Result<bool> held) { wait->end(item, std::move(held)); });
  return are_true(wait->take(blocking_deadline()));
}

std::vector<bool> StorageBackend::pin_and_wait(std::span<const CacheEngineKey> keys,
                                               PinOwner owner) {
  auto wait = std::make_shared<BatchWait<Result<bool>>>(keys.size());
  auto named = std::make_shared<std::vector<CacheEngineKey>>(keys.begin(), keys.end());
  submit_pin(keys, owner, PinOp::kPin, [this, wait, named, owner](size_t item, Result<bool> done) {
    const bool is_pinned = is_true(done);
    if (!wait->end(item, std::move(done)) && is_pinned) unpin_later((*named)[item], owner);
  });
  return are_true(wait->take(blocking_deadline()));
}

void StorageBackend::unpin_later(const CacheEngineKey& key, PinOwner owner) {
  submit_pin(one(key), owner, PinOp::kUnpin, [](size_t, const Result<bool>&) {});
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
  if (books_->closed.load()) return false;
  GetOptions options;
  options.intent = GetIntent::kPrefetch;
  submit_get(one(key), options, [this, key](size_t, Result<MemoryObjPtr> obj) {
    if (!is_true(obj) || !books_->prefetch_handler) return;
    verify_on_pool(key, std::move(obj).value(), [this, key](MemoryObjPtr verified) {
      if (verified) books_->prefetch_handler(key, std::move(verified));
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
  auto outcomes = wait->take(options.deadline);
  std::vector<MemoryObjPtr> objs(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!is_true(outcomes[i])) continue;
    MemoryObjPtr obj = std::move(outcomes[i])->value();
    if (is_intact(keys[i], *obj)) {
      objs[i] = std::move(obj);
    } else {
      remove(keys[i]);
    }
  }
  return objs;
}

std::future<MemoryObjPtr> StorageBackend::get_non_blocking(const CacheEngineKey& key) {
  auto promise = std::make_shared<std::promise<MemoryObjPtr>>();
  std::future<MemoryObjPtr> future = promise->get_future();
  submit_get(one(key), {}, [this, promise, key](size_t, Result<MemoryObjPtr> obj) {
    if (!is_true(obj)) {
      promise->set_value(MemoryObjPtr());
      return;
    }
    verify_on_pool(key, std::move(obj).value(),
                   [promise](MemoryObjPtr verified) { promise->set_value(std::move(verified)); });
  });
  return future;
}

void StorageBackend::verify_on_pool(const CacheEngineKey& key, MemoryObjPtr obj,
                                    std::function<void(MemoryObjPtr)> take) {
  if (obj->is_verified()) return take(std::move(obj));
  books_->open_items.fetch_add(1);  // on_closed waits for it as for an item
  context_.work_pool->submit(
      [this, books = books_, key, obj = std::move(obj), take = std::move(take)]() mutable {
        if (!is_intact(key, *obj)) {
          obj.reset();
          submit_remove(one(key), true, [](size_t, const Result<bool>&) {});
        }
        take(std::move(obj));
        books->end_item();
      });
}

bool StorageBackend::is_intact(const CacheEngineKey& key, MemoryObj& obj) {
  const Status verdict = verify_chunk(key, obj);
  if (verdict.is_ok()) return true;
  books_->get_failures.fetch_add(1);
  if (context_.metrics != nullptr) context_.metrics->add("data_loss", 1);
  if (context_.logger != nullptr) {
    context_.logger->log(LogLevel::kError, "chunk_rejected backend=" + name() + " error=\"" +
                                               verdict.to_string() + "\"");
  }
  return false;
}

bool StorageBackend::pin(const CacheEngineKey& key, PinOwner owner) {
  return pin_and_wait(one(key), owner).front();
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
