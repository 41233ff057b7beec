// The one file that knows every factory: names become objects here.

#include <cstdlib>

#include "kvferry/make_transport.h"
#include "transports/host_offload/factory.h"
#include "transports/loopback/factory.h"
#if KVFERRY_HAVE_UCX
#include "transports/ucx/factory.h"
#endif

namespace kvferry {

std::vector<std::string> transport_names() {
  std::vector<std::string> names = {"loopback"};
#if KVFERRY_HAVE_UCX
  names.emplace_back("ucx");
#endif
#if KVFERRY_HAVE_CUDA
  names.emplace_back("host_offload");
#endif
  return names;
}

Result<std::shared_ptr<Transport>> make_transport(std::string_view name) {
  if (name == "loopback") return std::shared_ptr<Transport>(make_loopback_transport());
  if (name == "ucx") {
#if KVFERRY_HAVE_UCX
    UcxOptions options;
    options.user_overrides_tls =
        std::getenv("UCX_TLS") != nullptr;  // NOLINT(concurrency-mt-unsafe)
    return std::shared_ptr<Transport>(make_ucx_transport(options));
#else
    return make_error(StatusCode::kUnimplemented,
                      "this build has no UCX; install libucx-dev and build again");
#endif
  }
  if (name == "host_offload") {
    KVFERRY_ASSIGN_OR_RETURN(std::shared_ptr<Transport> transport, make_host_offload_transport(0));
    return transport;
  }
  std::string known;
  for (const std::string& each : transport_names()) known += (known.empty() ? "" : ", ") + each;
  return make_error(StatusCode::kNotFound,
                    "transport '" + std::string(name) + "' is unknown; use one of " + known);
}

}  // namespace kvferry
