#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "kvferry/chunk_layout.h"
#include "kvferry/status.h"

namespace kvferry {

class MemoryObj;

/// Where a MemoryObj's bytes came from and go back to.
class MemoryOwner {
 public:
  virtual ~MemoryOwner() = default;
  /// Called once, by whoever drops the last reference, on any thread.
  virtual void release(MemoryObj& obj) noexcept = 0;
};

/// One chunk in memory: its bytes, what they mean, and their digests. Counted by MemoryObjPtr; the
/// last reference returns it to its owner.
///
/// Threads: counts from any thread; the rest is written by one holder at a time, who publishes it.
class MemoryObj {
 public:
  MemoryObj(MemoryOwner& owner, std::span<std::byte> capacity) noexcept
      : owner_(owner), capacity_(capacity) {}
  MemoryObj(const MemoryObj&) = delete;
  MemoryObj& operator=(const MemoryObj&) = delete;

  /// The chunk's bytes; aligned to at least 64.
  std::span<std::byte> bytes() const noexcept { return capacity_.first(size_bytes_); }
  std::span<std::byte> capacity() const noexcept { return capacity_; }
  /// REQUIRES: size_bytes <= capacity().size()
  void resize(size_t size_bytes) noexcept { size_bytes_ = size_bytes; }

  ChunkLayout layout;
  int64_t token_begin = 0;  ///< of the chunk in its sequence
  int64_t token_end = 0;
  std::vector<uint64_t> tile_digests;
  uint64_t chunk_digest = 0;

  /// The bytes are what the digests say: they were gathered here, or compared since they were read.
  bool is_verified() const noexcept { return verified_.load(std::memory_order_relaxed); }
  void set_verified(bool verified) noexcept {
    verified_.store(verified, std::memory_order_relaxed);
  }

  /// As it comes from a pool: no layout, no digests, not verified, not pinned.
  void reset() noexcept;

  /// A pinned object is not evicted by the store that holds it.
  void pin() noexcept { pins_.fetch_add(1, std::memory_order_relaxed); }
  /// False when it was not pinned; the count stays at 0 then.
  bool unpin() noexcept;
  int64_t pin_count() const noexcept { return pins_.load(std::memory_order_relaxed); }
  int64_t ref_count() const noexcept { return refs_.load(std::memory_order_relaxed); }

 private:
  friend class MemoryObjPtr;

  void add_ref() noexcept { refs_.fetch_add(1, std::memory_order_relaxed); }
  void drop_ref() noexcept {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) owner_.release(*this);
  }

  MemoryOwner& owner_;
  std::span<std::byte> capacity_;
  size_t size_bytes_ = 0;
  std::atomic<int64_t> refs_{0};
  std::atomic<int64_t> pins_{0};
  std::atomic<bool> verified_{false};
};

inline void MemoryObj::reset() noexcept {
  layout = ChunkLayout();
  token_begin = 0;
  token_end = 0;
  tile_digests.clear();
  chunk_digest = 0;
  pins_.store(0, std::memory_order_relaxed);
  set_verified(false);
}

inline bool MemoryObj::unpin() noexcept {
  int64_t pins = pins_.load(std::memory_order_relaxed);
  while (pins > 0 && !pins_.compare_exchange_weak(pins, pins - 1, std::memory_order_relaxed)) {
  }
  return pins > 0;
}

/// Counted reference to a MemoryObj; may be null.
class MemoryObjPtr {
 public:
  MemoryObjPtr() noexcept = default;
  explicit MemoryObjPtr(MemoryObj* obj) noexcept : obj_(obj) {
    if (obj_ != nullptr) obj_->add_ref();
  }
  MemoryObjPtr(const MemoryObjPtr& other) noexcept : MemoryObjPtr(other.obj_) {}
  MemoryObjPtr(MemoryObjPtr&& other) noexcept : obj_(std::exchange(other.obj_, nullptr)) {}
  MemoryObjPtr& operator=(MemoryObjPtr other) noexcept {
    std::swap(obj_, other.obj_);
    return *this;
  }
  ~MemoryObjPtr() {
    if (obj_ != nullptr) obj_->drop_ref();
  }

  MemoryObj* get() const noexcept { return obj_; }
  MemoryObj* operator->() const noexcept { return obj_; }
  MemoryObj& operator*() const noexcept { return *obj_; }
  explicit operator bool() const noexcept { return obj_ != nullptr; }
  void reset() noexcept { *this = MemoryObjPtr(); }

 private:
  MemoryObj* obj_ = nullptr;
};

}  // namespace kvferry
