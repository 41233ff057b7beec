#include "kernels/tile_copy.h"

namespace kvferry {

const TileCopier& tile_copier(SimdLevel level) {
  switch (level) {
#if defined(__x86_64__)
    case SimdLevel::kAvx512: return detail::kAvx512TileCopier;
    case SimdLevel::kAvx2: return detail::kAvx2TileCopier;
#else
    case SimdLevel::kAvx512:
    case SimdLevel::kAvx2:
#endif
    case SimdLevel::kPortable: break;
  }
  return detail::kPortableTileCopier;
}

}  // namespace kvferry
