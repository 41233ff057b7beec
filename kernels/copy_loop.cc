#include "kernels/copy_loop.h"

namespace kvferry {

const CopyLoop& copy_loop(SimdLevel level) {
  switch (level) {
#if defined(__x86_64__)
    case SimdLevel::kAvx512:
      return detail::kAvx512CopyLoop;
    case SimdLevel::kAvx2:
      return detail::kAvx2CopyLoop;
#else
    case SimdLevel::kAvx512:
    case SimdLevel::kAvx2:
#endif
    case SimdLevel::kPortable:
      break;
  }
  return detail::kPortableCopyLoop;
}

}  // namespace kvferry
