#pragma once

#include <cstddef>
#include <span>

namespace kvferry {

/// One run of a paged layout: equally many bytes on either side.
struct BareRun {
  const std::byte* from = nullptr;
  std::byte* to = nullptr;
};

/// Copies runs of `run_bytes` (a multiple of 1 KiB; both sides 64-byte aligned), four side by side,
/// each prefetched 1 KiB ahead, with streaming stores: nothing but the memory accesses that a
/// gather or scatter of the same runs cannot do without. What this loses against a contiguous copy
/// is the price of the order of the pages. Without AVX-512: streaming_copy run by run.
void copy_bare_runs(std::span<const BareRun> runs, size_t run_bytes);

}  // namespace kvferry
