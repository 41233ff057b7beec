#include "conformance/backend_contract_chunks.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "conformance/expect.h"

namespace kvferry {
namespace {

// A version has its own range of tokens, so that an object tells which one it is.
constexpr int64_t kVersionTokens = 4096;

struct Shape {
  MemoryFormat format;
  int32_t num_layers;
  int64_t num_tokens;
  int64_t key_row_bytes;
  int64_t value_row_bytes;  ///< 0: latents
};

constexpr std::array<Shape, 8> kShapes = {{
    {MemoryFormat::kKvL2TD, 4, 256, 256, 256},
    {MemoryFormat::kKv2LTD, 2, 256, 64, 64},
    {MemoryFormat::kKv2TD, 1, 20, 128, 128},
    {MemoryFormat::kKvT2D, 1, 17, 100, 100},
    {MemoryFormat::kKvMla, 3, 64, 1152, 0},
    {MemoryFormat::kKvL2TD, 1, 1, 96, 64},
    {MemoryFormat::kKvL2TD, 2, 16, 2, 2},
    {MemoryFormat::kKvL2TD, 8, 128, 512, 512},
}};

uint64_t mix(uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27U)) * 0x94d049bb133111eb;
  return x ^ (x >> 31U);
}

ChunkLayout layout_of(const Shape& shape) {
  ChunkLayout layout;
  layout.dtype = DType::kU8;
  layout.format = shape.format;
  layout.heads = {.global_heads = 8, .begin = 0, .count = 1};
  layout.num_tokens = shape.num_tokens;
  for (int32_t layer = 0; layer < shape.num_layers; ++layer) {
    const bool is_latent = shape.value_row_bytes == 0;
    ChunkPlane plane;
    plane.layer = layer;
    plane.role = is_latent ? KVRole::kLatent : KVRole::kKey;
    plane.row_bytes = shape.key_row_bytes;
    layout.planes.push_back(plane);
    if (is_latent) continue;
    plane.role = KVRole::kValue;
    plane.row_bytes = shape.value_row_bytes;
    layout.planes.push_back(plane);
  }
  return place_planes(std::move(layout)).value();
}

const Shape& shape_of(int number, int version) {
  return kShapes.at(static_cast<size_t>(number + 3 * version) % kShapes.size());
}

std::string chunk_name(const ContractChunk& chunk) {
  return "chunk " + std::to_string(chunk.number) + ", version " + std::to_string(chunk.version);
}

Status expect_bytes(const ContractChunk& chunk, std::span<const std::byte> found) {
  if (chunk.bytes.size() == found.size() &&
      std::memcmp(chunk.bytes.data(), found.data(), found.size()) == 0) {
    return {};
  }
  const auto [expected, wrong] = std::ranges::mismatch(chunk.bytes, found);
  return contract_broken(chunk_name(chunk) + ": byte " + std::to_string(wrong - found.begin()) +
                         " of " + std::to_string(found.size()) + " is " +
                         std::to_string(std::to_integer<int>(*wrong)) + ", but " +
                         std::to_string(std::to_integer<int>(*expected)) +
                         " was put (219 is what memory is filled with once it was given back)");
}

}  // namespace

CacheEngineKey contract_key(int number) {
  CacheEngineKey key;
  key.model = "contract/model-7b";  // names of models have slashes
  key.world_size = 4;
  key.worker_id = number % 4;
  key.dtype = DType::kU8;
  for (size_t i = 0; i < key.chunk_hash.bytes.size(); i += sizeof(uint64_t)) {
    const uint64_t word = mix(static_cast<uint64_t>(number) * 4 + i / sizeof(uint64_t));
    std::memcpy(&key.chunk_hash.bytes.at(i), &word, sizeof(word));
  }
  if (number % 3 == 0) key.tags = {{"adapter", "a-" + std::to_string(number)}, {"tenant", "x/y"}};
  return key;
}

