#pragma once

#include <functional>
#include <memory>

#include "backends/local_disk/disk_store.h"

namespace kvferry {

/// Opens a store over any FileSystem, as make_local_disk_backend does over the system's.
///
/// `make_ring` is asked for where options.io allows io_uring and direct I/O works.
/// Errors: those of make_local_disk_backend().
Result<std::shared_ptr<DiskStore>> open_disk_store(
    const BackendContext& context, const LocalDiskOptions& options,
    std::shared_ptr<FileSystem> files,
    const std::function<Result<std::unique_ptr<BlockIo>>(const BackendContext&)>& make_ring);

}  // namespace kvferry
