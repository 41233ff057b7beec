#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "runtime/memory/memory_pool.h"

namespace kvferry {

/// Files of one size, written and read whole with O_DIRECT by a bare io_uring with registered
/// memory, `depth` of them at once, each by one operation: nothing but the system calls that a
/// store of such files cannot do without, on the memory that the store uses.
class BareRing {
 public:
  /// Null where io_uring is not there.
  static std::unique_ptr<BareRing> create(const std::filesystem::path& directory, MemoryPool& pool,
                                          size_t depth);
  ~BareRing();
  BareRing(const BareRing&) = delete;
  BareRing& operator=(const BareRing&) = delete;

  /// File i of the bytes of chunk i, made and allocated anew. False if anything fails.
  bool put(std::span<const MemoryObjPtr> chunks);
  /// The files in that order, each into memory of the pool that is free again afterwards; with
  /// `expected` (by file) compared with that.
  bool get(std::span<const size_t> order, size_t bytes, std::span<const MemoryObjPtr> expected);

 private:
  struct Ring;
  BareRing(std::filesystem::path directory, MemoryPool& pool, std::unique_ptr<Ring> ring);

  std::filesystem::path path(size_t number) const;

  const std::filesystem::path directory_;
  MemoryPool& pool_;
  std::unique_ptr<Ring> ring_;
};

}  // namespace kvferry
