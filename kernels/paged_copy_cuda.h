#pragma once

#include <cstdint>

#include "cuda/cuda_stream.h"
#include "kernels/kv_page_map.h"
#include "kernels/paged_copy_body.h"
#include "kvferry/status.h"

namespace kvferry {

struct PagedCopyLaunch {
  CopyDirection direction = CopyDirection::kGather;
  int32_t alignment = 1;          ///< PagedCopy::alignment()
  int64_t max_row_bytes = 0;      ///< largest PagedCopyPlane::row_bytes() of the planes
  int32_t max_thread_blocks = 0;  ///< SM budget; 0: one warp per tile
};

/// Copies the planes of `copy` between pages and chunk on a GPU, digests in the same pass; the
/// device twin of gather() and scatter().
///
/// Layout:  any alignment; 16-byte vectors where pages, strides, contents and chunk allow
/// Stream:  enqueues on `stream`, does not synchronise; everything `copy` points to must stay
///   valid, and nobody may write the source, until `stream` reaches this point
/// Threads: any thread
/// Errors:  kInvalidArgument if a row is too long for one tile or the alignment is none of 16, 8,
///   4, 2, 1; as cuda_status() if the launch is refused
/// Cost:    no allocation; one launch
Status launch_paged_copy(const PagedCopyDevice& copy, const PagedCopyLaunch& launch,
                         CudaStreamView stream);

}  // namespace kvferry
