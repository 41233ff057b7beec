#pragma once

#include <atomic>
#include <string>

#include "kvferry/backend_context.h"
#include "kvferry/cache_engine_key.h"

namespace kvferry {

/// Chunks as files of a shared directory, one each. A file is written under a name that nobody else
/// uses, then renamed: readers see all of it or none.
///
///   <root>/3f/3f..hash..-..key digest...kvchunk     the first two digits of the chunk's hash
///   <root>/tmp/<host>.<pid>.<random>.<number>.tmp
///
/// Nothing is written to the medium before a put ends: what a crash of the host tears is found by
/// its size or its digests.
///
/// Threads: any thread
class FsFiles {
 public:
  /// `root` exists already: it is not made, lest an unmounted share is written into.
  explicit FsFiles(std::string root);

  /// Safe as a name whatever the key holds. Keys of one name would need one hash and one XXH3-128
  /// of their texts; their records tell them apart then.
  std::string path_of(const CacheEngineKey& key) const;

  /// Errors: kResourceExhausted when there is no room (disk, quota, file size), kPermissionDenied,
  ///   kUnavailable for all else that the system says; nothing is left behind.
  Status write(const CacheEngineKey& key, const MemoryObj& obj);
  /// Null if there is no such file. Errors: those of begin_record_object(); kUnavailable.
  Result<MemoryObjPtr> read(const CacheEngineKey& key, MemoryAllocator& allocator) const;
  /// Errors: kUnavailable, kPermissionDenied.
  Result<bool> exists(const CacheEngineKey& key) const;
  Result<bool> remove(const CacheEngineKey& key) const;

  /// Removes temporary files that nobody has written to for so long, by the clock of the file
  /// system, and says how many.
  Result<size_t> remove_stale(Duration age);

 private:
  std::string temporary_path();
  Status write_temporary(const std::string& path, std::span<const std::byte> head,
                         std::span<const std::byte> payload) const;
  Status make_directory(const std::string& path) const;

  const std::string root_;
  const std::string writer_;  // host, process and a random number
  std::atomic<uint64_t> next_temporary_{0};
};

}  // namespace kvferry
