#include "workload/engine/prompt_cache.h"

#include <algorithm>
#include <utility>

#include "kvferry/slot_mapping.h"

namespace kvferry {

std::vector<ChunkRef> chunks_of_prompt(const ModelShape& model, const ChunkHasher& hasher,
                                       std::span<const uint32_t> tokens) {
  const int64_t chunk_tokens = hasher.options().chunk_tokens;
  const auto num_tokens = static_cast<int64_t>(tokens.size());
  std::vector<ChunkRef> chunks;
  for (const ChunkHash& hash : hasher.hash(tokens)) {
    ChunkRef ref;
    ref.key.model = model.name;
    ref.key.chunk_hash = hash;
    ref.key.dtype = model.dtype;
    ref.token_begin = static_cast<int64_t>(chunks.size()) * chunk_tokens;
    ref.token_end = std::min(num_tokens, ref.token_begin + chunk_tokens);
    chunks.push_back(std::move(ref));
  }
  return chunks;
}

PromptCache::PromptCache(PagedKVCache cache)
    : cache_(std::move(cache)), held_(cache_.num_blocks()) {}

int64_t PromptCache::max_prompt_tokens(int64_t chunk_tokens) const {
  return cache_.num_blocks() / cache_.blocks_for(chunk_tokens) * chunk_tokens;
}

Result<std::vector<int64_t>> PromptCache::slots_of(const ChunkRef& ref,
                                                   std::span<const int64_t> blocks) const {
  return slots_from_block_table(blocks, cache_.model().block_tokens, 0, ref.num_tokens());
}

Result<std::vector<int64_t>> PromptCache::reserve(int64_t num_blocks) {
  while (cache_.free_blocks() < num_blocks) {
    auto evicted = held_.evict_one();
    if (!evicted) break;
    KVFERRY_RETURN_IF_ERROR(cache_.free(evicted->blocks));
    evicted_.insert(std::move(evicted->key));
  }
  return cache_.allocate(num_blocks);
}

Result<PromptChunk> PromptCache::open_chunk(const ChunkRef& ref) {
  PromptChunk chunk;
  chunk.ref = ref;
  if (const std::vector<int64_t>* blocks = held_.find(ref.key)) {
    chunk.blocks = *blocks;
    chunk.is_held = true;
  } else {
    KVFERRY_ASSIGN_OR_RETURN(chunk.blocks, reserve(cache_.blocks_for(ref.num_tokens())));
  }
  KVFERRY_ASSIGN_OR_RETURN(chunk.slots, slots_of(ref, chunk.blocks));
  return chunk;
}

Result<std::vector<PromptChunk>> PromptCache::open_prompt(std::span<const ChunkRef> chunks) {
  // What is held is pinned first, so that room for the rest is not made of it.
  for (const ChunkRef& ref : chunks) {
    if (held_.find(ref.key) != nullptr) KVFERRY_RETURN_IF_ERROR(held_.pin(ref.key));
  }
  std::vector<PromptChunk> opened;
  Status status;
  for (const ChunkRef& ref : chunks) {
    auto chunk = open_chunk(ref);
    if (!chunk) {
      status = chunk.error();
      break;
    }
    opened.push_back(std::move(chunk).value());
  }
  if (status.is_ok()) return opened;
  for (size_t i = opened.size(); i < chunks.size(); ++i) {
    if (held_.find(chunks[i].key) != nullptr) KVFERRY_RETURN_IF_ERROR(held_.unpin(chunks[i].key));
  }
  KVFERRY_RETURN_IF_ERROR(close_prompt(opened));
  return tl::unexpected(status.with_context("a prompt of " + std::to_string(chunks.size()) +
                                            " chunks does not fit the paged cache"));
}

Status PromptCache::publish(PromptChunk& chunk) {
  KVFERRY_RETURN_IF_ERROR(held_.insert(chunk.ref.key, chunk.blocks));
  KVFERRY_RETURN_IF_ERROR(held_.pin(chunk.ref.key));
  chunk.is_held = true;
  return {};
}

Status PromptCache::close_prompt(std::span<PromptChunk> chunks) {
  std::vector<CacheEngineKey> keys;
  for (PromptChunk& chunk : chunks) {
    if (chunk.is_held) {
      KVFERRY_RETURN_IF_ERROR(held_.unpin(chunk.ref.key));
      keys.push_back(chunk.ref.key);
    } else {
      KVFERRY_RETURN_IF_ERROR(cache_.free(chunk.blocks));
    }
  }
  held_.touch_prefix(keys);
  return {};
}

}  // namespace kvferry
