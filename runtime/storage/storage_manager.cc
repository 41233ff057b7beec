#include "runtime/storage/storage_manager.h"

#include <algorithm>
#include <utility>

namespace kvferry {

std::optional<size_t> StorageManager::memory_sink() const {
  for (size_t i = 0; i < sinks_.size(); ++i) {
    if (sinks_[i]->is_memory()) return i;
  }
  return std::nullopt;
}

// ---- out of the sinks

void StorageManager::fetch(const ChunkRequest& request, size_t first_sink,
                           std::function<void(FetchedChunk)> done) {
  // Who starts past the first sink has seen what the sinks before gave: that is another fetch.
  const bool is_shared = first_sink == 0;
  if (const auto found = fetches_.find(request.key); is_shared && found != fetches_.end()) {
    const std::shared_ptr<SharedFetch>& fetch = found->second;
    shared_fetches_.fetch_add(1);
    fetch->joined.emplace_back(request, std::move(done));
    if (request.priority < fetch->request.priority) {
      fetch->request.priority = request.priority;
      if (fetch->ticket) sinks_[fetch->sink]->raise(fetch->ticket, request.priority);
    }
    return;
  }
  begin_fetch(request, first_sink, is_shared, std::move(done));
}

void StorageManager::begin_fetch(const ChunkRequest& request, size_t first_sink, bool is_shared,
                                 std::function<void(FetchedChunk)> done) {
  auto fetch = std::make_shared<SharedFetch>();
  fetch->request = request;
  fetch->sink = first_sink;
  fetch->done = std::move(done);
  if (is_shared) fetches_.emplace(request.key, fetch);
  try_next_sink(fetch);
}

void StorageManager::try_next_sink(const std::shared_ptr<SharedFetch>& fetch) {
  if (fetch->sink >= sinks_.size()) {
    control_.post([this, fetch] { end_fetch(fetch, {}); });
    return;
  }
  const ChunkRequest& request = fetch->request;
  // One that hangs must leave time for those after it.
  const bool is_last = fetch->sink + 1 == sinks_.size();
  const TimePoint deadline =
      is_last ? request.deadline : halfway_to(request.deadline, control_.clock().now());
  fetch->ticket = sinks_[fetch->sink]->get(
      request.key, request.size_bytes, request.priority, deadline,
      [this, fetch](Result<MemoryObjPtr> obj) { on_given(fetch, std::move(obj)); });
}

void StorageManager::on_given(const std::shared_ptr<SharedFetch>& fetch, Result<MemoryObjPtr> obj) {
  fetch->ticket.reset();
  if (obj.has_value() && obj.value()) {
    end_fetch(fetch, {std::move(obj).value(), fetch->sink});
    return;
  }
  // Torn or foreign: it must not be looked at again.
  if (!obj.has_value() && obj.error().code() == StatusCode::kDataLoss) {
    sinks_[fetch->sink]->discard(fetch->request.key);
  }
  ++fetch->sink;
  try_next_sink(fetch);
}

void StorageManager::end_fetch(const std::shared_ptr<SharedFetch>& fetch,
                               const FetchedChunk& chunk) {
  const auto found = fetches_.find(fetch->request.key);
  if (found != fetches_.end() && found->second == fetch) fetches_.erase(found);
  std::exchange(fetch->done, nullptr)(chunk);
  for (auto& [request, done] : std::exchange(fetch->joined, {})) {
    if (chunk.obj || request.deadline <= control_.clock().now()) {
      done(chunk);
    } else {
      begin_fetch(request, 0, false, std::move(done));
    }
  }
}

void StorageManager::promote(const CacheEngineKey& key, const MemoryObjPtr& obj, size_t from,
                             std::function<void(Status)> done) {
  const std::optional<size_t> memory = memory_sink();
  if (!memory.has_value() || *memory >= from) {
    if (done) control_.post([done = std::move(done)] { done(Status()); });
    return;
  }
  sinks_[*memory]->put(key, obj, [this, done = std::move(done)](Status status) {
    if (status.is_ok()) promotions_.fetch_add(1);  // else it stays where it came from
    if (done) done(std::move(status));
  });
}

// ---- into them

void StorageManager::store(const CacheEngineKey& key, const MemoryObjPtr& obj,
                           const std::vector<bool>& into,
                           const std::function<void(size_t sink, Status)>& done) {
  for (size_t i = 0; i < sinks_.size(); ++i) {
    if (!into[i]) continue;
    sinks_[i]->put(key, obj, [done, i](Status status) { done(i, std::move(status)); });
  }
}

void StorageManager::find_missing(const std::vector<CacheEngineKey>& keys, TimePoint deadline,
                                  std::function<void(Missing)> done) {
  struct Answers {
    Missing missing;
    size_t open = 0;
    std::function<void(Missing)> done;
  };
  auto answers = std::make_shared<Answers>();
  answers->missing.by_key.assign(keys.size(), std::vector<bool>(sinks_.size(), false));
  answers->open = sinks_.size();
  answers->done = std::move(done);
  if (sinks_.empty()) {
    control_.post([answers] { answers->done(std::move(answers->missing)); });
    return;
  }
  for (size_t i = 0; i < sinks_.size(); ++i) {
    sinks_[i]->contains(keys, deadline, [answers, i](const std::vector<Holding>& holdings) {
      for (size_t k = 0; k < holdings.size(); ++k) {
        answers->missing.by_key[k][i] = holdings[k] == Holding::kMissing;
        if (holdings[k] == Holding::kUnknown) answers->missing.is_certain = false;
      }
      if (--answers->open == 0) answers->done(std::move(answers->missing));
    });
  }
}

// ---- where they are

void StorageManager::find_prefix(std::vector<CacheEngineKey> keys, PrefixSearch search,
                                 TimePoint deadline,
                                 std::function<void(std::vector<size_t>)> done) {
  ask_next_sink(std::make_shared<std::vector<CacheEngineKey>>(std::move(keys)), std::move(search),
                deadline, std::move(done));
}

void StorageManager::ask_next_sink(const std::shared_ptr<std::vector<CacheEngineKey>>& keys,
                                   PrefixSearch search, TimePoint deadline,
                                   std::function<void(std::vector<size_t>)> done) {
  const size_t gap = search.first_gap();
  const size_t sink = search.next_sink++;
  if (sink >= sinks_.size() || gap == search.sinks.size()) {
    search.sinks.resize(gap);
    control_.post([done = std::move(done), found = std::move(search.sinks)] { done(found); });
    return;
  }
  std::vector<size_t> asked;
  std::vector<CacheEngineKey> missing;
  for (size_t i = gap; i < search.sinks.size(); ++i) {
    if (search.sinks[i] != PrefixSearch::kNowhere) continue;
    asked.push_back(i);
    missing.push_back((*keys)[i]);
  }
  const TimePoint share =
      sink + 1 == sinks_.size() ? deadline : halfway_to(deadline, control_.clock().now());
  sinks_[sink]->contains(
      std::move(missing), share,
      [this, keys, deadline, sink, asked = std::move(asked), search = std::move(search),
       done = std::move(done)](const std::vector<Holding>& holdings) mutable {
        for (size_t i = 0; i < holdings.size(); ++i) {
          if (holdings[i] == Holding::kHeld) search.sinks[asked[i]] = sink;
        }
        ask_next_sink(keys, std::move(search), deadline, std::move(done));
      });
}

// ---- ends

void StorageManager::remove(std::vector<CacheEngineKey> keys, std::function<void(size_t)> done) {
  struct Answers {
    Mutex mutex;
    std::vector<bool> was_held KVFERRY_GUARDED_BY(mutex);
    size_t open KVFERRY_GUARDED_BY(mutex) = 0;
  };
  auto answers = std::make_shared<Answers>();
  {
    MutexLock lock(answers->mutex);
    answers->was_held.resize(keys.size());
    answers->open = keys.size() * sinks_.size();
    if (answers->open == 0) {
      control_.post([done = std::move(done)] { done(0); });
      return;
    }
  }
  for (const std::shared_ptr<Sink>& sink : sinks_) {
    sink->backend().submit_remove(
        keys, true, [this, answers, done](size_t item, const Result<bool>& was_held) {
          MutexLock lock(answers->mutex);
          if (was_held.has_value() && *was_held) answers->was_held[item] = true;
          if (--answers->open > 0) return;
          const auto held = std::count(answers->was_held.begin(), answers->was_held.end(), true);
          control_.post([done, held] { done(static_cast<size_t>(held)); });
        });
  }
}

void StorageManager::close(TimePoint deadline, std::function<void(bool)> on_closed) {
  struct Ends {
    size_t open = 0;
    std::function<void(bool)> on_closed;
  };
  auto ends = std::make_shared<Ends>();
  ends->open = sinks_.size() + 1;
  ends->on_closed = std::move(on_closed);
  const auto end = [this, ends] {
    control_.post([ends] {
      if (--ends->open == 0 && ends->on_closed) std::exchange(ends->on_closed, nullptr)(true);
    });
  };
  for (const std::shared_ptr<Sink>& sink : sinks_) sink->backend().close(end);
  control_.post_at(deadline, [ends] {
    if (ends->on_closed) std::exchange(ends->on_closed, nullptr)(false);
  });
  end();
}

StorageManagerStats StorageManager::stats() const {
  return {shared_fetches_.load(), promotions_.load()};
}

}  // namespace kvferry
