#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "cuda/cuda_stream.h"
#include "cuda/pinned_memory.h"
#include "kvferry/kv_layout.h"
#include "kvferry/slot_mapping.h"
#include "workload/oracle/kv_content.h"

namespace kvferry {

/// fill_chunk(), verify_chunk() and poison_slots() for pages wherever they lie: those of a CUDA
/// device are copied from and to pinned host memory, by plain copies and not by kernels/.
///
/// Threads: caller serialises; each call waits until its copies are done
/// Owner:   copies the layout; the pages are the caller's
class PageOracle {
 public:
  /// `max_tokens`: of one call.
  /// Errors: kUnimplemented for a layout of several groups; of a CUDA device's pages, also those of
  ///   PinnedMemory and CudaStream.
  static Result<PageOracle> create(const KVLayout& layout, int64_t max_tokens);

  /// Errors: as in kv_content.h; kResourceExhausted past max_tokens; what CUDA says.
  Status fill(SlotMapping slots, const ChunkHash& chunk);
  Result<std::optional<ContentMismatch>> verify(SlotMapping slots, const ChunkHash& chunk);
  Status poison(SlotMapping slots);

 private:
  /// The same tokens on the host, in slots from 0 on.
  struct Mirror {
    PinnedMemory memory;
    KVLayout layout;
    CudaStream stream;
  };
  enum class Way : uint8_t { kUpload, kDownload };

  explicit PageOracle(KVLayout layout) : layout_(std::move(layout)) {}

  Status copy(SlotMapping slots, Way way) const;
  Result<std::vector<int64_t>> mirrored(SlotMapping slots) const;

  KVLayout layout_;
  std::optional<Mirror> mirror_;  // of pages that the host cannot touch
};

}  // namespace kvferry
