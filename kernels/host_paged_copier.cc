#include "kernels/host_paged_copier.h"

namespace kvferry {

void HostPagedCopier::enqueue(PagedCopyRequest request) {
  const bool gathers = request.direction == CopyDirection::kGather;
  request.on_done(gathers ? gather(*request.copy, request.plane_begin, request.plane_end,
                                   request.chunk, request.tile_digests, options_)
                          : scatter(*request.copy, request.plane_begin, request.plane_end,
                                    request.chunk, request.tile_digests, options_));
}

}  // namespace kvferry
