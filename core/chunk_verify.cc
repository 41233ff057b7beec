#include <algorithm>
#include <string>

#include "kvferry/chunk_record.h"

namespace kvferry {
namespace {

Status bad_chunk(const CacheEngineKey& key, const std::string& what) {
  return Status(StatusCode::kDataLoss, "chunk " + key.to_string() + ": " + what);
}

}  // namespace

ChunkRecord make_chunk_record(const CacheEngineKey& key, const MemoryObj& obj,
                              uint64_t generation) {
  ChunkRecord record;
  record.key = key;
  record.token_begin = obj.token_begin;
  record.token_end = obj.token_end;
  record.generation = generation;
  record.layout = obj.layout;
  record.tile_digests = obj.tile_digests;
  record.chunk_digest = obj.chunk_digest;
  return record;
}

Status apply_chunk_record(ChunkRecord record, const CacheEngineKey& expected, MemoryObj& obj) {
  if (record.key != expected) {
    return bad_chunk(expected, "the record found for it is of " + record.key.to_string());
  }
  if (static_cast<size_t>(record.layout.size_bytes) != obj.bytes().size()) {
    return bad_chunk(expected, "the record says " + std::to_string(record.layout.size_bytes) +
                                   " bytes, there are " + std::to_string(obj.bytes().size()));
  }
  obj.layout = std::move(record.layout);
  obj.token_begin = record.token_begin;
  obj.token_end = record.token_end;
  obj.tile_digests = std::move(record.tile_digests);
  obj.chunk_digest = record.chunk_digest;
  obj.set_verified(false);
  return {};
}

Status verify_chunk(const CacheEngineKey& key, MemoryObj& obj) {
  if (obj.is_verified()) return {};
  const auto num_tiles = static_cast<size_t>(obj.layout.num_tiles());
  if (obj.tile_digests.size() != num_tiles) {
    return bad_chunk(key, std::to_string(obj.tile_digests.size()) + " digests for " +
                              std::to_string(num_tiles) + " tiles");
  }
  if (bound_chunk_digest(make_chunk_record(key, obj)) != obj.chunk_digest) {
    return bad_chunk(key, "its digest is of another chunk, token range or layout");
  }
  std::vector<uint64_t> found(num_tiles);
  KVFERRY_RETURN_IF_ERROR(compute_tile_digests(
      obj.layout, obj.bytes(), 0, static_cast<int32_t>(obj.layout.planes.size()), found));
  const auto [wrong, expected] =
      std::mismatch(found.begin(), found.end(), obj.tile_digests.begin());
  if (wrong != found.end()) {
    return bad_chunk(key, "tile " + std::to_string(wrong - found.begin()) +
                              " has other bytes than its digest says");
  }
  obj.set_verified(true);
  return {};
}

}  // namespace kvferry
