#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "kvferry/peer_exchange.h"

namespace kvferry {

/// What a tier in memory has, as peers see it. Nothing is looked for anywhere else: who asks has
/// tiers of his own.
///
/// Threads: any one at a time, beside those who use the tier.
class MemoryStore final : public PeerStore {
 public:
  /// Whether a pushed chunk may be kept, or why not.
  using Check = std::function<Status(const CacheEngineKey& key, const MemoryObj& obj)>;

  /// `memory` answers in its calls (traits().is_memory); both are borrowed. No `check`: all may.
  MemoryStore(StorageBackend& memory, MemoryAllocator& allocator, Check check = nullptr)
      : memory_(memory), allocator_(allocator), check_(std::move(check)) {}

  std::vector<bool> holds(std::span<const CacheEngineKey> keys) override;
  MemoryObjPtr find(const CacheEngineKey& key) override;
  std::vector<bool> remove(std::span<const CacheEngineKey> keys, bool force) override;
  Status keep(const CacheEngineKey& key, const MemoryObjPtr& obj) override;
  MemoryAllocator& allocator() override { return allocator_; }

 private:
  StorageBackend& memory_;
  MemoryAllocator& allocator_;
  const Check check_;
};

}  // namespace kvferry
