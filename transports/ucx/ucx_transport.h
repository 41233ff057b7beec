#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string_view>

#include "kvferry/mutex.h"
#include "kvferry/transport.h"
#include "transports/ucx/factory.h"
#include "transports/ucx/ucx_handles.h"

namespace kvferry {

/// Serves peers in other processes. One UCX context for each class of peers, since the choice of
/// transports belongs to a context; started by the first use of the class.
///
/// Threads: any thread for is_available; open_link on the executor that will own the link.
class UcxTransport final : public Transport {
 public:
  explicit UcxTransport(UcxOptions options);

  std::string_view name() const override { return "ucx"; }
  Status is_available(PeerClass peer_class) const override;
  /// True if the context of each class that is available says so.
  bool moves_device_memory() const override;
  Result<std::unique_ptr<Link>> open_link(PeerClass peer_class, Executor& executor) override;

 private:
  using ContextPtr = std::shared_ptr<const UcxContext>;  // shared with the links

  struct Cuda {
    bool has_device = false;
    bool is_in_paths = false;  // UCX has transports for it, which are added to each path
  };

  Cuda cuda() const KVFERRY_EXCLUDES(mutex_);
  UcxPath path_of(PeerClass peer_class) const KVFERRY_EXCLUDES(mutex_);
  Result<ContextPtr> context_of(PeerClass peer_class) const KVFERRY_EXCLUDES(mutex_);

  const UcxOptions options_;
  mutable Mutex mutex_;
  mutable std::optional<Cuda> cuda_ KVFERRY_GUARDED_BY(mutex_);  // asked by the first use
  mutable std::array<std::optional<Result<ContextPtr>>, 4> contexts_ KVFERRY_GUARDED_BY(mutex_);
};

}  // namespace kvferry
