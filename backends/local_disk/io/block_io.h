#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "backends/local_disk/io/file_system.h"
#include "kvferry/backend_context.h"

namespace kvferry {

/// Bytes of memory and where they are in a file.
struct BlockPiece {
  uint64_t offset = 0;
  std::span<std::byte> bytes;
};

struct BlockTransfer {
  int fd = -1;
  bool is_write = false;
  std::vector<BlockPiece> pieces;
};

/// Reads and writes pieces of files.
///
/// Threads: any thread.
class BlockIo {
 public:
  using Done = std::function<void(Status)>;

  virtual ~BlockIo() = default;

  /// Moves all pieces whole, short counts notwithstanding. `done` is called once, when memory and
  /// file are no longer touched, with the first error there was; it must not block.
  ///
  /// Called where blocking is allowed; it may do everything, and call `done`, before it returns.
  /// Errors: kDataLoss if the file ends before a piece does; else errno_status().
  virtual void start(BlockTransfer transfer, Done done) = 0;
  /// Nothing is under way and nothing comes any more. On the executor.
  virtual void stop() = 0;
};

/// By FileSystem's calls, on the calling thread.
std::unique_ptr<BlockIo> make_blocking_io(FileSystem& files);

/// By io_uring, on the context's executor, which submits, and is woken by the ring's descriptor.
/// Memory in the allocator's regions is registered with the ring if the system allows that.
///
/// Errors: kFailedPrecondition where io_uring is not there, not allowed, or not built in.
Result<std::unique_ptr<BlockIo>> make_uring_io(const BackendContext& context);

}  // namespace kvferry
