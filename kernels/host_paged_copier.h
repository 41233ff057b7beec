#pragma once

#include "kernels/paged_copier.h"

namespace kvferry {

/// Gathers and scatters on the caller's thread: on_done comes before enqueue() returns.
class HostPagedCopier final : public PagedCopier {
 public:
  explicit HostPagedCopier(HostCopyOptions options) : options_(options) {}

  void enqueue(PagedCopyRequest request) override;
  bool progress() override { return false; }
  size_t num_open() const override { return 0; }

 private:
  const HostCopyOptions options_;
};

}  // namespace kvferry
