#pragma once

#include <utility>

#include "kvferry/chunk_record.h"

namespace kvferry {

/// A chunk of 32 tokens, one head, K and V of one layer, 4 KiB in all; its digests are for the
/// caller to fill in.
inline ChunkRecord small_chunk_record(CacheEngineKey key) {
  ChunkRecord record;
  record.key = std::move(key);
  record.token_end = 32;
  record.layout.dtype = DType::kU8;
  record.layout.heads = {.global_heads = 1, .begin = 0, .count = 1};
  record.layout.num_tokens = 32;
  for (const KVRole role : {KVRole::kKey, KVRole::kValue}) {
    ChunkPlane& plane = record.layout.planes.emplace_back();
    plane.role = role;
    plane.row_bytes = 64;
  }
  record.layout = place_planes(std::move(record.layout)).value();
  record.tile_digests.resize(static_cast<size_t>(record.layout.num_tiles()));
  return record;
}

}  // namespace kvferry
