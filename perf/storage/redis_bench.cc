#include <hiredis/hiredis.h>
#include <malloc.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "backends/remote/factory.h"
#include "backends/remote/redis_connection.h"
#include "core/remote_url.h"
#include "perf/benchmarks.h"
#include "perf/rounds.h"
#include "perf/storage/chunks.h"
#include "runtime/memory/memory_pool.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"
#include "runtime/thread_work_pool.h"
#include "workload/processes/server_process.h"

namespace kvferry {
namespace {

constexpr std::array<size_t, 3> kValueKib = {256, 1024, 4096};
constexpr size_t kKib = 1024;
constexpr size_t kDepth = RedisConnection::kWindow;  // of one connection

/// The store as the runtime has it.
class OurStore {
 public:
  OurStore(const std::string& url, int64_t connections, MemoryPool& pool)
      : executor_(ThreadExecutor::create("redis", clock_).value()),
        work_pool_(ThreadWorkPool::create("redis_work", 1).value()) {
    BackendContext context;
    context.name = "remote";
    context.executor = executor_.get();
    context.work_pool = work_pool_.get();
    context.allocator = &pool;
    RemoteOptions options;
    options.store = parse_remote_url(url).value();
    options.store.connections = connections;
    backend_ = make_remote_backend(context, options).value();
  }
  ~OurStore() {
    std::promise<void> closed;
    backend_->close([&closed] { closed.set_value(); });
    closed.get_future().wait();
  }

  bool put(const std::vector<BenchChunk>& chunks) {
    std::vector<CacheEngineKey> keys;
    std::vector<MemoryObjPtr> objs;
    for (const BenchChunk& chunk : chunks) {
      keys.push_back(chunk.key);
      objs.push_back(chunk.obj);
    }
    return wait_for(keys.size(), [&](const std::function<void(bool)>& end_one) {
      backend_->submit_put(keys, objs, {},
                           [end_one](size_t, const Status& status) { end_one(status.is_ok()); });
    });
  }

  /// With `check`: compared with what was put.
  bool get(const std::vector<BenchChunk>& chunks, bool check) {
    std::vector<CacheEngineKey> keys;
    keys.reserve(chunks.size());
    for (const BenchChunk& chunk : chunks) keys.push_back(chunk.key);
    return wait_for(keys.size(), [&](const std::function<void(bool)>& end_one) {
      backend_->submit_get(keys, {}, [&, end_one](size_t item, const Result<MemoryObjPtr>& obj) {
        end_one(obj.has_value() && *obj &&
                (!check || std::ranges::equal((*obj)->bytes(), chunks[item].obj->bytes())));
      });
    });
  }

 private:
  template <typename Submit>
  static bool wait_for(size_t count, Submit submit) {
    std::promise<void> done;
    std::atomic<size_t> left{count};
    std::atomic<bool> ok{true};
    submit([&](bool is_good) {
      if (!is_good) ok = false;
      if (left.fetch_sub(1) == 1) done.set_value();
    });
    done.get_future().wait();
    return ok;
  }

  const SteadyClock clock_;
  std::unique_ptr<ThreadExecutor> executor_;
  std::unique_ptr<ThreadWorkPool> work_pool_;
  std::unique_ptr<StorageBackend> backend_;
};

/// hiredis and nothing else: as many connections, as many commands unanswered on each; values come
/// from chunks and end in chunks.
class RawLoop {
 public:
  RawLoop(const RedisServer& server, bool is_unix, int64_t connections, MemoryPool& pool)
      : pool_(pool) {
    for (int64_t i = 0; i < connections; ++i) {
      contexts_.emplace_back(is_unix ? redisConnectUnix(server.socket_path().c_str())
                                     : redisConnect("127.0.0.1", server.port()));
    }
  }

  bool put(const std::vector<BenchChunk>& chunks) {
    return pipeline(
        chunks.size(),
        [&](redisContext* context, size_t item) {
          const std::string name = "raw:" + std::to_string(item);
          const auto bytes = chunks[item].obj->bytes();
          std::array<const char*, 3> words = {"SET", name.c_str(),
                                              reinterpret_cast<const char*>(bytes.data())};
          const std::array<size_t, 3> sizes = {3, name.size(), bytes.size()};
          return redisAppendCommandArgv(context, 3, words.data(), sizes.data()) == REDIS_OK;
        },
        [](const redisReply& reply, size_t) { return reply.type == REDIS_REPLY_STATUS; });
  }

  bool get(const std::vector<BenchChunk>& chunks, bool check) {
    return pipeline(
        chunks.size(),
        [](redisContext* context, size_t item) {
          return redisAppendCommand(context, "GET raw:%d", static_cast<int>(item)) == REDIS_OK;
        },
        [&](const redisReply& reply, size_t item) {
          const size_t bytes = chunks[item].obj->bytes().size();
          if (reply.type != REDIS_REPLY_STRING || reply.len != bytes) return false;
          const auto obj = pool_.allocate(bytes);
          if (!obj) return false;
          std::memcpy((*obj)->bytes().data(), reply.str, bytes);
          return !check || std::ranges::equal((*obj)->bytes(), chunks[item].obj->bytes());
        });
  }

