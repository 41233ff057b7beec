#include "runtime/cache/memory_store.h"

namespace kvferry {

// Every item ends inside its call, so that a call may write into its frame.

std::vector<bool> MemoryStore::holds(std::span<const CacheEngineKey> keys) {
  std::vector<bool> held(keys.size());
  memory_.submit_contains(keys, [&held](size_t item, const Result<bool>& is_held) {
    held[item] = is_held.has_value() && *is_held;
  });
  return held;
}

MemoryObjPtr MemoryStore::find(const CacheEngineKey& key) {
  MemoryObjPtr found;
  memory_.submit_get(std::span(&key, 1), {}, [&found](size_t, Result<MemoryObjPtr> obj) {
    if (obj) found = *std::move(obj);
  });
  return found && found->is_verified() ? found : MemoryObjPtr();
}

std::vector<bool> MemoryStore::remove(std::span<const CacheEngineKey> keys, bool force) {
  std::vector<bool> were_held(keys.size());
  memory_.submit_remove(keys, force, [&were_held](size_t item, const Result<bool>& was_held) {
    were_held[item] = was_held.has_value() && *was_held;
  });
  return were_held;
}

Status MemoryStore::keep(const CacheEngineKey& key, const MemoryObjPtr& obj) {
  if (check_) KVFERRY_RETURN_IF_ERROR(check_(key, *obj));
  Status kept;
  memory_.submit_put(std::span(&key, 1), std::span(&obj, 1), {},
                     [&kept](size_t, Status status) { kept = std::move(status); });
  return kept;
}

}  // namespace kvferry
