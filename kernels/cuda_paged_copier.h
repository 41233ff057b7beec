#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/paged_copier.h"
#include "kvferry/status.h"

namespace kvferry {

struct CudaPagedCopierOptions {
  int32_t device = 0;
  size_t num_slots = 3;  ///< operations under way at a time; further ones wait their turn
  size_t staging_bytes = size_t{4} << 20;      ///< of a slot: the largest operation by kStaged
  size_t descriptor_bytes = size_t{64} << 10;  ///< of a slot: 72 a plane, 8 a slot of a token
  size_t max_tiles = 8192;                     ///< of one operation
  /// At most, of a kernel that works within the device's memory; 0: one warp per tile.
  int32_t device_thread_blocks = 0;
  /// Of one that reads or writes across the link: a few fill it, many slow reads down.
  int32_t link_thread_blocks = 8;
};

/// Gathers and scatters on one CUDA device without waiting on the host.
///
/// Order:   an operation reads and writes pages after `after` and after all operations enqueued
///   before it; the link's part of one overlaps the pages' part of others. on_done comes from
///   progress() only.
/// Layout:  chunk in pinned, registered or device memory; digests in any host memory. Skipped
///   tokens as in gather() and scatter()
/// Owner:   streams, staging, descriptors; all are there from the start. The destructor waits for
///   what is under way, and ends what waited its turn (kCancelled)
/// Errors:  of create(): kInvalidArgument naming the option; kUnimplemented if built without CUDA;
///   else as cuda_status(). To on_done, besides those of PagedCopier: kInvalidArgument for a chunk
///   in pageable host memory; kResourceExhausted naming the option that it needs more of;
///   kDeviceLost; else as cuda_status()
Result<std::unique_ptr<PagedCopier>> make_cuda_paged_copier(const CudaPagedCopierOptions& options);

}  // namespace kvferry
