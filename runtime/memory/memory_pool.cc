#include "runtime/memory/memory_pool.h"

#include <algorithm>
#include <limits>
#include <string>

namespace kvferry {
namespace {

constexpr size_t kSlotAlignment = 4096;

size_t round_up(size_t bytes) {
  return (bytes + kSlotAlignment - 1) / kSlotAlignment * kSlotAlignment;
}

}  // namespace

Result<std::unique_ptr<MemoryPool>> MemoryPool::create(const MemoryPoolOptions& options) {
  if (options.slot_bytes == 0 || options.num_slots == 0) {
    return make_error(StatusCode::kInvalidArgument,
                      "a memory pool needs slot_bytes and num_slots > 0; got " +
                          std::to_string(options.slot_bytes) + " and " +
                          std::to_string(options.num_slots));
  }
  constexpr size_t kMaxBytes = std::numeric_limits<size_t>::max() / 2;
  if (options.slot_bytes > kMaxBytes ||
      round_up(options.slot_bytes) > kMaxBytes / options.num_slots) {
    return make_error(StatusCode::kInvalidArgument, "the memory pool's size overflows");
  }
  KVFERRY_ASSIGN_OR_RETURN(Memory memory,
                           make_memory(round_up(options.slot_bytes) * options.num_slots, options));
  return std::unique_ptr<MemoryPool>(new MemoryPool(std::move(memory), options));
}

Result<MemoryPool::Memory> MemoryPool::make_memory(size_t bytes, const MemoryPoolOptions& options) {
  Memory memory;
  if (options.memory == PoolMemory::kDevice) {
    KVFERRY_ASSIGN_OR_RETURN(memory.device, DeviceMemory::create(options.cuda_device, bytes));
    memory.bytes = memory.device->bytes();
    return memory;
  }
  KVFERRY_ASSIGN_OR_RETURN(memory.host,
                           HostBuffer::create(bytes, {.huge_pages = options.huge_pages}));
  memory.bytes = memory.host.bytes();
  if (options.memory == PoolMemory::kPinned) {
    KVFERRY_ASSIGN_OR_RETURN(memory.registration, HostRegistration::create(memory.bytes));
  }
  return memory;
}

MemoryPool::MemoryPool(Memory memory, const MemoryPoolOptions& options)
    : memory_(std::move(memory)), slot_bytes_(round_up(options.slot_bytes)) {
  objects_.reserve(options.num_slots);
  for (size_t i = 0; i < options.num_slots; ++i) {
    objects_.push_back(
        std::make_unique<MemoryObj>(*this, memory_.bytes.subspan(i * slot_bytes_, slot_bytes_)));
  }
  MutexLock lock(mutex_);
  turns_.assign(options.num_slots, 0);
  for (size_t i = options.num_slots; i > 0; --i) free_.push_back(objects_[i - 1].get());
}

MemoryPool::~MemoryPool() = default;

Status MemoryPool::check_size(size_t size_bytes) const {
  if (size_bytes <= slot_bytes_) return {};
  return Status(StatusCode::kInvalidArgument, "a chunk of " + std::to_string(size_bytes) +
                                                  " bytes never fits the pool's slots of " +
                                                  std::to_string(slot_bytes_) +
                                                  "; raise slot_bytes");
}

MemoryObjPtr MemoryPool::take_slot(size_t size_bytes) {
  if (free_.empty()) return MemoryObjPtr();
  MemoryObj* obj = free_.back();
  free_.pop_back();
  ++turns_[index_of(obj->capacity().data())];
  peak_used_ = std::max(peak_used_, objects_.size() - free_.size());
  obj->resize(size_bytes);
  obj->reset();
  return MemoryObjPtr(obj);
}

MemoryObjPtr MemoryPool::try_allocate(size_t size_bytes) {
  MutexLock lock(mutex_);
  return take_slot(size_bytes);
}

Result<MemoryObjPtr> MemoryPool::allocate(size_t size_bytes) {
  KVFERRY_RETURN_IF_ERROR(check_size(size_bytes));
  // What the reclaimer frees another thread may take first: try a few times, not for ever.
  constexpr int kAttempts = 8;
  MemoryObjPtr obj = try_allocate(size_bytes);
  for (int i = 0; i < kAttempts && !obj && reclaim_one(); ++i) obj = try_allocate(size_bytes);
  if (obj) return obj;
  MutexLock lock(mutex_);
  ++refused_;
  return make_error(StatusCode::kResourceExhausted,
                    "all " + std::to_string(objects_.size()) +
                        " slots of the memory pool are in use; retry when one is released");
}

bool MemoryPool::reclaim_one() {
  std::shared_ptr<Reclaimer> reclaimer;
  {
    MutexLock lock(mutex_);
    reclaimer = reclaimer_;
    if (reclaimer == nullptr) return false;
    ++reclaims_;
  }
  const bool freed = (*reclaimer)(1) > 0;
  MutexLock lock(mutex_);
  --reclaims_;
  reclaim_ended_.notify_all();
  return freed;
}

void MemoryPool::set_reclaimer(Reclaimer reclaimer) {
  MutexLock lock(mutex_);
  reclaimer_ = reclaimer ? std::make_shared<Reclaimer>(std::move(reclaimer)) : nullptr;
  while (reclaimer_ == nullptr && reclaims_ > 0) reclaim_ended_.wait(mutex_);
}

Result<MemoryObjPtr> MemoryPool::allocate_until(size_t size_bytes, TimePoint deadline) {
  KVFERRY_RETURN_IF_ERROR(check_size(size_bytes));
  MutexLock lock(mutex_);
  for (;;) {
    MemoryObjPtr obj = take_slot(size_bytes);
    if (obj) return obj;
    if (!slot_released_.wait_until(mutex_, deadline) && free_.empty()) break;
  }
  ++refused_;
  return make_error(StatusCode::kDeadlineExceeded, "no slot of the memory pool (" +
                                                       std::to_string(objects_.size()) +
                                                       " in all) was released before the deadline");
}

void MemoryPool::set_release_listener(std::function<void()> listener) {
  release_listener_ = std::move(listener);
}

void MemoryPool::release(MemoryObj& obj) noexcept {
  {
    MutexLock lock(mutex_);
    ++turns_[index_of(obj.capacity().data())];
    free_.push_back(&obj);  // capacity was reserved by the constructor's pushes
    slot_released_.notify_one();
  }
  if (release_listener_) release_listener_();
}

uint64_t MemoryPool::use_at(const std::byte* address) const {
  if (address < memory_.bytes.data() || address >= memory_.bytes.data() + bytes()) return 0;
  MutexLock lock(mutex_);
  const uint64_t turn = turns_[index_of(address)];
  return turn % 2 == 1 ? turn : 0;
}

MemoryPoolUsage MemoryPool::usage() const {
  MutexLock lock(mutex_);
  MemoryPoolUsage usage;
  usage.slot_bytes = slot_bytes_;
  usage.num_slots = objects_.size();
  usage.used_slots = objects_.size() - free_.size();
  usage.peak_used_slots = peak_used_;
  usage.refused = refused_;
  return usage;
}

}  // namespace kvferry
