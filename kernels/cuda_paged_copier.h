#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
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
  std::span<std::byte> chunk;        ///< the whole chunk
  std::span<uint64_t> tile_digests;  ///< one per tile of the planes, in tile order
  DevicePath path = DevicePath::kStaged;
  CUevent_st* after = nullptr;  ///< no page is touched before this event, as last recorded by then
  std::function<void(Status)> on_done;
};

/// Gathers and scatters on one CUDA device, several at a time, without waiting on the host.
///
/// Order:   an operation reads and writes pages after `after` and after all operations enqueued
///   before it; the link's part of one overlaps the pages' part of others. on_done comes in the
///   order of enqueue(), from progress() only: then nothing of the operation touches pages, chunk
///   or digests any more, and they are complete if it is OK.
/// Layout:  pages in the device's memory or in pinned memory; chunk pinned, registered or device
///   memory; digests any host memory. Skipped tokens as in gather() and scatter()
/// Threads: one
/// Owner:   streams, staging, descriptors; all are there from the start. The destructor waits for
///   what is under way, and ends what waited its turn (kCancelled)
/// Errors:  to on_done: kInvalidArgument if planes or sizes do not fit, or the chunk is pageable
///   host memory; kResourceExhausted if the operation is larger than the options allow;
///   kDeviceLost; else as cuda_status(). Then the destination is undefined
class CudaPagedCopier {
 public:
  struct Options {
    int32_t device = 0;
    size_t num_slots = 3;  ///< operations under way at a time; further ones wait their turn
    size_t staging_bytes = size_t{4} << 20;      ///< of a slot: the largest operation by kStaged
    size_t descriptor_bytes = size_t{64} << 10;  ///< of a slot: 72 a plane, 8 a slot of a token
    size_t max_tiles = 8192;                     ///< of one operation
    int32_t staged_thread_blocks = 0;  ///< at most, of a kernel of kStaged; 0: one warp per tile
    int32_t direct_thread_blocks = 8;  ///< of one of kDirect: a few fill a link, many slow reads
  };

  /// Errors: kInvalidArgument naming the option; kUnimplemented if built without CUDA; else as
  ///   cuda_status().
  static Result<std::unique_ptr<CudaPagedCopier>> create(const Options& options);
  virtual ~CudaPagedCopier() = default;

  virtual void enqueue(PagedCopyRequest request) = 0;
  /// Ends what has ended, and begins what waited; true when it did anything.
  virtual bool progress() = 0;
  virtual size_t num_open() const = 0;
};

}  // namespace kvferry