std::vector<CacheEngineKey> contract_keys(const std::vector<int>& numbers) {
  std::vector<CacheEngineKey> keys;
  keys.reserve(numbers.size());
  for (const int number : numbers) keys.push_back(contract_key(number));
  return keys;
}

size_t contract_chunk_bytes(int number, int version) {
  return static_cast<size_t>(layout_of(shape_of(number, version)).size_bytes);
}

ContractChunk make_contract_chunk(int number, int version) {
  ContractChunk chunk{.number = number, .version = version, .record = {}, .bytes = {}};
  chunk.record.layout = layout_of(shape_of(number, version));
  const ChunkLayout& layout = chunk.record.layout;
  chunk.record.key = contract_key(number);
  chunk.record.token_begin = version * kVersionTokens;
  chunk.record.token_end = chunk.record.token_begin + layout.num_tokens;
  chunk.bytes.resize(static_cast<size_t>(layout.size_bytes));
  const uint64_t seed =
      mix(static_cast<uint64_t>(number) * 1000003 + static_cast<uint64_t>(version));
  for (size_t i = 0; i < chunk.bytes.size(); i += sizeof(uint64_t)) {
    const uint64_t word = mix(seed + i);
    std::memcpy(&chunk.bytes[i], &word, std::min(sizeof(word), chunk.bytes.size() - i));
  }
  chunk.record.tile_digests.resize(static_cast<size_t>(layout.num_tiles()));
  compute_tile_digests(layout, chunk.bytes, 0, static_cast<int32_t>(layout.planes.size()),
                       chunk.record.tile_digests)
      .ignore("all sizes follow from the layout");
  chunk.record.chunk_digest = bound_chunk_digest(chunk.record);
  return chunk;
}

void fill_object(const ContractChunk& chunk, MemoryObj& obj) {
  obj.resize(chunk.bytes.size());
  std::memcpy(obj.bytes().data(), chunk.bytes.data(), chunk.bytes.size());
  obj.layout = chunk.record.layout;
  obj.token_begin = chunk.record.token_begin;
  obj.token_end = chunk.record.token_end;
  obj.tile_digests = chunk.record.tile_digests;
  obj.chunk_digest = chunk.record.chunk_digest;
  obj.set_verified(true);
}

int version_in(const MemoryObj& obj) { return static_cast<int>(obj.token_begin / kVersionTokens); }

Status expect_chunk(const ContractChunk& chunk, const MemoryObj& obj) {
  const std::string name = chunk_name(chunk);
  KVFERRY_RETURN_IF_ERROR(
      expect(obj.bytes().size() == chunk.bytes.size() || version_in(obj) != chunk.version,
             name + ": a get gave " + std::to_string(obj.bytes().size()) + " bytes, but " +
                 std::to_string(chunk.bytes.size()) + " were put"));
  KVFERRY_RETURN_IF_ERROR(expect(
      version_in(obj) == chunk.version,
      name + ": a get gave version " + std::to_string(version_in(obj)) + ", which is stale"));
  KVFERRY_RETURN_IF_ERROR(expect(
      obj.token_begin == chunk.record.token_begin && obj.token_end == chunk.record.token_end,
      name + ": a get gave tokens [" + std::to_string(obj.token_begin) + ", " +
          std::to_string(obj.token_end) + "), but [" + std::to_string(chunk.record.token_begin) +
          ", " + std::to_string(chunk.record.token_end) + ") were put"));
  KVFERRY_RETURN_IF_ERROR(
      expect(obj.layout == chunk.record.layout, name + ": a get gave another layout than was put"));
  KVFERRY_RETURN_IF_ERROR(expect(obj.tile_digests == chunk.record.tile_digests,
                                 name + ": a get gave other tile digests than were put"));
  KVFERRY_RETURN_IF_ERROR(expect(obj.chunk_digest == chunk.record.chunk_digest,
                                 name + ": a get gave another chunk_digest than was put"));
  return expect_bytes(chunk, obj.bytes());
}

}  // namespace kvferry
