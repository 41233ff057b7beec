#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kvferry/cache_engine_key.h"
#include "kvferry/chunk_hash.h"
#include "kvferry/chunk_layout.h"
#include "kvferry/memory_obj.h"
#include "kvferry/transfer_engine.h"

namespace kvferry {

/// How the prompts of one engine become chunks.
///
/// Threads: immutable
class TokenChunks {
 public:
  /// `identity` is the key of every chunk but for the hash. `pages` is copied.
  /// Errors: those of ChunkHasher::create, CacheEngineKey::validate and make_chunk_layout;
  ///   kUnimplemented for pages of several groups.
  static Result<TokenChunks> create(CacheEngineKey identity, ChunkHasherOptions hashing,
                                    KVLayout pages);

  std::vector<ChunkRef> split(std::span<const uint32_t> tokens,
                              std::span<const std::string> extra_keys = {}) const;

  const KVLayout& pages() const { return pages_; }
  /// Of a full chunk.
  size_t chunk_bytes() const { return static_cast<size_t>(full_layout_.size_bytes); }
  int64_t chunk_tokens() const { return hasher_.options().chunk_tokens; }
  /// REQUIRES: 1 <= num_tokens <= chunk_tokens()
  ChunkLayout layout(int64_t num_tokens) const;
  size_t size_bytes(const ChunkRef& chunk) const;

  /// OK if `obj` lies as this engine would store `chunk`.
  Status check_layout(const ChunkRef& chunk, const MemoryObj& obj) const;
  /// The same of a chunk that comes from outside; what is not of this engine may lie as it likes.
  Status check_layout_if_ours(const CacheEngineKey& key, const MemoryObj& obj) const;

 private:
  TokenChunks(CacheEngineKey identity, ChunkHasher hasher, KVLayout pages, ChunkLayout full_layout)
      : identity_(std::move(identity)),
        hasher_(std::move(hasher)),
        pages_(std::move(pages)),
        full_layout_(std::move(full_layout)),
        layout_digest_(kvferry::layout_digest(full_layout_)) {}

  CacheEngineKey identity_;
  ChunkHasher hasher_;
  KVLayout pages_;
  ChunkLayout full_layout_;
  uint64_t layout_digest_;
};

}  // namespace kvferry
