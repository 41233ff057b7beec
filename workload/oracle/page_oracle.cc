#include "workload/oracle/page_oracle.h"

#include <algorithm>
#include <string>
#include <utility>

#include "cuda/device_copy.h"

namespace kvferry {
namespace {

/// From the first byte of a plane's block to past its last.
int64_t block_bytes(const KVGroup& group, const KVPlane& plane) {
  return (group.block_tokens - 1) * plane.token_stride_bytes +
         (plane.num_heads - 1) * plane.head_stride_bytes + plane.content_bytes;
}

}  // namespace

Result<PageOracle> PageOracle::create(const KVLayout& layout, int64_t max_tokens) {
  PageOracle oracle(layout);
  if (layout.device.is_host()) return oracle;
  KVFERRY_RETURN_IF_ERROR(check_slots(layout, {}));
  // The same blocks, so many as one call needs, one plane behind the other.
  KVLayout mirrored = layout;
  mirrored.device = Device::host();
  KVGroup& group = mirrored.groups[0];
  group.num_blocks = (max_tokens + group.block_tokens - 1) / group.block_tokens;
  int64_t bytes = 0;
  for (KVPlane& plane : group.planes) {
    plane.block_stride_bytes = block_bytes(group, plane);
    bytes += group.num_blocks * plane.block_stride_bytes;
  }
  KVFERRY_ASSIGN_OR_RETURN(PinnedMemory memory, PinnedMemory::create(static_cast<size_t>(bytes)));
  std::byte* next = memory.data();
  for (KVPlane& plane : group.planes) {
    plane.base = std::exchange(next, next + group.num_blocks * plane.block_stride_bytes);
  }
  KVFERRY_ASSIGN_OR_RETURN(CudaStream stream, CudaStream::create(layout.device.index));
  oracle.mirror_ = Mirror{std::move(memory), std::move(mirrored), std::move(stream)};
  return oracle;
}

Status PageOracle::fill(SlotMapping slots, const ChunkHash& chunk) {
  if (!mirror_) return fill_chunk(layout_, slots, chunk);
  KVFERRY_ASSIGN_OR_RETURN(const std::vector<int64_t> mirrored, this->mirrored(slots));
  KVFERRY_RETURN_IF_ERROR(fill_chunk(mirror_->layout, mirrored, chunk));
  return copy(slots, Way::kUpload);
}

Result<std::optional<ContentMismatch>> PageOracle::verify(SlotMapping slots,
                                                          const ChunkHash& chunk) {
  if (!mirror_) return verify_chunk(layout_, slots, chunk);
  KVFERRY_ASSIGN_OR_RETURN(const std::vector<int64_t> mirrored, this->mirrored(slots));
  KVFERRY_RETURN_IF_ERROR(poison_slots(mirror_->layout, mirrored));
  KVFERRY_RETURN_IF_ERROR(copy(slots, Way::kDownload));
  auto mismatch = verify_chunk(mirror_->layout, mirrored, chunk);
  if (mismatch && *mismatch) (*mismatch)->slot = slots[static_cast<size_t>((*mismatch)->token)];
  return mismatch;
}

Status PageOracle::poison(SlotMapping slots) {
  if (!mirror_) return poison_slots(layout_, slots);
  KVFERRY_ASSIGN_OR_RETURN(const std::vector<int64_t> mirrored, this->mirrored(slots));
  KVFERRY_RETURN_IF_ERROR(poison_slots(mirror_->layout, mirrored));
  return copy(slots, Way::kUpload);
}

/// Token i lies in slot i of the mirror, or nowhere.
Result<std::vector<int64_t>> PageOracle::mirrored(SlotMapping slots) const {
  const int64_t room = mirror_->layout.groups[0].num_slots();
  if (std::ssize(slots) > room) {
    return make_error(StatusCode::kResourceExhausted,
                      std::to_string(slots.size()) + " tokens at once; the oracle was made for " +
                          std::to_string(room));
  }
  KVFERRY_RETURN_IF_ERROR(check_slots(layout_, slots));
  std::vector<int64_t> mirrored(slots.size());
  for (size_t i = 0; i < slots.size(); ++i) {
    mirrored[i] = slots[i] < 0 ? -1 : static_cast<int64_t>(i);
  }
  return mirrored;
}

Status PageOracle::copy(SlotMapping slots, Way way) const {
  const KVGroup& pages = layout_.groups[0];
  const KVGroup& mirror = mirror_->layout.groups[0];
  std::vector<CopyRun> runs;
  for (size_t p = 0; p < pages.planes.size(); ++p) {
    const KVPlane& plane = pages.planes[p];
    for (size_t token = 0; token < slots.size(); ++token) {
      if (slots[token] < 0) continue;
      std::byte* const page = page_of(pages, plane, slots[token]);
      std::byte* const twin = page_of(mirror, mirror.planes[p], static_cast<int64_t>(token));
      for (int32_t head = 0; head < plane.num_heads; ++head) {
        const int64_t at = head * plane.head_stride_bytes;
        CopyRun run{page + at, twin + at, static_cast<size_t>(plane.content_bytes)};
        if (way == Way::kDownload) run = {twin + at, page + at, run.bytes};
        runs.push_back(run);
      }
    }
  }
  std::ranges::sort(runs, {}, &CopyRun::to);  // neighbours go in one copy
  KVFERRY_RETURN_IF_ERROR(copy_batch_async(runs, mirror_->stream.view()));
  return mirror_->stream.view().synchronize();
}

}  // namespace kvferry
