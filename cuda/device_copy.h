#pragma once

#include <cstddef>
#include <span>

#include "cuda/cuda_stream.h"
#include "kvferry/status.h"

namespace kvferry {

// Copies between any two places that CUDA knows: device memory, of a peer too, and host memory that
// is pinned or registered. Pageable host memory is not refused, but makes the call itself wait.
//
// Stream: all enqueue on `stream` and do not synchronise; memory must stay valid until `stream`
//   reaches this point, which tells only an event recorded after it
// Threads: any thread, caller serialises
// Errors:  kInvalidArgument if an address is null or a range not within one allocation, or `stream`
//   the view of an owner moved from; else as cuda_status(). Then nothing is known of the
//   destinations: part of the copies may be enqueued

struct CopyRun {
  std::byte* to = nullptr;
  const std::byte* from = nullptr;
  size_t bytes = 0;
};

/// Copies one range; nothing if it is empty.
Status copy_async(std::byte* to, const std::byte* from, size_t bytes, CudaStreamView stream);

/// Rows of equal size at equal distances.
struct CopyRows {
  std::byte* to = nullptr;
  size_t to_pitch = 0;  ///< from a row to the next
  const std::byte* from = nullptr;
  size_t from_pitch = 0;
  size_t row_bytes = 0;
  size_t rows = 0;
};

/// Copies rows in one call; nothing if there are none.
///
/// Errors: kInvalidArgument, too, if a pitch is smaller than a row, or larger than 2 GiB - 1
Status copy_rows_async(const CopyRows& copy, CudaStreamView stream);

/// Copies many ranges in one call, in no order among them: none may overlap another's destination.
///
/// Runs that go on where the one before ends, on both sides, are joined, which the driver does not.
/// The sources are read in stream order, that is after what `stream` was given before this call;
/// this is no substitute for waiting on an event of the stream that writes them.
///
/// Cost: O(runs), one allocation a list
Status copy_batch_async(std::span<const CopyRun> runs, CudaStreamView stream);

}  // namespace kvferry
