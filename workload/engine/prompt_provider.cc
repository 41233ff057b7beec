#include "workload/engine/prompt_provider.h"

namespace kvferry {

Result<PagedChunk> PromptProvider::open_chunk(const ChunkRef& ref) {
  MutexLock lock(mutex_);
  const std::vector<int64_t>* blocks = cache_.find_blocks(ref.key);
  if (blocks == nullptr) {
    return make_error(StatusCode::kNotFound, "chunk " + ref.key.to_string() + " is not held");
  }
  KVFERRY_ASSIGN_OR_RETURN(std::vector<int64_t> slots, cache_.slots_of(ref, *blocks));
  KVFERRY_RETURN_IF_ERROR(cache_.pin(ref.key));
  ++num_open_;
  return PagedChunk{&cache_.cache().layout(), std::move(slots)};
}

void PromptProvider::close_chunk(const ChunkRef& ref) {
  MutexLock lock(mutex_);
  cache_.unpin(ref.key).ignore("pinned when it was opened");
  --num_open_;
}

int64_t PromptProvider::num_open() const {
  MutexLock lock(mutex_);
  return num_open_;
}

}  // namespace kvferry
