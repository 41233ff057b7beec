#pragma once

#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kvferry/chunk_record.h"
#include "kvferry/mutex.h"
#include "kvferry/storage_backend.h"

namespace kvferry {

/// A store whose faults a test decides on: copies of chunks in ordinary memory, answered on the
/// context's work pool.
///
/// Threads: any thread.
class ScriptedBackend final : public StorageBackend {
 public:
  explicit ScriptedBackend(BackendContext context, BackendTraits traits = {.pins = false})
      : StorageBackend(std::move(context), traits) {}

  std::atomic<bool> holds_gets{false};    ///< gets wait for release_held()
  std::atomic<bool> answers_late{false};  ///< gets that are held have read what they give
  std::atomic<bool> holds_puts{false};
  std::atomic<bool> holds_removes{false};
  std::atomic<bool> holds_contains{false};
  std::atomic<bool> fails_gets{false};
  std::atomic<bool> fails_puts{false};
  std::atomic<bool> fails_contains{false};
  std::atomic<bool> fails_removes{false};
  std::atomic<int> gets{0};
  std::atomic<int> puts{0};

  /// Everything held goes on; nothing is held any more.
  void release_held() {
    holds_gets = false;
    holds_puts = false;
    holds_removes = false;
    holds_contains = false;
    std::vector<std::function<void()>> tasks;
    {
      MutexLock lock(mutex_);
      tasks.swap(held_);
    }
    for (auto& task : tasks) context().work_pool->submit(std::move(task));
  }
  size_t num_held() {
    MutexLock lock(mutex_);
    return held_.size();
  }

  bool has(const CacheEngineKey& key) {
    MutexLock lock(mutex_);
    return chunks_.contains(key);
  }
  size_t size() {
    MutexLock lock(mutex_);
    return chunks_.size();
  }
  void erase(const CacheEngineKey& key) {
    MutexLock lock(mutex_);
    chunks_.erase(key);
  }
  /// Flips a bit of a chunk that is there.
  void corrupt(const CacheEngineKey& key, size_t byte) {
    MutexLock lock(mutex_);
    chunks_.at(key).bytes.at(byte) ^= std::byte{1};
  }
  /// Serves `other`'s record and bytes in place of those of `key`.
  void exchange(const CacheEngineKey& key, const CacheEngineKey& other) {
    MutexLock lock(mutex_);
    chunks_.at(key) = chunks_.at(other);
  }

 protected:
  void do_contains(std::span<const CacheEngineKey> keys, ContainsDone done) override {
    for (size_t i = 0; i < keys.size(); ++i) {
      const auto answer = [this, i, done, key = keys[i]] {
        if (fails_contains) {
          done(i, make_error(StatusCode::kUnavailable, "scripted"));
        } else {
          done(i, has(key));
        }
      };
      holds_contains ? run(holds_contains, answer) : answer();
    }
  }

  void do_put(std::span<const CacheEngineKey> keys, std::span<const MemoryObjPtr> objs,
              const TransferSpec&, PutDone done) override {
    for (size_t i = 0; i < keys.size(); ++i) {
      ++puts;
      run(holds_puts, [this, i, done, key = keys[i], obj = objs[i]] {
        if (fails_puts) {
          done(i, Status(StatusCode::kUnavailable, "scripted"));
          return;
        }
        Chunk chunk{make_chunk_record(key, *obj), {}};
        chunk.bytes.assign(obj->bytes().begin(), obj->bytes().end());
        {
          MutexLock lock(mutex_);
          chunks_[key] = std::move(chunk);
        }
        done(i, Status());
      });
    }
  }

  void do_get(std::span<const CacheEngineKey> keys, const GetOptions&, GetDone done) override {
    for (size_t i = 0; i < keys.size(); ++i) {
      ++gets;
      if (answers_late) {
        run(holds_gets, [i, done, obj = read(keys[i])] { done(i, obj); });
        continue;
      }
      run(holds_gets, [this, i, done, key = keys[i]] {
        if (fails_gets) {
          done(i, make_error(StatusCode::kUnavailable, "scripted"));
        } else {
          done(i, read(key));
        }
      });
    }
  }

  void do_remove(std::span<const CacheEngineKey> keys, bool, RemoveDone done) override {
    for (size_t i = 0; i < keys.size(); ++i) {
      const auto remove = [this, i, done, key = keys[i]] {
        bool was_held = false;
        {
          MutexLock lock(mutex_);
          was_held = chunks_.erase(key) > 0;
        }
        done(i, was_held);
      };
      if (fails_removes) {
        done(i, make_error(StatusCode::kUnavailable, "scripted"));
        continue;
      }
      holds_removes ? run(holds_removes, remove) : remove();
    }
  }

  void do_close(std::function<void()> on_closed) override {
    release_held();
    on_closed();
  }

 private:
  struct Chunk {
    ChunkRecord record;
    std::vector<std::byte> bytes;
  };

  void run(const std::atomic<bool>& is_held, std::function<void()> task) {
    if (!is_held) {
      context().work_pool->submit(std::move(task));
      return;
    }
    MutexLock lock(mutex_);
    held_.push_back(std::move(task));
  }

  Result<MemoryObjPtr> read(const CacheEngineKey& key) {
    Chunk chunk;
    {
      MutexLock lock(mutex_);
      const auto found = chunks_.find(key);
      if (found == chunks_.end()) return MemoryObjPtr();
      chunk = found->second;
    }
    KVFERRY_ASSIGN_OR_RETURN(MemoryObjPtr obj, context().allocator->allocate(chunk.bytes.size()));
    std::memcpy(obj->bytes().data(), chunk.bytes.data(), chunk.bytes.size());
    KVFERRY_RETURN_IF_ERROR(apply_chunk_record(std::move(chunk.record), key, *obj));
    return obj;
  }

  Mutex mutex_;
  std::unordered_map<CacheEngineKey, Chunk> chunks_ KVFERRY_GUARDED_BY(mutex_);
  std::vector<std::function<void()>> held_ KVFERRY_GUARDED_BY(mutex_);
};

}  // namespace kvferry
