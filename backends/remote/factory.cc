#include "backends/remote/factory.h"

#include <utility>

#include "backends/remote/blackhole_connector.h"
#include "backends/remote/fs_connector.h"
#include "backends/remote/remote_backend.h"
#include "core/remote_url.h"
#if KVFERRY_HAVE_HIREDIS
#include "backends/remote/redis_connector.h"
#endif

namespace kvferry {
namespace {

Status check_options(const RemoteOptions& options) {
  const auto refuse = [](const std::string& what) {
    return Status(StatusCode::kInvalidArgument, "remote store: " + what);
  };
  if (options.store.timeout <= Duration::zero()) return refuse("timeout must be above 0");
  if (options.store.connections < 1 || options.store.connections > 64) {
    return refuse("connections is " + std::to_string(options.store.connections) +
                  ", must be 1 to 64");
  }
  if (options.max_queued < 1) return refuse("max_queued must be 1 or more");
  if (options.breaker_failures < 1) return refuse("breaker_failures must be 1 or more");
  if (options.breaker_cooldown < Duration::zero() || options.stale_after < Duration::zero()) {
    return refuse("breaker_cooldown and stale_after must not be below 0");
  }
  return {};
}

Result<std::unique_ptr<RemoteConnector>> make_connector(const BackendContext& context,
                                                        const RemoteOptions& options) {
  switch (options.store.kind) {
    case RemoteKind::kNone:
      break;
    case RemoteKind::kFs:
      return std::make_unique<FsConnector>(context, options.store.path, options);
    case RemoteKind::kRedis:
#if KVFERRY_HAVE_HIREDIS
      return std::make_unique<RedisConnector>(context, options);
#else
      return make_error(StatusCode::kUnimplemented,
                        "remote_url '" + remote_url_text(options.store) +
                            "': this build has no hiredis; install libhiredis-dev and build again");
#endif
    case RemoteKind::kBlackhole:
      return std::make_unique<BlackholeConnector>();
  }
  return make_error(StatusCode::kInvalidArgument, "remote store: none is named; set remote_url");
}

}  // namespace

Result<std::unique_ptr<StorageBackend>> make_remote_backend(BackendContext context,
                                                            const RemoteOptions& options) {
  KVFERRY_RETURN_IF_ERROR(check_options(options));
  KVFERRY_ASSIGN_OR_RETURN(auto connector, make_connector(context, options));
  const bool keeps = options.store.kind != RemoteKind::kBlackhole;
  const BackendTraits traits = {
      .retains = keeps, .pins = false, .persists = keeps, .is_memory = false};
  return std::make_unique<RemoteBackend>(std::move(context), traits, options,
                                         remote_url_text(options.store), std::move(connector));
}

}  // namespace kvferry
