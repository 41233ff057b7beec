#include "runtime/cache/token_chunks.h"

#include <algorithm>
#include <utility>

namespace kvferry {
namespace {

/// Layers contiguous: the order in which chunks travel, too.
constexpr MemoryFormat kFormat = MemoryFormat::kKvL2TD;

}  // namespace

Result<TokenChunks> TokenChunks::create(CacheEngineKey identity, ChunkHasherOptions hashing,
                                        KVLayout pages) {
  if (pages.groups.size() != 1) {
    return make_error(StatusCode::kUnimplemented,
                      "the engine's pages have " + std::to_string(pages.groups.size()) +
                          " groups; chunks of one group can be stored so far");
  }
  KVFERRY_RETURN_IF_ERROR(validate(pages));
  identity.dtype = pages.dtype;
  KVFERRY_RETURN_IF_ERROR(identity.validate());
  KVFERRY_ASSIGN_OR_RETURN(ChunkLayout layout,
                           make_chunk_layout(kFormat, pages, hashing.chunk_tokens));
  KVFERRY_ASSIGN_OR_RETURN(ChunkHasher hasher, ChunkHasher::create(std::move(hashing)));
  return TokenChunks(std::move(identity), std::move(hasher), std::move(pages), std::move(layout));
}

std::vector<ChunkRef> TokenChunks::split(std::span<const uint32_t> tokens,
                                         std::span<const std::string> extra_keys) const {
  const std::vector<ChunkHash> hashes = hasher_.hash(tokens, extra_keys);
  const auto num_tokens = static_cast<int64_t>(tokens.size());
  std::vector<ChunkRef> chunks;
  chunks.reserve(hashes.size());
  int64_t begin = 0;
  for (const ChunkHash& hash : hashes) {
    ChunkRef& chunk = chunks.emplace_back();
    chunk.key = identity_;
    chunk.key.chunk_hash = hash;
    chunk.token_begin = begin;
    chunk.token_end = std::min(begin + chunk_tokens(), num_tokens);
    begin = chunk.token_end;
  }
  return chunks;
}

ChunkLayout TokenChunks::layout(int64_t num_tokens) const {
  if (num_tokens == full_layout_.num_tokens) return full_layout_;
  ChunkLayout shorter = full_layout_;
  shorter.num_tokens = num_tokens;
  // What the longer one fits, the shorter one does.
  return place_planes(std::move(shorter)).value_or(full_layout_);
}

size_t TokenChunks::size_bytes(const ChunkRef& chunk) const {
  return chunk_bytes() / static_cast<size_t>(full_layout_.num_tokens) *
         static_cast<size_t>(chunk.num_tokens());
}

Status TokenChunks::check_layout(const ChunkRef& chunk, const MemoryObj& obj) const {
  if (obj.token_begin == chunk.token_begin && obj.token_end == chunk.token_end &&
      obj.layout.num_tokens == chunk.num_tokens() && obj.bytes().size() == size_bytes(chunk) &&
      layout_digest(obj.layout) == layout_digest_) {
    return {};
  }
  return Status(StatusCode::kFailedPrecondition,
                "chunk " + chunk.key.to_string() +
                    " was stored by an engine with another layout or chunk size; give engines "
                    "that differ another model name or tag");
}

Status TokenChunks::check_layout_if_ours(const CacheEngineKey& key, const MemoryObj& obj) const {
  CacheEngineKey ours = identity_;
  ours.chunk_hash = key.chunk_hash;
  if (ours != key) return {};
  return check_layout({key, obj.token_begin, obj.token_end}, obj);
}

}  // namespace kvferry
