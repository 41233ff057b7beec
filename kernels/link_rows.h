#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cuda/cuda_stream.h"
#include "kernels/kv_page_map.h"
#include "kvferry/status.h"

namespace kvferry {

/// Where some planes lie in a chunk, as the fewest copies that move them and nothing between them.
class LinkRows {
 public:
  LinkRows(std::span<const PagedCopyPlane> planes, int64_t num_tokens);

  /// From the first to past the last byte, in the chunk.
  int64_t begin_bytes() const { return begin_bytes_; }
  int64_t end_bytes() const { return end_bytes_; }
  size_t size_bytes() const { return static_cast<size_t>(end_bytes_ - begin_bytes_); }

  /// Copies them between two places, of which each begins with a byte of the chunk.
  ///
  /// Stream: enqueues on `stream`, does not synchronise
  /// Errors: as copy_batch_async() and copy_rows_async()
  struct Place {
    std::byte* data = nullptr;
    int64_t begin_bytes = 0;
  };
  Status copy(Place to, Place from, CudaStreamView stream) const;

 private:
  struct Rows {
    int64_t offset_bytes = 0;
    int64_t row_bytes = 0;
    int64_t stride_bytes = 0;
    int64_t count = 1;
  };
  bool join_last(const Rows& rows);

  std::vector<Rows> rows_;
  int64_t begin_bytes_ = 0;
  int64_t end_bytes_ = 0;
};

}  // namespace kvferry
