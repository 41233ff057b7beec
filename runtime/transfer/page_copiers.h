#pragma once

#include <memory>

#include "kernels/paged_copier.h"
#include "kvferry/executor.h"

namespace kvferry {

/// How to gather into a staging pool of that size: what stays in cache the peer pulls faster; a
/// large pool would only drive other data out.
StoreHint staging_store(size_t staging_bytes);

/// What an engine copies with between pages and chunks: one copier for each direction, so that
/// neither waits for the other.
///
/// Threads: the data executor, which polls them from start() on; create and destroy while it does
///   not run.
class PageCopiers final : private ProgressSource {
 public:
  struct Options {
    Device device;
    size_t staging_bytes = 0;   ///< of the engine's staging pool
    size_t fragment_bytes = 0;  ///< usually, of one copy
  };

  /// Errors: with a CUDA device those of make_cuda_paged_copier()
  static Result<std::unique_ptr<PageCopiers>> create(const Options& options);

  PagedCopier& gather() { return *gather_; }
  PagedCopier& scatter() { return *scatter_; }

  /// On the data executor.
  Status start(Executor& data) { return data.add_progress_source(this); }

 private:
  PageCopiers(std::unique_ptr<PagedCopier> gather, std::unique_ptr<PagedCopier> scatter)
      : gather_(std::move(gather)), scatter_(std::move(scatter)) {}

  bool progress() override;
  int event_fd() const override { return -1; }
  /// A GPU tells nobody when it is done: no sleep meanwhile.
  bool arm() override { return gather_->num_open() + scatter_->num_open() == 0; }

  std::unique_ptr<PagedCopier> gather_;
  std::unique_ptr<PagedCopier> scatter_;
};

}  // namespace kvferry
