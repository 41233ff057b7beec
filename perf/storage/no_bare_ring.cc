#include "perf/storage/bare_ring.h"

namespace kvferry {

struct BareRing::Ring {};

BareRing::~BareRing() = default;

std::unique_ptr<BareRing> BareRing::create(const std::filesystem::path& /*directory*/,
                                           MemoryPool& /*pool*/, size_t /*depth*/) {
  return nullptr;
}

bool BareRing::put(std::span<const MemoryObjPtr> /*chunks*/) { return false; }

bool BareRing::get(std::span<const size_t> /*order*/, size_t /*bytes*/,
                   std::span<const MemoryObjPtr> /*expected*/) {
  return false;
}

}  // namespace kvferry
