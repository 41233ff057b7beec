#include <algorithm>
#include <cstring>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "cuda/cuda_event.h"
#include "cuda/cuda_stream.h"
#include "cuda/device_copy.h"
#include "cuda/device_memory.h"
#include "cuda/memory_query.h"
#include "cuda/pinned_memory.h"
#include "kernels/cuda_paged_copier.h"
#include "kernels/link_rows.h"
#include "kernels/paged_copy_cuda.h"

namespace kvferry {
namespace {

/// What one operation works with; its own until `done` has come.
struct Slot {
  DeviceMemory staging;
  DeviceMemory descriptors;
  PinnedMemory upload;   // of the descriptors
  PinnedMemory digests;  // written by the kernel
  CudaEvent half_done;   // the pages' part of a gather, the link's part of a scatter
  CudaEvent done;
  Status status = {};
  PagedCopyRequest request = {};

  static Result<Slot> create(const CudaPagedCopierOptions& options) {
    KVFERRY_ASSIGN_OR_RETURN(auto staging,
                             DeviceMemory::create(options.device, options.staging_bytes));
    KVFERRY_ASSIGN_OR_RETURN(auto descriptors,
                             DeviceMemory::create(options.device, options.descriptor_bytes));
    KVFERRY_ASSIGN_OR_RETURN(auto upload, PinnedMemory::create(options.descriptor_bytes));
    KVFERRY_ASSIGN_OR_RETURN(auto digests,
                             PinnedMemory::create(options.max_tiles * sizeof(uint64_t)));
    KVFERRY_ASSIGN_OR_RETURN(auto half_done, CudaEvent::create(options.device));
    KVFERRY_ASSIGN_OR_RETURN(auto done, CudaEvent::create(options.device));
    return Slot{std::move(staging), std::move(descriptors), std::move(upload),
                std::move(digests), std::move(half_done),   std::move(done)};
  }
};

class CudaPagedCopier final : public PagedCopier {
 public:
  CudaPagedCopier(const CudaPagedCopierOptions& options, CudaStream pages, CudaStream link,
                  std::vector<Slot> slots)
      : options_(options),
        pages_(std::move(pages)),
        link_(std::move(link)),
        slots_(std::move(slots)) {}
  CudaPagedCopier(const CudaPagedCopier&) = delete;
  CudaPagedCopier& operator=(const CudaPagedCopier&) = delete;
  ~CudaPagedCopier() override;

  void enqueue(PagedCopyRequest request) override;
  bool progress() override;
  size_t num_open() const override { return num_running_ + waiting_.size(); }

 private:
  Slot& slot_of(size_t turn) { return slots_[turn % slots_.size()]; }

  void begin_waiting();
  Status begin(Slot& slot);
  /// How an operation goes, and with how many thread blocks.
  struct Way {
    bool is_staged = false;
    int32_t max_thread_blocks = 0;
  };
  Result<Way> way_of(const PagedCopyRequest& request, size_t rows_bytes) const;
  Status check_bounds(const PagedCopyRequest& request, std::span<const PagedCopyPlane> planes,
                      size_t staged_bytes) const;
  Status run_kernel(Slot& slot, std::span<const PagedCopyPlane> planes, LinkRows::Place work,
                    int32_t max_thread_blocks);
  Status wait_for_streams() const;
  void end(Slot& slot, Status status);

