#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>

#include "kvferry/chunk_record.h"

namespace kvferry {

constexpr size_t round_up_to_block(size_t bytes) { return chunk_payload_offset(bytes); }

inline bool is_block_aligned(const std::byte* address) {
  return reinterpret_cast<uintptr_t>(address) % kChunkPayloadAlignment == 0;
}

/// Memory for direct I/O: begins and ends at multiples of 4 KiB. Zeros.
class AlignedBuffer {
 public:
  explicit AlignedBuffer(size_t size_bytes)
      : size_(round_up_to_block(size_bytes)),
        data_(static_cast<std::byte*>(std::aligned_alloc(kChunkPayloadAlignment, size_))) {
    if (data_ == nullptr) throw std::bad_alloc();
    std::fill_n(data_.get(), size_, std::byte{0});
  }

  std::span<std::byte> bytes() const { return {data_.get(), size_}; }

 private:
  struct Free {
    void operator()(std::byte* data) const { std::free(data); }
  };

  size_t size_;
  std::unique_ptr<std::byte, Free> data_;
};

}  // namespace kvferry
