#include "perf/storage/bare_ring.h"

#include <fcntl.h>
#include <liburing.h>
#include <sys/uio.h>

#include <algorithm>
#include <string>
#include <utility>

#include "core/unique_fd.h"

namespace kvferry {

/// So many files under way at once.
struct BareRing::Ring {
  struct Slot {
    UniqueFd file;
    MemoryObjPtr obj;
    size_t number = 0;
  };

  ~Ring() {
    if (is_open) ::io_uring_queue_exit(&ring);
  }

  bool open(MemoryPool& pool, size_t depth) {
    slots.resize(depth);
    is_open = ::io_uring_queue_init(static_cast<unsigned>(depth), &ring, 0) == 0;
    if (!is_open) return false;
    const std::span<std::byte> region = pool.regions().front();
    for (size_t at = 0; at < region.size(); at += kMaxBufferBytes) {
      buffers.push_back({region.data() + at, std::min(kMaxBufferBytes, region.size() - at)});
    }
    return ::io_uring_register_buffers(&ring, buffers.data(),
                                       static_cast<unsigned>(buffers.size())) == 0;
  }

  void prepare(size_t slot, bool is_write) {
    const int fd = slots[slot].file.get();
    const std::span<std::byte> bytes = slots[slot].obj->bytes();
    auto* const base = static_cast<std::byte*>(buffers.front().iov_base);
    const auto first = static_cast<size_t>(bytes.data() - base) / kMaxBufferBytes;
    const auto last = static_cast<size_t>(&bytes.back() - base) / kMaxBufferBytes;
    const auto length = static_cast<unsigned>(bytes.size());
    io_uring_sqe* const sqe = ::io_uring_get_sqe(&ring);
    if (first != last) {  // across two buffers
      is_write ? ::io_uring_prep_write(sqe, fd, bytes.data(), length, 0)
               : ::io_uring_prep_read(sqe, fd, bytes.data(), length, 0);
    } else if (is_write) {
      ::io_uring_prep_write_fixed(sqe, fd, bytes.data(), length, 0, static_cast<int>(first));
    } else {
      ::io_uring_prep_read_fixed(sqe, fd, bytes.data(), length, 0, static_cast<int>(first));
    }
    ::io_uring_sqe_set_data64(sqe, slot);
  }

  /// `begin` fills a slot for the next file, `end` takes it back; both say whether all is well.
  template <typename Begin, typename End>
  bool run(size_t count, bool is_write, Begin begin, End end) {
    size_t next = 0;
    const auto start = [&](size_t slot) {
      if (!begin(slots[slot], next++)) return false;
      prepare(slot, is_write);
      return true;
    };
    for (size_t slot = 0; slot < std::min(slots.size(), count); ++slot) {
      if (!start(slot)) return false;
    }
    for (size_t done = 0; done < count;) {
      if (::io_uring_submit_and_wait(&ring, 1) < 0) return false;
      io_uring_cqe* cqe = nullptr;
      for (; ::io_uring_peek_cqe(&ring, &cqe) == 0; ++done) {
        const auto slot = static_cast<size_t>(::io_uring_cqe_get_data64(cqe));
        const int moved = cqe->res;
        ::io_uring_cqe_seen(&ring, cqe);
        if (moved != static_cast<int>(slots[slot].obj->bytes().size())) return false;
        if (!end(slots[slot])) return false;
        if (next < count && !start(slot)) return false;
      }
    }
    return true;
  }

  static constexpr size_t kMaxBufferBytes = size_t{1} << 30;  // the kernel's limit

  io_uring ring = {};
  bool is_open = false;
  std::vector<iovec> buffers;
  std::vector<Slot> slots;
};

BareRing::BareRing(std::filesystem::path directory, MemoryPool& pool, std::unique_ptr<Ring> ring)
    : directory_(std::move(directory)), pool_(pool), ring_(std::move(ring)) {}

BareRing::~BareRing() = default;

std::unique_ptr<BareRing> BareRing::create(const std::filesystem::path& directory, MemoryPool& pool,
                                           size_t depth) {
  auto ring = std::make_unique<Ring>();
  if (!ring->open(pool, depth)) return nullptr;
  std::filesystem::create_directories(directory);
  return std::unique_ptr<BareRing>(new BareRing(directory, pool, std::move(ring)));
}

std::filesystem::path BareRing::path(size_t number) const {
  return directory_ / std::to_string(number);
}

bool BareRing::put(std::span<const MemoryObjPtr> chunks) {
  return ring_->run(
      chunks.size(), true,
      [&](Ring::Slot& slot, size_t number) {
        slot.obj = chunks[number];
        slot.file = UniqueFd(
            ::open(path(number).c_str(), O_CREAT | O_EXCL | O_WRONLY | O_DIRECT | O_CLOEXEC, 0600));
        return slot.file.is_open() &&
               ::fallocate(slot.file.get(), 0, 0, static_cast<off_t>(slot.obj->bytes().size())) ==
                   0;
      },
      [](Ring::Slot& slot) {
        slot.file.reset();
        slot.obj.reset();
        return true;
      });
}

bool BareRing::get(std::span<const size_t> order, size_t bytes,
                   std::span<const MemoryObjPtr> expected) {
  return ring_->run(
      order.size(), false,
      [&](Ring::Slot& slot, size_t at) {
        auto obj = pool_.allocate(bytes);
        if (!obj) return false;
        slot.obj = *std::move(obj);
        slot.number = order[at];
        slot.file = UniqueFd(::open(path(slot.number).c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
        return slot.file.is_open();
      },
      [&](Ring::Slot& slot) {
        const bool is_right = expected.empty() ||
                              std::ranges::equal(slot.obj->bytes(), expected[slot.number]->bytes());
        slot.file.reset();
        slot.obj.reset();
        return is_right;
      });
}

}  // namespace kvferry
