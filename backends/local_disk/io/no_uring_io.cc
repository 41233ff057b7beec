#include "backends/local_disk/io/block_io.h"

namespace kvferry {

Result<std::unique_ptr<BlockIo>> make_uring_io(const BackendContext& /*context*/) {
  return make_error(StatusCode::kFailedPrecondition,
                    "this build has no io_uring; build it where liburing is, or use io: pread");
}

}  // namespace kvferry
