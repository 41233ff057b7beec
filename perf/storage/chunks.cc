#include "perf/storage/chunks.h"

#include <algorithm>
#include <functional>
#include <random>

#include "kvferry/chunk_record.h"

namespace kvferry {
namespace {

constexpr int64_t kTokens = 256;
// As models have them: small chunks are of few layers, not of narrow ones.
constexpr size_t kLayerBytes = size_t{512} << 10;
constexpr size_t kMaxLayers = 32;

}  // namespace

BenchChunk make_bench_chunk(MemoryPool& pool, size_t bytes, uint64_t number) {
  const size_t layers = std::clamp<size_t>(bytes / kLayerBytes, 1, kMaxLayers);
  BenchChunk chunk;
  chunk.key.model = "bench";
  chunk.key.dtype = DType::kBF16;
  std::mt19937_64 random(number + 1);
  for (uint8_t& byte : chunk.key.chunk_hash.bytes) byte = static_cast<uint8_t>(random());
  chunk.obj = pool.allocate(bytes).value();
  MemoryObj& obj = *chunk.obj;
  obj.layout.dtype = DType::kBF16;
  obj.layout.format = MemoryFormat::kKvL2TD;
  obj.layout.heads = {8, 0, 8};
  obj.layout.num_tokens = obj.token_end = kTokens;
  for (size_t layer = 0; layer < layers; ++layer) {
    const auto row_bytes = static_cast<int64_t>(bytes / (2 * layers * kTokens));
    obj.layout.planes.push_back({0, static_cast<int32_t>(layer), KVRole::kKey, row_bytes});
    obj.layout.planes.push_back({0, static_cast<int32_t>(layer), KVRole::kValue, row_bytes});
  }
  obj.layout = place_planes(obj.layout).value();
  auto* const words = reinterpret_cast<uint64_t*>(obj.bytes().data());
  std::generate_n(words, bytes / sizeof(uint64_t), std::ref(random));
  obj.tile_digests.resize(static_cast<size_t>(obj.layout.num_tiles()));
  compute_tile_digests(obj.layout, obj.bytes(), 0, 2 * layers, obj.tile_digests)
      .ignore("the sizes are the layout's");
  obj.chunk_digest = bound_chunk_digest(make_chunk_record(chunk.key, obj));
  return chunk;
}

}  // namespace kvferry
