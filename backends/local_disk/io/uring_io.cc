#include <liburing.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <future>
#include <string>

#include "backends/local_disk/io/block_io.h"

namespace kvferry {
namespace {

constexpr unsigned kEntries = 256;
// As large as what Linux asks of a disk at once by default (max_sectors_kb) where memory is
// contiguous: a bare ring with 1 MiB reads a chunk of 32 MiB at 0.86 of the rate, one of 4 at 0.83.
constexpr size_t kMaxPieceBytes = size_t{4} << 20;
// The kernel's limits for one registered buffer, and (until 5.13) for their number.
constexpr size_t kMaxBufferBytes = size_t{1} << 30;
constexpr size_t kMaxBuffers = 1024;
constexpr Duration kSubmitRetry = std::chrono::milliseconds(1);

/// All but start(): on the executor.
class UringIo final : public BlockIo {
 public:
  explicit UringIo(const BackendContext& context) : executor_(*context.executor), slots_(kEntries) {
    free_slots_.reserve(kEntries);
    for (unsigned i = kEntries; i-- > 0;) free_slots_.push_back(i);
  }
  ~UringIo() override { close_ring(); }

  Status open(const BackendContext& context) {
    const int result = ::io_uring_queue_init(kEntries, &ring_, 0);
    if (result != 0) {
      return Status::native(StatusCode::kFailedPrecondition, ErrorDomain::kErrno, -result,
                            std::string("io_uring does not work here: ") + std::strerror(-result));
    }
    is_open_ = true;
    register_buffers(context);
    return watch();
  }

  void start(BlockTransfer transfer, Done done) override {
    auto batch = std::make_shared<Batch>();
    batch->done = std::move(done);
    std::vector<Piece> pieces;
    for (const BlockPiece& whole : transfer.pieces) split(whole, transfer, batch, pieces);
    batch->open_pieces = pieces.size();
    executor_.post([this, batch, pieces = std::move(pieces)] {
      if (pieces.empty()) return batch->done({});
      waiting_.insert(waiting_.end(), pieces.begin(), pieces.end());
      submit();
    });
  }

  void stop() override {
    executor_.unwatch_fd(ring_.ring_fd);
    close_ring();
  }

 private:
  struct Batch {
    Done done;
    size_t open_pieces = 0;
    Status status;
  };

  struct Piece {
    std::shared_ptr<Batch> batch;
    int fd = -1;
    bool is_write = false;
    uint64_t offset = 0;
    std::span<std::byte> bytes;
  };

  /// A failure costs speed only, and is logged once.
  void register_buffers(const BackendContext& context) {
    std::vector<iovec> buffers;
    for (std::span<std::byte> region : context.allocator->regions()) {
      while (!region.empty()) {
        const size_t bytes = std::min(region.size(), kMaxBufferBytes);
        buffers.push_back({region.data(), bytes});
        region = region.subspan(bytes);
      }
    }
    if (buffers.empty()) return;
    const int result = buffers.size() > kMaxBuffers
                           ? -E2BIG
                           : ::io_uring_register_buffers(&ring_, buffers.data(),
                                                         static_cast<unsigned>(buffers.size()));
    if (result == 0) {
      buffers_ = std::move(buffers);
    } else if (context.logger != nullptr) {
      context.logger->log(LogLevel::kInfo, "disk_buffers_not_registered sink=" + context.name +
                                               " error=\"" + std::strerror(-result) +
                                               "\" hint=\"ulimit -l\"");
    }
  }

  Status watch() {
    const auto on_ready = [this] { reap(); };
    if (executor_.is_current()) return executor_.watch_fd(ring_.ring_fd, false, on_ready);
    std::promise<Status> watched;
    executor_.post([&] { watched.set_value(executor_.watch_fd(ring_.ring_fd, false, on_ready)); });
    return watched.get_future().get();
  }

  /// Index of the registered buffer in which `address` lies, or -1.
  int buffer_of(const std::byte* address) const {
    for (size_t i = 0; i < buffers_.size(); ++i) {
      const auto* const base = static_cast<const std::byte*>(buffers_[i].iov_base);
      if (address >= base && address < base + buffers_[i].iov_len) return static_cast<int>(i);
    }
    return -1;
  }

