#pragma once

#include "kvferry/cache_engine_key.h"
#include "kvferry/memory_obj.h"
#include "runtime/memory/memory_pool.h"

namespace kvferry {

struct BenchChunk {
  CacheEngineKey key;
  MemoryObjPtr obj;
};

/// Random bytes (a multiple of 16 KiB) with right digests; another key for each `number`.
BenchChunk make_bench_chunk(MemoryPool& pool, size_t bytes, uint64_t number);

}  // namespace kvferry
