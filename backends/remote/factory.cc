#include "backends/remote/factory.h"

#include <utility>

#include "backends/remote/blackhole_connector.h"
#include "backends/remote/fs_connector.h"
#include "backends/remote/remote_backend.h"
#include "backends/remote/remote_url.h"
#if KVFERRY_HAVE_HIREDIS
#include "backends/remote/redis_connector.h"
#endif

namespace kvferry {
namespace {

Status check_options(const RemoteOptions& options) {
  const auto refuse = [](const std::string& what) {
    return Status(StatusCode::kInvalidArgument, "remote store: " + what);
  };
  if (options.timeout <= Duration::zero()) return refuse("timeout must be above 0");
  if (options.connections < 1 || options.connections > 64) {
    return refuse("connections is " + std::to_string(options.connections) + ", must be 1 to 64");
  }
  if (options.max_queued < 1) return refuse("max_queued must be 1 or more");
  if (options.breaker_failures < 1) return refuse("breaker_failures must be 1 or more");
  if (options.breaker_cooldown < Duration::zero() || options.stale_after < Duration::zero()) {
    return refuse("breaker_cooldown and stale_after must not be below 0");
  }
  return {};
}

Result<std::unique_ptr<RemoteConnector>> make_redis_connector(const BackendContext& context,
                                                              RemoteUrl url,
                                                              const RemoteOptions& options) {
#if KVFERRY_HAVE_HIREDIS
  if (url.username.empty() && url.password.empty()) {
    url.username = options.username;
    url.password = options.password;
  }
  return std::make_unique<RedisConnector>(
      context, RedisTarget{.url = std::move(url), .timeout = options.timeout}, options);
#else
  (void)context;
  (void)options;
  return make_error(StatusCode::kUnimplemented,
                    "remote_url '" + url.to_string() +
                        "': this build has no hiredis; install libhiredis-dev and build again");
#endif
}

Result<std::unique_ptr<RemoteConnector>> make_connector(const BackendContext& context,
                                                        const RemoteUrl& url,
                                                        const RemoteOptions& options) {
  switch (url.scheme) {
    case RemoteScheme::kFs:
      return std::make_unique<FsConnector>(context, url.path, options);
    case RemoteScheme::kRedis:
    case RemoteScheme::kUnix:
      return make_redis_connector(context, url, options);
    case RemoteScheme::kBlackhole:
      break;
  }
  return std::make_unique<BlackholeConnector>();
}

}  // namespace

Result<std::unique_ptr<StorageBackend>> make_remote_backend(BackendContext context,
                                                            const RemoteOptions& options) {
  KVFERRY_RETURN_IF_ERROR(check_options(options));
  KVFERRY_ASSIGN_OR_RETURN(const RemoteUrl url, parse_remote_url(options.url));
  KVFERRY_ASSIGN_OR_RETURN(auto connector, make_connector(context, url, options));
  const bool keeps = url.scheme != RemoteScheme::kBlackhole;
  const BackendTraits traits = {
      .retains = keeps, .pins = false, .persists = keeps, .is_memory = false};
  return std::make_unique<RemoteBackend>(std::move(context), traits, options, url.to_string(),
                                         std::move(connector));
}

}  // namespace kvferry
