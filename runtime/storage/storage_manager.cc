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

/// One read, and all who wait for it: the first one asked for it; those who came later look for
/// themselves should it bring nothing, as the chunk may have come since, and as they may have more
/// time.
struct StorageManager::SharedFetch {
  CacheEngineKey key;
  FetchPriority priority = FetchPriority::kForeground;  // of the most urgent
  std::vector<ChunkWaitPtr> waits;
  size_t sink = 0;
  uint64_t removals = 0;
  SinkTicketPtr ticket;
};

class ChunkWait {
 public:
  ChunkRequest request;
  std::function<void(FetchedChunk)> done;  // empty when it is over
  std::weak_ptr<StorageManager::SharedFetch> fetch;
};

ChunkWaitPtr StorageManager::fetch(const ChunkRequest& request, size_t first_sink,
                                   std::function<void(FetchedChunk)> done) {
  auto wait = std::make_shared<ChunkWait>();
  wait->request = request;
  wait->done = std::move(done);
  // Who starts past the first sink has seen what the sinks before gave: that is another fetch.
  const bool is_shared = first_sink == 0;
  const auto found = fetches_.find(request.key);
  if (!is_shared || found == fetches_.end()) {
    return begin_fetch(std::move(wait), first_sink, is_shared);
  }
  const std::shared_ptr<SharedFetch>& fetch = found->second;
  shared_fetches_.fetch_add(1);
  wait->fetch = fetch;
  fetch->waits.push_back(wait);
  if (request.priority < fetch->priority) {
    fetch->priority = request.priority;
    if (fetch->ticket) sinks_[fetch->sink]->raise(fetch->ticket, request.priority);
  }
  return wait;
}

ChunkWaitPtr StorageManager::begin_fetch(ChunkWaitPtr wait, size_t first_sink, bool is_shared) {
  auto fetch = std::make_shared<SharedFetch>();
  fetch->key = wait->request.key;
  fetch->priority = wait->request.priority;
  fetch->sink = first_sink;
  fetch->removals = removals_;
  fetch->waits.push_back(wait);
  wait->fetch = fetch;
  if (is_shared) fetches_.emplace(fetch->key, fetch);
  try_next_sink(fetch);
  return wait;
}

void StorageManager::try_next_sink(const std::shared_ptr<SharedFetch>& fetch) {
  if (fetch->sink >= sinks_.size()) {
    control_.post([this, fetch] { end_fetch(fetch, {}); });
    return;
  }
  const ChunkRequest& request = fetch->waits.front()->request;
  // One that hangs must leave time for those after it.
  const bool is_last = fetch->sink + 1 == sinks_.size();
  const TimePoint deadline =
      is_last ? request.deadline : halfway_to(request.deadline, control_.clock().now());
  fetch->ticket = sinks_[fetch->sink]->get(
      fetch->key, request.size_bytes, fetch->priority, deadline,
      [this, fetch](Result<MemoryObjPtr> obj) { on_given(fetch, std::move(obj)); });
}

void StorageManager::on_given(const std::shared_ptr<SharedFetch>& fetch, Result<MemoryObjPtr> obj) {
  fetch->ticket.reset();
  if (obj.has_value() && obj.value()) {
    end_fetch(fetch, {.obj = std::move(obj).value(), .sink = fetch->sink});
    return;
  }
  // Torn or foreign: it must not be looked at again.
  if (!obj.has_value() && obj.error().code() == StatusCode::kDataLoss) {
    sinks_[fetch->sink]->discard(fetch->key);
  }
  const bool is_wanted =
      std::any_of(fetch->waits.begin(), fetch->waits.end(),
                  [](const ChunkWaitPtr& wait) { return wait->done != nullptr; });
  if (!is_wanted) {
    end_fetch(fetch, {});
    return;
  }
  ++fetch->sink;
  try_next_sink(fetch);
}

void StorageManager::end_fetch(const std::shared_ptr<SharedFetch>& fetch, FetchedChunk chunk) {
  const auto found = fetches_.find(fetch->key);
  if (found != fetches_.end() && found->second == fetch) fetches_.erase(found);
  chunk.removals = fetch->removals;
  const std::vector<ChunkWaitPtr> waits = std::exchange(fetch->waits, {});
  for (const ChunkWaitPtr& wait : waits) {
    const bool is_first = wait == waits.front();
    if (!wait->done) continue;
    if (chunk.obj || is_first || wait->request.deadline <= control_.clock().now()) {
      std::exchange(wait->done, nullptr)(chunk);
    } else {
      begin_fetch(wait, 0, false);
    }
  }
}

void StorageManager::withdraw(const ChunkWaitPtr& wait) {
  if (!wait->done) return;
  wait->done = nullptr;
  const std::shared_ptr<SharedFetch> fetch = wait->fetch.lock();
  if (!fetch || !fetch->ticket) return;
  const bool is_wanted =
      std::any_of(fetch->waits.begin(), fetch->waits.end(),
                  [](const ChunkWaitPtr& each) { return each->done != nullptr; });
  if (!is_wanted) sinks_[fetch->sink]->withdraw(SinkTicketPtr(fetch->ticket));
}

