#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "kernels/paged_copy.h"
#include "kvferry/status.h"

struct CUevent_st;  // *: cudaEvent_t

namespace kvferry {

/// How a GPU's copy reaches a chunk's memory.
enum class DevicePath : uint8_t {
  kStaged,  ///< the kernel works on staging in device memory; a copy engine crosses the link, once
  kDirect,  ///< the kernel itself reads or writes the chunk
};

/// One gather or scatter of planes [plane_begin, plane_end).
struct PagedCopyRequest {
  CopyDirection direction = CopyDirection::kGather;
  const PagedCopy* copy = nullptr;  ///< borrowed until on_done, as are the spans
  int32_t plane_begin = 0;
  int32_t plane_end = 0;
  std::span<std::byte> chunk;        ///< the whole chunk; only read by a scatter
  std::span<uint64_t> tile_digests;  ///< one per tile of the planes, in tile order; or empty
  /// None: kStaged where the chunk lies across the link and what moves fits staging.
  std::optional<DevicePath> path = {};
  CUevent_st* after = nullptr;  ///< no page is touched before this event, as last recorded by then
  std::function<void(Status)> on_done = {};
};

/// Gathers and scatters on the device that holds the pages, several at a time.
///
/// Order:   on_done comes in the order of enqueue(), before enqueue() returns or from progress().
///   Then nothing of the operation touches pages, chunk or digests any more, and they are complete
///   if it is OK; else the destination is undefined.
/// Threads: one
/// Errors:  to on_done: kInvalidArgument if planes or sizes do not fit, or the pages lie on another
///   device; and those of the device
class PagedCopier {
 public:
  virtual ~PagedCopier() = default;

  virtual void enqueue(PagedCopyRequest request) = 0;
  /// Ends what has ended, and begins what waited; true when it did anything.
  virtual bool progress() = 0;
  /// Operations whose on_done has not come.
  virtual size_t num_open() const = 0;
};

}  // namespace kvferry
