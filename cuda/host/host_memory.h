#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "kvferry/status.h"

namespace kvferry {

enum class HugePages : uint8_t {
  kNever,
  kPrefer,  ///< ask for them (transparent 2 MiB pages) and go on without
};

struct HostBufferOptions {
  HugePages huge_pages = HugePages::kPrefer;
  bool prefault = true;  ///< touch every page now, so that the first transfer does not
};

/// Page-aligned anonymous host memory; 2 MiB aligned, so that the kernel can back it with huge
/// pages.
///
/// Contents are zeros.
///
/// Threads: any thread, caller serialises
/// Owner:   the mapping, move-only; unmapped by the destructor
class HostBuffer {
 public:
  static constexpr size_t kAlignment = size_t{2} << 20;

  /// Errors: kInvalidArgument if bytes is 0; kResourceExhausted with the errno if the system has no
  ///   memory or address space left.
  static Result<HostBuffer> create(size_t bytes, HostBufferOptions options = {});

  HostBuffer() = default;
  HostBuffer(HostBuffer&& other) noexcept { *this = std::move(other); }
  HostBuffer& operator=(HostBuffer&& other) noexcept;
  HostBuffer(const HostBuffer&) = delete;
  HostBuffer& operator=(const HostBuffer&) = delete;
  ~HostBuffer() { reset(); }

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  std::span<std::byte> bytes() const { return {data_, size_}; }

  /// Bytes that lie in huge pages right now, as the kernel counts them (/proc/self/smaps; slow).
  size_t huge_page_bytes() const;

 private:
  void reset() noexcept;

  std::byte* data_ = nullptr;
  size_t size_ = 0;
  size_t mapped_bytes_ = 0;
};

}  // namespace kvferry
