#pragma once

#include <span>

#include "kvferry/storage_backend.h"

namespace kvferry {

/// Closes them side by side and waits for that. False when one had not closed by `deadline`: it may
/// still touch what it was given.
///
/// Threads: any but those that the backends run on
bool close_backends(std::span<StorageBackend* const> backends, TimePoint deadline);

}  // namespace kvferry