 private:
  struct FreeContext {
    void operator()(redisContext* context) const { redisFree(context); }
  };
  struct FreeReply {
    void operator()(redisReply* reply) const { freeReplyObject(reply); }
  };

  /// One command at a time goes out, so that hiredis does not gather large ones in one buffer.
  template <typename Append>
  static bool send(redisContext* context, size_t item, Append append) {
    if (!append(context, item)) return false;
    int is_sent = 0;
    while (is_sent == 0) {
      if (redisBufferWrite(context, &is_sent) != REDIS_OK) return false;
    }
    return true;
  }

  template <typename Append, typename Take>
  bool pipeline(size_t count, Append append, Take take) {
    const size_t lanes = contexts_.size();
    const size_t ahead = std::min(count, kDepth * lanes);
    for (size_t item = 0; item < ahead; ++item) {
      if (!send(contexts_[item % lanes].get(), item, append)) return false;
    }
    for (size_t item = 0; item < count; ++item) {
      redisContext* const context = contexts_[item % lanes].get();
      void* answer = nullptr;
      if (redisGetReply(context, &answer) != REDIS_OK) return false;
      const std::unique_ptr<redisReply, FreeReply> reply(static_cast<redisReply*>(answer));
      if (!take(*reply, item)) return false;
      const size_t next = item + ahead;
      if (ahead == kDepth * lanes && next < count && !send(context, next, append)) return false;
    }
    return true;
  }

  MemoryPool& pool_;
  std::vector<std::unique_ptr<redisContext, FreeContext>> contexts_;
};

struct Case {
  size_t value_kib;
  int64_t connections;
  bool is_unix;
};

/// GB/s of `move`, which says whether all went well.
template <typename Move>
Contender rate_of(const SteadyClock& clock, double bytes, bool& ok, Move move) {
  return [&clock, &ok, bytes, move] {
    const TimePoint start = clock.now();
    ok = move() && ok;
    return bytes / 1e9 / std::chrono::duration<double>(clock.now() - start).count();
  };
}

void print(const char* op, const Case& which, const Spread& ours, const Spread& raw) {
  std::printf(
      "%s/%s/value_kib:%-4zu connections:%" PRId64
      " depth:%zu  ours %5.2f GB/s (%.2f to %.2f)  raw hiredis %5.2f GB/s (%.2f to %.2f)  ratio "
      "%.2f\n",
      op, which.is_unix ? "unix" : "tcp", which.value_kib, which.connections, kDepth, ours.median,
      ours.low, ours.high, raw.median, raw.low, raw.high, ours.median / raw.median);
}

bool bench(const RedisServer& server, const RedisBenchOptions& options, const Case& which) {
  const size_t bytes = which.value_kib * kKib;
  const size_t count = std::max<size_t>(options.mib * kKib / which.value_kib, 4);
  const auto in_flight = static_cast<size_t>(which.connections) * kDepth;
  const auto pool = MemoryPool::create({bytes, count + in_flight}).value();
  std::vector<BenchChunk> chunks;
  for (size_t i = 0; i < count; ++i) chunks.push_back(make_bench_chunk(*pool, bytes, i));
  OurStore ours(which.is_unix ? server.unix_url() : server.tcp_url(), which.connections, *pool);
  RawLoop raw(server, which.is_unix, which.connections, *pool);

  const SteadyClock clock;
  const auto total = static_cast<double>(count * bytes);
  bool ok = ours.put(chunks) && ours.get(chunks, true) && raw.put(chunks) && raw.get(chunks, true);
  if (ok) {
    const auto put =
        run_in_rounds(options.rounds, {rate_of(clock, total, ok, [&] { return ours.put(chunks); }),
                                       rate_of(clock, total, ok, [&] { return raw.put(chunks); })});
    const auto get = run_in_rounds(
        options.rounds, {rate_of(clock, total, ok, [&] { return ours.get(chunks, false); }),
                         rate_of(clock, total, ok, [&] { return raw.get(chunks, false); })});
    ok = ok && ours.get(chunks, true) && raw.get(chunks, true);
    if (ok) {
      print("put", which, put[0], put[1]);
      print("get", which, get[0], get[1]);
    }
  }
  if (!ok) std::fprintf(stderr, "kvferry-bench: redis: wrong or missing values\n");
  server.command({"FLUSHALL"});
  return ok;
}

}  // namespace

int run_redis_bench(const RedisBenchOptions& options) {
  const auto server = RedisServer::start();
  if (server == nullptr) {
    std::printf("redis: no redis-server here; scripts/setup test installs it\n");
    return 0;
  }
  // hiredis takes memory for each value: at its best when that is not new to the process.
  ::mallopt(M_MMAP_THRESHOLD, 1 << 30);
  ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
  print_machine();
  std::printf("redis: %zu MiB each time, medians of %d rounds\n", options.mib, options.rounds);
  bool ok = true;
  for (const bool is_unix : {true, false}) {
    for (const size_t value_kib : kValueKib) {
      ok = ok && bench(*server, options, {value_kib, options.connections, is_unix});
    }
  }
  return ok ? 0 : 1;
}

}  // namespace kvferry