  void split(BlockPiece whole, const BlockTransfer& transfer, const std::shared_ptr<Batch>& batch,
             std::vector<Piece>& pieces) const {
    while (!whole.bytes.empty()) {
      size_t bytes = std::min(whole.bytes.size(), kMaxPieceBytes);
      const int buffer = buffer_of(whole.bytes.data());
      if (buffer >= 0) {
        const iovec& vec = buffers_[static_cast<size_t>(buffer)];
        const auto* const end = static_cast<const std::byte*>(vec.iov_base) + vec.iov_len;
        bytes = std::min(bytes, static_cast<size_t>(end - whole.bytes.data()));
      }
      pieces.push_back(
          {batch, transfer.fd, transfer.is_write, whole.offset, whole.bytes.first(bytes)});
      whole.bytes = whole.bytes.subspan(bytes);
      whole.offset += bytes;
    }
  }

  void prepare(io_uring_sqe* sqe, const Piece& piece) const {
    const auto length = static_cast<unsigned>(piece.bytes.size());
    const int buffer = buffer_of(piece.bytes.data());
    if (piece.is_write && buffer >= 0) {
      ::io_uring_prep_write_fixed(sqe, piece.fd, piece.bytes.data(), length, piece.offset, buffer);
    } else if (piece.is_write) {
      ::io_uring_prep_write(sqe, piece.fd, piece.bytes.data(), length, piece.offset);
    } else if (buffer >= 0) {
      ::io_uring_prep_read_fixed(sqe, piece.fd, piece.bytes.data(), length, piece.offset, buffer);
    } else {
      ::io_uring_prep_read(sqe, piece.fd, piece.bytes.data(), length, piece.offset);
    }
  }

  void submit() {
    while (!waiting_.empty() && !free_slots_.empty()) {
      io_uring_sqe* const sqe = ::io_uring_get_sqe(&ring_);
      if (sqe == nullptr) break;
      const unsigned slot = free_slots_.back();
      free_slots_.pop_back();
      slots_[slot] = std::move(waiting_.front());
      waiting_.pop_front();
      prepare(sqe, slots_[slot]);
      ::io_uring_sqe_set_data64(sqe, slot);
    }
    if (::io_uring_sq_ready(&ring_) == 0) return;
    // What the kernel did not take (it is short of memory, say) stays in the ring's queue.
    ::io_uring_submit(&ring_);
    if (::io_uring_sq_ready(&ring_) == 0 || is_retrying_) return;
    is_retrying_ = true;
    executor_.post_at(executor_.clock().now() + kSubmitRetry,
                      [this, alive = std::weak_ptr(alive_)] {
                        if (alive.expired()) return;
                        is_retrying_ = false;
                        submit();
                      });
  }

  void reap() {
    io_uring_cqe* cqe = nullptr;
    while (::io_uring_peek_cqe(&ring_, &cqe) == 0) {
      const auto slot = static_cast<unsigned>(::io_uring_cqe_get_data64(cqe));
      const int result = cqe->res;
      ::io_uring_cqe_seen(&ring_, cqe);
      Piece piece = std::move(slots_[slot]);
      slots_[slot] = {};
      free_slots_.push_back(slot);
      end_piece(std::move(piece), result);
    }
    submit();
  }

  void end_piece(Piece piece, int result) {
    Batch& batch = *piece.batch;
    if (result == -EAGAIN || result == -EINTR) return waiting_.push_back(std::move(piece));
    Status status;
    if (result < 0) {
      status = errno_status(-result, piece.is_write ? "write by io_uring" : "read by io_uring");
    } else if (result == 0) {
      status = Status(StatusCode::kDataLoss, "the file ends at " + std::to_string(piece.offset));
    } else if (const auto moved = static_cast<size_t>(result); moved < piece.bytes.size()) {
      piece.bytes = piece.bytes.subspan(moved);
      piece.offset += moved;
      return waiting_.push_back(std::move(piece));
    }
    if (batch.status.is_ok()) batch.status = std::move(status);
    if (--batch.open_pieces == 0) batch.done(batch.status);
  }

  void close_ring() {
    if (is_open_) ::io_uring_queue_exit(&ring_);
    is_open_ = false;
  }

  Executor& executor_;
  io_uring ring_ = {};
  bool is_open_ = false;
  bool is_retrying_ = false;
  std::shared_ptr<int> alive_ = std::make_shared<int>();  // timers come after the end too
  std::vector<iovec> buffers_;                            // registered
  std::vector<Piece> slots_;                              // under way, by their user data
  std::vector<unsigned> free_slots_;
  std::deque<Piece> waiting_;
};

}  // namespace

Result<std::unique_ptr<BlockIo>> make_uring_io(const BackendContext& context) {
  auto io = std::make_unique<UringIo>(context);
  KVFERRY_RETURN_IF_ERROR(io->open(context));
  return std::unique_ptr<BlockIo>(std::move(io));
}

}  // namespace kvferry