void StorageManager::promote(const CacheEngineKey& key, const FetchedChunk& chunk,
                             std::function<void(Status)> done) {
  const std::optional<size_t> memory = memory_sink();
  Status why_not;
  if (open_removals_ > 0 || chunk.removals != removals_) {
    why_not = Status(StatusCode::kCancelled, "chunks were removed since it was read");
  } else if (memory.has_value() && *memory < chunk.sink) {
    put(*memory, key, chunk.obj, [this, done = std::move(done)](Status status) {
      if (status.is_ok()) promotions_.fetch_add(1);  // else it stays where it came from
      if (done) done(std::move(status));
    });
    return;
  }
  if (!done) {
    why_not.ignore("nobody asked");
    return;
  }
  control_.post([done = std::move(done), why_not = std::move(why_not)] { done(why_not); });
}

// ---- into them

void StorageManager::put(size_t sink, const CacheEngineKey& key, const MemoryObjPtr& obj,
                         std::function<void(Status)> done) {
  ++puts_[key].count;
  sinks_[sink]->put(key, obj, [this, key, done = std::move(done)](Status status) {
    const auto found = puts_.find(key);
    if (--found->second.count == 0) {
      const OpenPuts none = std::move(found->second);
      puts_.erase(found);
      for (const auto& on_none : none.on_none) on_none();
    }
    done(std::move(status));
  });
}

void StorageManager::store(const CacheEngineKey& key, const MemoryObjPtr& obj,
                           const std::vector<bool>& into,
                           const std::function<void(size_t sink, Status)>& done) {
  for (size_t i = 0; i < sinks_.size(); ++i) {
    if (into[i]) put(i, key, obj, [done, i](Status status) { done(i, std::move(status)); });
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
  answers->done = std::move(done);
  std::vector<size_t> asked;
  for (size_t i = 0; i < sinks_.size(); ++i) {
    if (sinks_[i]->backend().traits().takes_puts) asked.push_back(i);
  }
  answers->open = asked.size();
  if (asked.empty()) {
    control_.post([answers] { answers->done(std::move(answers->missing)); });
    return;
  }
  for (const size_t i : asked) {
    const auto note = [answers, i](const std::vector<Holding>& holdings) {
      for (size_t k = 0; k < holdings.size(); ++k) {
        answers->missing.by_key[k][i] = holdings[k] == Holding::kMissing;
        if (holdings[k] == Holding::kUnknown) answers->missing.is_certain = false;
      }
      if (--answers->open == 0) answers->done(std::move(answers->missing));
    };
    sinks_[i]->questions().contains(keys, ContainsIntent::kPut, deadline, note);
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
  sinks_[sink]->questions().contains(
      std::move(missing), ContainsIntent::kGet, share,
      [this, keys, deadline, sink, asked = std::move(asked), search = std::move(search),
       done = std::move(done)](const std::vector<Holding>& holdings) mutable {
        for (size_t i = 0; i < holdings.size(); ++i) {
          if (holdings[i] == Holding::kHeld) search.sinks[asked[i]] = sink;
        }
        ask_next_sink(keys, std::move(search), deadline, std::move(done));
      });
}

// ---- ends

void StorageManager::remove(const std::vector<CacheEngineKey>& keys,
                            std::function<void(Removal)> done) {
  ++removals_;
  ++open_removals_;
  std::vector<CacheEngineKey> quiet;
  struct Busy {
    std::vector<CacheEngineKey> keys;
    size_t open = 0;
    Removal removal;
    std::function<void(Removal)> done;
  };
  auto busy = std::make_shared<Busy>();
  for (const CacheEngineKey& key : keys) {
    (puts_.contains(key) ? busy->keys : quiet).push_back(key);
  }
  busy->open = busy->keys.size() + 1;
  busy->done = std::move(done);
  const auto end_one = [this, busy] {
    if (--busy->open > 0) return;
    remove_now(busy->keys, [this, busy](Removal removal) {
      ++removals_;
      --open_removals_;
      std::vector<bool>& were_held = busy->removal.were_held;
      were_held.insert(were_held.end(), removal.were_held.begin(), removal.were_held.end());
      if (busy->removal.status.is_ok()) busy->removal.status = std::move(removal.status);
      busy->done(std::move(busy->removal));
    });
  };
  for (const CacheEngineKey& key : busy->keys) puts_[key].on_none.emplace_back(end_one);
  remove_now(quiet, [busy, end_one](Removal removal) {
    busy->removal = std::move(removal);
    end_one();
  });
}

void StorageManager::remove_now(const std::vector<CacheEngineKey>& keys,
                                std::function<void(Removal)> done) {
  struct Answers {
    Removal removal;
    size_t open = 0;
    std::function<void(Removal)> done;
  };
  auto answers = std::make_shared<Answers>();
  answers->removal.were_held.resize(keys.size());
  answers->open = sinks_.size();
  answers->done = std::move(done);
  if (sinks_.empty()) control_.post([answers] { answers->done(std::move(answers->removal)); });
  for (const std::shared_ptr<Sink>& sink : sinks_) {
    sink->questions().remove(keys, [answers](const Removal& removal) {
      Removal& all = answers->removal;
      for (size_t i = 0; i < removal.were_held.size(); ++i) {
        if (removal.were_held[i]) all.were_held[i] = true;
      }
      if (all.status.is_ok()) all.status = removal.status;
      if (--answers->open == 0) answers->done(std::move(all));
    });
  }
}

StorageManagerStats StorageManager::stats() const {
  return {shared_fetches_.load(), promotions_.load()};
}

}  // namespace kvferry
