#include "conformance/backend_contract_memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

namespace kvferry {
namespace {

constexpr size_t kAlignment = 4096;
constexpr std::byte kPoisonByte{0xdb};

void poison(MemoryObj& obj) {
  std::memset(obj.bytes().data(), std::to_integer<int>(kPoisonByte), obj.bytes().size());
}

}  // namespace

void PoisonedAllocator::FreeMemory::operator()(std::byte* memory) const {
  ::operator delete[](memory, std::align_val_t(kAlignment));
}

PoisonedAllocator::PoisonedAllocator(size_t object_bytes, size_t num_objects)
    : object_bytes_((object_bytes + kAlignment - 1) / kAlignment * kAlignment),
      memory_(static_cast<std::byte*>(
          ::operator new[](object_bytes_* num_objects, std::align_val_t(kAlignment)))) {
  for (size_t i = 0; i < num_objects; ++i) {
    objects_.push_back(std::make_unique<MemoryObj>(
        *this, std::span(memory_.get() + i * object_bytes_, object_bytes_)));
    free_.push_back(objects_.back().get());
  }
}

PoisonedAllocator::~PoisonedAllocator() = default;

MemoryObjPtr PoisonedAllocator::take(size_t size_bytes) {
  if (free_.empty()) return MemoryObjPtr();
  MemoryObj* obj = free_.back();
  free_.pop_back();
  note_writes(*obj);
  obj->reset();
  obj->resize(size_bytes);
  poison(*obj);
  return MemoryObjPtr(obj);
}

// Only what was in use is poisoned: the rest was never touched.
void PoisonedAllocator::note_writes(const MemoryObj& obj) {
  const std::span<const std::byte> bytes = obj.bytes();
  if (bytes.empty()) return;
  // All are as the first: each is as the one before it.
  const bool is_quiet =
      bytes[0] == kPoisonByte && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
  if (!is_quiet) ++num_late_writes_;
}

Result<MemoryObjPtr> PoisonedAllocator::allocate(size_t size_bytes) {
  if (size_bytes > object_bytes_) {
    return make_error(StatusCode::kInvalidArgument, std::to_string(size_bytes) +
                                                        " bytes asked for, an object has " +
                                                        std::to_string(object_bytes_));
  }
  for (;;) {
    {
      MutexLock lock(mutex_);
      if (MemoryObjPtr obj = take(size_bytes)) return obj;
    }
    MutexLock lock(reclaimer_mutex_);
    if (!reclaimer_ || reclaimer_(1) == 0) {
      return make_error(StatusCode::kResourceExhausted,
                        "all " + std::to_string(objects_.size()) + " objects are in use");
    }
  }
}

void PoisonedAllocator::set_reclaimer(Reclaimer reclaimer) {
  MutexLock lock(reclaimer_mutex_);
  reclaimer_ = std::move(reclaimer);
}

std::vector<std::span<std::byte>> PoisonedAllocator::regions() const {
  return {std::span(memory_.get(), object_bytes_ * objects_.size())};
}

bool PoisonedAllocator::owns(const MemoryObj& obj) const {
  return std::ranges::any_of(objects_, [&](const auto& each) { return each.get() == &obj; });
}

size_t PoisonedAllocator::used() const {
  MutexLock lock(mutex_);
  return objects_.size() - free_.size();
}

bool PoisonedAllocator::wait_until_used(size_t used, TimePoint deadline) {
  MutexLock lock(mutex_);
  while (objects_.size() - free_.size() > used) {
    if (!released_.wait_until(mutex_, deadline)) return objects_.size() - free_.size() <= used;
  }
  return true;
}

Status PoisonedAllocator::check_quiet() {
  MutexLock lock(mutex_);
  for (const MemoryObj* obj : free_) note_writes(*obj);
  if (num_late_writes_ == 0) return {};
  return Status(StatusCode::kDataLoss,
                std::to_string(num_late_writes_) +
                    " objects were written into after their last reference had been dropped");
}

void PoisonedAllocator::release(MemoryObj& obj) noexcept {
  poison(obj);
  {
    MutexLock lock(mutex_);
    free_.push_back(&obj);
  }
  released_.notify_all();
}

}  // namespace kvferry
