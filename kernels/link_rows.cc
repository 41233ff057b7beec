#include "kernels/link_rows.h"

#include <algorithm>

#include "cuda/device_copy.h"

namespace kvferry {

LinkRows::LinkRows(std::span<const PagedCopyPlane> planes, int64_t num_tokens) {
  std::vector<Rows> all;
  for (const PagedCopyPlane& plane : planes) {
    all.push_back(
        {plane.chunk_offset_bytes, plane.row_bytes(), plane.chunk_token_stride_bytes, num_tokens});
  }
  std::ranges::sort(all, {}, &Rows::offset_bytes);
  for (Rows rows : all) {
    if (rows.stride_bytes == rows.row_bytes || rows.count == 1) {
      rows = {rows.offset_bytes, rows.row_bytes * rows.count, 0, 1};
    }
    end_bytes_ = std::max(
        end_bytes_, rows.offset_bytes + (rows.count - 1) * rows.stride_bytes + rows.row_bytes);
    if (!join_last(rows)) rows_.push_back(rows);
  }
  if (!rows_.empty()) begin_bytes_ = rows_.front().offset_bytes;
}

// Rows that go on where those of the plane before end; rows without gaps are one.
bool LinkRows::join_last(const Rows& rows) {
  if (rows_.empty()) return false;
  Rows& last = rows_.back();
  if (last.offset_bytes + last.row_bytes != rows.offset_bytes || last.count != rows.count ||
      last.stride_bytes != rows.stride_bytes) {
    return false;
  }
  last.row_bytes += rows.row_bytes;
  if (last.count > 1 && last.row_bytes == last.stride_bytes) {
    last = {last.offset_bytes, last.row_bytes * last.count, 0, 1};
  }
  return true;
}

Status LinkRows::copy(Place to, Place from, CudaStreamView stream) const {
  const auto at = [](const Place& place, const Rows& rows) {
    return place.data + (rows.offset_bytes - place.begin_bytes);
  };
  std::vector<CopyRun> runs;
  for (const Rows& rows : rows_) {
    if (rows.count == 1) {
      runs.push_back({at(to, rows), at(from, rows), static_cast<size_t>(rows.row_bytes)});
      continue;
    }
    const auto pitch = static_cast<size_t>(rows.stride_bytes);
    KVFERRY_RETURN_IF_ERROR(copy_rows_async({.to = at(to, rows),
                                             .to_pitch = pitch,
                                             .from = at(from, rows),
                                             .from_pitch = pitch,
                                             .row_bytes = static_cast<size_t>(rows.row_bytes),
                                             .rows = static_cast<size_t>(rows.count)},
                                            stream));
  }
  return copy_batch_async(runs, stream);
}

}  // namespace kvferry
