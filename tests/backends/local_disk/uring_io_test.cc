#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <future>
#include <vector>

#include "backends/local_disk/io/aligned_buffer.h"
#include "backends/local_disk/io/block_io.h"
#include "core/unique_fd.h"
#include "runtime/memory/memory_pool.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"
#include "tests/support/run_on.h"
#include "tests/support/seeded_rng.h"
#include "tests/support/status_matchers.h"
#include "workload/processes/temp_dir.h"

namespace kvferry {
namespace {

using testing::HasSubstr;

constexpr size_t kSlotBytes = size_t{9} << 20;

class UringIoTest : public testing::Test {
 protected:
  UringIoTest() {
    BackendContext context;
    context.executor = executor.get();
    context.allocator = pool.get();
    io = make_uring_io(context).value();
  }
  ~UringIoTest() override {
    run_on(*executor, [this] { io->stop(); });
  }

  UniqueFd open_file(int flags) const {
    return UniqueFd(::open((directory.path() / "file").c_str(), flags, 0600));
  }

  Status move(BlockTransfer transfer) {
    std::promise<Status> done;
    io->start(std::move(transfer), [&done](Status status) { done.set_value(std::move(status)); });
    return done.get_future().get();
  }

  const SteadyClock clock;
  const TempDir directory;
  const std::unique_ptr<ThreadExecutor> executor = ThreadExecutor::create("ring", clock).value();
  const std::unique_ptr<MemoryPool> pool = MemoryPool::create({kSlotBytes, 2}).value();
  std::unique_ptr<BlockIo> io;
};

TEST_F(UringIoTest, MovesMorePiecesThanTheRingHolds) {
  SeededRng rng;
  const MemoryObjPtr from = pool->allocate(kSlotBytes).value();
  const MemoryObjPtr to = pool->allocate(kSlotBytes).value();
  rng.fill(from->bytes());
  constexpr size_t kPieceBytes = 4096;
  std::vector<BlockPiece> written;
  std::vector<BlockPiece> read;
  for (size_t at = 0; at < kSlotBytes; at += kPieceBytes) {
    written.push_back({at, from->bytes().subspan(at, kPieceBytes)});
    read.push_back({at, to->bytes().subspan(at, kPieceBytes)});
  }
  std::shuffle(written.begin(), written.end(), rng);
  const UniqueFd file = open_file(O_RDWR | O_CREAT | O_DIRECT);
  ASSERT_THAT(move({file.get(), true, written}), IsOk());
  ASSERT_THAT(move({file.get(), false, read}), IsOk());
  EXPECT_TRUE(std::ranges::equal(from->bytes(), to->bytes()));
}

TEST_F(UringIoTest, MovesAPieceOfManyOperations) {
  SeededRng rng;
  const MemoryObjPtr from = pool->allocate(kSlotBytes).value();
  const MemoryObjPtr to = pool->allocate(kSlotBytes).value();
  rng.fill(from->bytes());
  const UniqueFd file = open_file(O_RDWR | O_CREAT | O_DIRECT);
  ASSERT_THAT(move({file.get(), true, {{0, from->bytes()}}}), IsOk());
  ASSERT_THAT(move({file.get(), false, {{0, to->bytes()}}}), IsOk());
  EXPECT_TRUE(std::ranges::equal(from->bytes(), to->bytes()));
}

TEST_F(UringIoTest, MovesMemoryThatIsNotRegisteredAndNoneAtAll) {
  const AlignedBuffer from(1 << 16);
  const AlignedBuffer to(1 << 16);
  std::ranges::fill(from.bytes(), std::byte{7});
  const UniqueFd file = open_file(O_RDWR | O_CREAT);
  ASSERT_THAT(move({file.get(), true, {{0, from.bytes()}}}), IsOk());
  ASSERT_THAT(move({file.get(), false, {{0, to.bytes()}}}), IsOk());
  EXPECT_TRUE(std::ranges::equal(from.bytes(), to.bytes()));
  EXPECT_THAT(move({file.get(), false, {}}), IsOk());
}

TEST_F(UringIoTest, FileThatEndsTooEarlyIsDataLoss) {
  const AlignedBuffer memory(1 << 16);
  const UniqueFd file = open_file(O_RDWR | O_CREAT | O_DIRECT);
  ASSERT_THAT(move({file.get(), true, {{0, memory.bytes().first(8192)}}}), IsOk());
  EXPECT_THAT(move({file.get(), false, {{0, memory.bytes()}}}),
              StatusIs(StatusCode::kDataLoss, HasSubstr("ends at 8192")));
}

TEST_F(UringIoTest, RefusedPieceIsItsErrnoAndEndsOnce) {
  const AlignedBuffer memory(8192);
  EXPECT_THAT(move({-1, false, {{0, memory.bytes()}}}), StatusIs(StatusCode::kUnavailable));
  const UniqueFd file = open_file(O_RDWR | O_CREAT | O_DIRECT);
  EXPECT_THAT(
      move({file.get(), true, {{1, memory.bytes()}, {512, memory.bytes()}, {3, memory.bytes()}}}),
      StatusIs(StatusCode::kInvalidArgument));
}

TEST_F(UringIoTest, WritePastTheFileSizeLimitIsExhaustion) {
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small = {1 << 16, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const AlignedBuffer memory(1 << 18);
  const UniqueFd file = open_file(O_RDWR | O_CREAT | O_DIRECT);
  const Status status = move({file.get(), true, {{0, memory.bytes()}}});
  ::setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_THAT(status, StatusIs(StatusCode::kResourceExhausted));
}

}  // namespace
}  // namespace kvferry