  const CudaPagedCopierOptions options_;
  CudaStream pages_;  // kernels, and what they need
  CudaStream link_;   // copies between staging and chunk
  std::vector<Slot> slots_;
  size_t oldest_ = 0;  // turn of the oldest operation under way
  size_t num_running_ = 0;
  bool closed_ = false;
  std::deque<PagedCopyRequest> waiting_;
};

CudaPagedCopier::~CudaPagedCopier() {
  closed_ = true;
  const Status quiet = wait_for_streams();
  while (num_running_ > 0) {
    --num_running_;
    Slot& ended = slot_of(oldest_++);
    end(ended, ended.status.is_ok() ? quiet : ended.status);
  }
  while (!waiting_.empty()) {
    const PagedCopyRequest request = std::move(waiting_.front());
    waiting_.pop_front();
    request.on_done({StatusCode::kCancelled, "the copier of its CUDA device was closed"});
  }
}

Status CudaPagedCopier::wait_for_streams() const {
  const Status pages = pages_.view().synchronize();
  const Status link = link_.view().synchronize();
  return pages.is_ok() ? link : pages;
}

void CudaPagedCopier::enqueue(PagedCopyRequest request) {
  waiting_.push_back(std::move(request));
  begin_waiting();
}

void CudaPagedCopier::begin_waiting() {
  while (!closed_ && !waiting_.empty() && num_running_ < slots_.size()) {
    Slot& next = slot_of(oldest_ + num_running_++);
    next.request = std::move(waiting_.front());
    waiting_.pop_front();
    next.status = begin(next);
    // What was enqueued before the fault may still run: rare enough to wait for.
    if (!next.status.is_ok()) wait_for_streams().ignore("the first fault is the one to report");
  }
}

bool CudaPagedCopier::progress() {
  bool moved = false;
  while (num_running_ > 0) {
    Slot& oldest = slot_of(oldest_);
    Status status = oldest.status;
    if (status.is_ok()) {
      const Result<bool> done = oldest.done.is_done();
      if (done && !*done) break;
      if (!done) status = done.error();
    }
    ++oldest_;
    --num_running_;
    moved = true;
    end(oldest, std::move(status));
  }
  begin_waiting();
  return moved;
}

void CudaPagedCopier::end(Slot& slot, Status status) {
  const PagedCopyRequest request = std::exchange(slot.request, {});
  if (status.is_ok() && !request.tile_digests.empty()) {
    std::memcpy(request.tile_digests.data(), slot.digests.data(),
                request.tile_digests.size_bytes());
  }
  request.on_done(std::move(status));
}

Status CudaPagedCopier::begin(Slot& slot) {
  const PagedCopyRequest& request = slot.request;
  KVFERRY_RETURN_IF_ERROR(request.copy->check_call(
      Device::cuda(options_.device), request.plane_begin, request.plane_end, request.chunk.size(),
      request.tile_digests.size()));
  const auto planes =
      request.copy->planes().subspan(static_cast<size_t>(request.plane_begin),
                                     static_cast<size_t>(request.plane_end - request.plane_begin));
  if (planes.empty()) return slot.done.record(pages_.view());
  const LinkRows rows(planes, request.copy->num_tokens());
  KVFERRY_ASSIGN_OR_RETURN(const Way way, way_of(request, rows.size_bytes()));
  KVFERRY_RETURN_IF_ERROR(check_bounds(request, planes, way.is_staged ? rows.size_bytes() : 0));
  const LinkRows::Place chunk{request.chunk.data(), 0};
  const LinkRows::Place staging{slot.staging.data(), rows.begin_bytes()};
  if (!way.is_staged) {
    KVFERRY_RETURN_IF_ERROR(run_kernel(slot, planes, chunk, way.max_thread_blocks));
    return slot.done.record(pages_.view());
  }
  if (request.direction == CopyDirection::kScatter) {
    KVFERRY_RETURN_IF_ERROR(rows.copy(staging, chunk, link_.view()));
    KVFERRY_RETURN_IF_ERROR(slot.half_done.record(link_.view()));
    KVFERRY_RETURN_IF_ERROR(pages_.view().wait_for(slot.half_done));
    KVFERRY_RETURN_IF_ERROR(run_kernel(slot, planes, staging, way.max_thread_blocks));
    return slot.done.record(pages_.view());
  }
  KVFERRY_RETURN_IF_ERROR(run_kernel(slot, planes, staging, way.max_thread_blocks));
  KVFERRY_RETURN_IF_ERROR(slot.half_done.record(pages_.view()));
  KVFERRY_RETURN_IF_ERROR(link_.view().wait_for(slot.half_done));
  KVFERRY_RETURN_IF_ERROR(rows.copy(chunk, staging, link_.view()));
  return slot.done.record(link_.view());
}

Result<CudaPagedCopier::Way> CudaPagedCopier::way_of(const PagedCopyRequest& request,
                                                     size_t rows_bytes) const {
  KVFERRY_ASSIGN_OR_RETURN(const MemoryPlace place, find_memory(request.chunk.data()));
  if (place.kind == MemoryPlace::Kind::kPageableHost) {
    return make_error(StatusCode::kInvalidArgument,
                      "the chunk lies in pageable host memory, which a GPU cannot reach by itself; "
                      "register it (HostRegistration) or take it from pinned memory");
  }
  const bool is_here = place == MemoryPlace{MemoryPlace::Kind::kDevice, options_.device};
  const bool stages = !is_here && rows_bytes <= options_.staging_bytes;
  const DevicePath path = request.path.value_or(stages ? DevicePath::kStaged : DevicePath::kDirect);
  const bool crosses_link = path == DevicePath::kDirect && !is_here;
  return Way{path == DevicePath::kStaged,
             crosses_link ? options_.link_thread_blocks : options_.device_thread_blocks};
}

Status CudaPagedCopier::check_bounds(const PagedCopyRequest& request,
                                     std::span<const PagedCopyPlane> planes,
                                     size_t staged_bytes) const {
  const auto too_large = [](const char* option, size_t needed, size_t limit) {
    return Status(StatusCode::kResourceExhausted,
                  std::string(option) + " is " + std::to_string(limit) + "; this copy needs " +
                      std::to_string(needed) + ": raise it, or copy fewer planes at a time");
  };
  const size_t descriptors = planes.size_bytes() + request.copy->slots().size_bytes();
  if (descriptors > options_.descriptor_bytes) {
    return too_large("descriptor_bytes", descriptors, options_.descriptor_bytes);
  }
  if (request.tile_digests.size() > options_.max_tiles) {
    return too_large("max_tiles", request.tile_digests.size(), options_.max_tiles);
  }
  if (staged_bytes > options_.staging_bytes) {
    return too_large("staging_bytes", staged_bytes, options_.staging_bytes);
  }
  return {};
}

Status CudaPagedCopier::run_kernel(Slot& slot, std::span<const PagedCopyPlane> planes,
                                   LinkRows::Place work, int32_t max_thread_blocks) {
  const PagedCopyRequest& request = slot.request;
  const std::span<const int64_t> slots = request.copy->slots();
  // The last user of the upload ended before this operation got its slot.
  std::memcpy(slot.upload.data(), planes.data(), planes.size_bytes());
  std::memcpy(slot.upload.data() + planes.size_bytes(), slots.data(), slots.size_bytes());
  KVFERRY_RETURN_IF_ERROR(copy_async(slot.descriptors.data(), slot.upload.data(),
                                     planes.size_bytes() + slots.size_bytes(), pages_.view()));
  if (request.after != nullptr) {
    KVFERRY_RETURN_IF_ERROR(enqueue_wait(pages_.view(), request.after));
  }
  PagedCopyDevice copy;
  copy.planes = reinterpret_cast<const PagedCopyPlane*>(slot.descriptors.data());
  copy.slots = reinterpret_cast<const int64_t*>(slot.descriptors.data() + planes.size_bytes());
  copy.chunk = work.data;
  copy.chunk_begin_bytes = work.begin_bytes;
  if (!request.tile_digests.empty()) {
    copy.tile_digests = reinterpret_cast<uint64_t*>(slot.digests.data());
  }
  copy.num_tokens = request.copy->num_tokens();
  copy.plane_end = static_cast<int32_t>(planes.size());
  return launch_paged_copy(
      copy,
      {.direction = request.direction,
       .alignment = request.copy->alignment(),
       .max_row_bytes = std::ranges::max(planes, {}, &PagedCopyPlane::row_bytes).row_bytes(),
       .max_thread_blocks = max_thread_blocks},
      pages_.view());
}

Status check_options(const CudaPagedCopierOptions& options) {
  const auto invalid = [](const char* what) {
    return Status(StatusCode::kInvalidArgument, std::string("CudaPagedCopierOptions: ") + what);
  };
  if (options.num_slots == 0) return invalid("num_slots is 0; 2 or more let copies overlap");
  if (options.staging_bytes == 0) return invalid("staging_bytes is 0; give a fragment's");
  if (options.descriptor_bytes == 0) return invalid("descriptor_bytes is 0");
  if (options.max_tiles == 0) return invalid("max_tiles is 0");
  if (options.device_thread_blocks < 0 || options.link_thread_blocks < 0) {
    return invalid("a number of thread blocks is negative");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<PagedCopier>> make_cuda_paged_copier(const CudaPagedCopierOptions& options) {
  KVFERRY_RETURN_IF_ERROR(check_options(options));
  // A gather delayed behind an engine's kernels delays the link; its own kernels are short.
  KVFERRY_ASSIGN_OR_RETURN(auto pages,
                           CudaStream::create(options.device, CudaStreamPriority::kHigh));
  KVFERRY_ASSIGN_OR_RETURN(auto link, CudaStream::create(options.device));
  std::vector<Slot> slots;
  for (size_t i = 0; i < options.num_slots; ++i) {
    KVFERRY_ASSIGN_OR_RETURN(auto slot, Slot::create(options));
    slots.push_back(std::move(slot));
  }
  return std::make_unique<CudaPagedCopier>(options, std::move(pages), std::move(link),
                                           std::move(slots));
}

}  // namespace kvferry
