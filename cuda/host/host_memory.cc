#include "cuda/host/host_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

namespace kvferry {
namespace {

constexpr size_t kHugePageBytes = HostBuffer::kAlignment;

size_t round_up(size_t bytes) {
  return (bytes + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
}

// Maps `bytes` (a multiple of kHugePageBytes) at an address that is one, too.
std::byte* map_aligned(size_t bytes) {
  const size_t reserved = bytes + kHugePageBytes;
  void* map = ::mmap(nullptr, reserved, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED) return nullptr;
  auto* start = static_cast<std::byte*>(map);
  const size_t head =
      round_up(reinterpret_cast<uintptr_t>(start)) - reinterpret_cast<uintptr_t>(start);
  if (head > 0) ::munmap(start, head);
  if (head < kHugePageBytes) ::munmap(start + head + bytes, kHugePageBytes - head);
  return start + head;
}

int prefault(std::byte* data, size_t bytes) {
#if defined(MADV_POPULATE_WRITE)
  if (::madvise(data, bytes, MADV_POPULATE_WRITE) == 0) return 0;
  if (errno != EINVAL) return errno;  // EINVAL: a kernel older than 5.14
#endif
  const auto page_bytes = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  for (size_t i = 0; i < bytes; i += page_bytes) {
    *static_cast<volatile std::byte*>(data + i) = std::byte{0};
  }
  return 0;
}

}  // namespace

Result<HostBuffer> HostBuffer::create(size_t bytes, HostBufferOptions options) {
  if (bytes == 0) return make_error(StatusCode::kInvalidArgument, "a host buffer of 0 bytes");
  const auto exhausted = [bytes](int error) {
    return tl::unexpected(Status::native(StatusCode::kResourceExhausted, ErrorDomain::kErrno, error,
                                         "cannot map a host buffer of " + std::to_string(bytes) +
                                             " bytes: " + std::strerror(error)));
  };
  HostBuffer buffer;
  if (bytes > SIZE_MAX - 2 * kHugePageBytes) return exhausted(ENOMEM);
  const size_t mapped = round_up(bytes);
  buffer.data_ = map_aligned(mapped);
  if (buffer.data_ == nullptr) return exhausted(errno);
  buffer.size_ = bytes;
  buffer.mapped_bytes_ = mapped;
  // Advice only: kernels without transparent huge pages refuse it, and huge_page_bytes() says so.
  ::madvise(buffer.data_, mapped,
            options.huge_pages == HugePages::kPrefer ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  if (options.prefault) {
    if (const int error = prefault(buffer.data_, bytes); error != 0) return exhausted(error);
  }
  return buffer;
}

HostBuffer& HostBuffer::operator=(HostBuffer&& other) noexcept {
  if (this == &other) return *this;
  reset();
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  mapped_bytes_ = std::exchange(other.mapped_bytes_, 0);
  return *this;
}

void HostBuffer::reset() noexcept {
  if (data_ != nullptr) ::munmap(data_, mapped_bytes_);
  data_ = nullptr;
  size_ = 0;
  mapped_bytes_ = 0;
}

size_t HostBuffer::huge_page_bytes() const {
  std::ifstream maps("/proc/self/smaps");
  const uintptr_t begin = reinterpret_cast<uintptr_t>(data_);
  const uintptr_t end = begin + mapped_bytes_;
  size_t total = 0;
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    uintptr_t low = 0;
    uintptr_t high = 0;
    size_t kilobytes = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &low, &high) == 2) {
      inside = low < end && begin < high;  // neighbours may be merged into one mapping
    } else if (inside && std::sscanf(line.c_str(), "AnonHugePages: %zu kB", &kilobytes) == 1) {
      total += kilobytes * 1024;
    }
  }
  return total < mapped_bytes_ ? total : mapped_bytes_;
}

}  // namespace kvferry
