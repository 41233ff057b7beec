#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kvferry/cache_engine.h"
#include "kvferry/status.h"

namespace kvferry {

/// Serves the figures of a cache engine at http://HOST:PORT/metrics, in Prometheus' text format.
/// docs/metrics.md has the names.
///
/// Threads: any thread; figures are asked for on threads of its own.
class MetricsServer {
 public:
  virtual ~MetricsServer() = default;
  virtual uint16_t port() const = 0;
};

/// `stats` is called at each scrape, until the server is destroyed.
/// Errors: kUnavailable if it cannot listen there; kUnimplemented in a build without
/// prometheus-cpp.
Result<std::unique_ptr<MetricsServer>> make_metrics_server(const std::string& host, uint16_t port,
                                                           std::function<CacheStats()> stats);

}  // namespace kvferry
