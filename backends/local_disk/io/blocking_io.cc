#include "backends/local_disk/io/block_io.h"

namespace kvferry {
namespace {

class BlockingIo final : public BlockIo {
 public:
  explicit BlockingIo(FileSystem& files) : files_(files) {}

  void start(BlockTransfer transfer, Done done) override {
    for (const BlockPiece& piece : transfer.pieces) {
      Status status = move(transfer, piece);
      if (!status.is_ok()) return done(std::move(status));
    }
    done({});
  }

  void stop() override {}

 private:
  Status move(const BlockTransfer& transfer, BlockPiece piece) {
    while (!piece.bytes.empty()) {
      const auto moved = transfer.is_write ? files_.write_at(transfer.fd, piece.bytes, piece.offset)
                                           : files_.read_at(transfer.fd, piece.bytes, piece.offset);
      if (!moved) return moved.error();
      if (*moved == 0) {
        return Status(StatusCode::kDataLoss, "the file ends at " + std::to_string(piece.offset));
      }
      piece.bytes = piece.bytes.subspan(*moved);
      piece.offset += *moved;
    }
    return {};
  }

  FileSystem& files_;
};

}  // namespace

std::unique_ptr<BlockIo> make_blocking_io(FileSystem& files) {
  return std::make_unique<BlockingIo>(files);
}

}  // namespace kvferry
