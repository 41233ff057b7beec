#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "backends/local_cpu/factory.h"
#include "perf/benchmarks.h"
#include "runtime/memory/memory_pool.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"
#include "runtime/thread_work_pool.h"

namespace kvferry {
namespace {

constexpr size_t kKeys = 4096;
constexpr size_t kChunkBytes = 4096;

std::vector<CacheEngineKey> make_keys() {
  std::mt19937_64 random(1);
  std::vector<CacheEngineKey> keys(kKeys);
  for (CacheEngineKey& key : keys) {
    key.model = "meta-llama/Llama-3.1-8B-Instruct";
    std::generate(key.chunk_hash.bytes.begin(), key.chunk_hash.bytes.end(),
                  [&random] { return static_cast<uint8_t>(random()); });
  }
  return keys;
}

/// Median and median deviation of `rounds` calls, in microseconds.
template <typename Call>
void report(const SteadyClock& clock, const char* name, int rounds, double per, Call call) {
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    const TimePoint begin = clock.now();
    call();
    times.push_back(std::chrono::duration<double, std::micro>(clock.now() - begin).count() / per);
  }
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  const double median = *middle;
  for (double& time : times) time = std::abs(time - median);
  std::nth_element(times.begin(), middle, times.end());
  std::printf("  %-44s %10.3f us  +- %.3f\n", name, median, *middle);
}

}  // namespace

int run_local_cpu_bench(int rounds) {
  const SteadyClock clock;
  const auto executor = ThreadExecutor::create("bench", clock).value();
  const auto workers = ThreadWorkPool::create("bench", 1).value();
  const auto pool = MemoryPool::create({.slot_bytes = kChunkBytes, .num_slots = kKeys + 1}).value();
  BackendContext context;
  context.name = "local_cpu";
  context.executor = executor.get();
  context.work_pool = workers.get();
  context.allocator = pool.get();
  const auto cache =
      make_local_cpu_backend(context, {.max_bytes = pool->bytes(), .typical_chunk_bytes = 0})
          .value();
  const std::vector<CacheEngineKey> keys = make_keys();
  std::unordered_map<CacheEngineKey, MemoryObjPtr> bare;
  for (const CacheEngineKey& key : keys) {
    const MemoryObjPtr obj = pool->allocate(kChunkBytes).value();
    obj->set_verified(true);
    cache->batched_submit_put_task({&key, 1}, {&obj, 1});
    bare.emplace(key, obj);
  }
  if (cache->batched_contains(keys) != kKeys || !cache->get_blocking(keys[7])) {
    std::printf("local_cpu does not hold what was put; nothing was measured\n");
    return 1;
  }

  std::printf("local_cpu, %zu chunks, median of %d\n", kKeys, rounds);
  size_t sink = 0;
  report(clock, "contains/local_cpu/batched_contains/keys:4096", rounds, 1,
         [&] { sink += cache->batched_contains(keys); });
  report(clock, "contains/bare_unordered_map/keys:4096", rounds, 1, [&] {
    for (const CacheEngineKey& key : keys) sink += bare.count(key);
  });
  const auto get_all = [&](auto get) {
    return [&, get] {
      for (size_t i = 0; i < kKeys; ++i) sink += get(keys[i * 2654435761U % kKeys]);
    };
  };
  const auto per = static_cast<double>(kKeys);
  report(clock, "get/local_cpu/submit_get/held", rounds, per, get_all([&](const auto& key) {
           size_t bytes = 0;
           cache->submit_get({&key, 1}, {}, [&bytes](size_t, const Result<MemoryObjPtr>& obj) {
             bytes = (*obj)->bytes().size();
           });
           return bytes;
         }));
  report(clock, "get/local_cpu/get_blocking/held", rounds, per,
         get_all([&](const auto& key) { return cache->get_blocking(key)->bytes().size(); }));
  report(clock, "get/bare_unordered_map/held", rounds, per,
         get_all([&](const auto& key) { return bare.find(key)->second->bytes().size(); }));
  if (cache->batched_contains(keys) != kKeys || sink == 0) return 1;
  bare.clear();
  cache->close([] {});
  return 0;
}

}  // namespace kvferry
