#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "kvferry/cache_engine_key.h"

namespace kvferry {

/// Name of a chunk's file: the digest of its key, for whoever looks for it by hand, and the
/// generation of the write, which no other file of the store has: so names never collide.
struct ChunkFileName {
  std::array<uint8_t, 16> key_digest = {};
  uint64_t generation = 0;

  /// "<32 hex digits>-<16 hex digits>.chunk"
  std::string to_string() const;
  /// Empty if it is not such a name.
  static std::optional<ChunkFileName> parse(std::string_view text);

  friend bool operator==(const ChunkFileName&, const ChunkFileName&) = default;
};

/// A complete chunk on disk. Its name and sizes are fixed; the rest is DiskCatalog's.
struct ChunkFile {
  ChunkFileName name;
  size_t payload_offset = 0;
  size_t payload_bytes = 0;
  uint64_t chunk_digest = 0;
  size_t disk_bytes = 0;  ///< that it takes, in whole blocks

  int readers = 0;
  bool is_synced = false;    ///< known to outlive a power cut
  bool is_unlinked = false;  ///< its bytes come back when the last reader has closed it
};
using ChunkFilePtr = std::shared_ptr<ChunkFile>;

inline constexpr std::string_view kTemporarySuffix = ".tmp";
/// Names the layout of the directory, and is locked by its owner.
inline constexpr std::string_view kIdentityFile = "kvferry-store";
/// Few, since each is synced when a name in it is to last; a million names in one are no trouble.
inline constexpr size_t kNumShards = 16;

/// Where things are in a store's directory: chunks in 16 shards, by the first digit of their names;
/// a temporary file beside the place it will be renamed to.
class StorePaths {
 public:
  explicit StorePaths(std::string root) : root_(std::move(root)) {}

  const std::string& root() const { return root_; }
  std::string identity() const { return root_ + "/" + std::string(kIdentityFile); }
  static size_t shard_of(const ChunkFileName& name) {
    return name.key_digest[0] / (256 / kNumShards);
  }
  /// "<root>/<hex digit>"
  std::string shard(size_t number) const;
  std::string shard(const ChunkFileName& name) const { return shard(shard_of(name)); }
  std::string chunk(const ChunkFileName& name) const {
    return shard(name) + "/" + name.to_string();
  }
  std::string temporary(const ChunkFileName& name) const {
    return chunk(name) + std::string(kTemporarySuffix);
  }

 private:
  std::string root_;
};

}  // namespace kvferry
