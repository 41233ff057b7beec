#include "runtime/telemetry/metrics_server.h"

#if KVFERRY_HAVE_PROMETHEUS

#include <prometheus/exposer.h>

#include <exception>
#include <utility>

#include "runtime/telemetry/metric_families.h"

namespace kvferry {
namespace {

class Figures final : public prometheus::Collectable {
 public:
  explicit Figures(std::function<CacheStats()> stats) : stats_(std::move(stats)) {}
  std::vector<prometheus::MetricFamily> Collect() const override {
    return metric_families(stats_());
  }

 private:
  const std::function<CacheStats()> stats_;
};

class PrometheusServer final : public MetricsServer {
 public:
  /// Throws if it cannot listen.
  PrometheusServer(const std::string& address, std::function<CacheStats()> stats)
      : figures_(std::make_shared<Figures>(std::move(stats))), exposer_(address) {
    exposer_.RegisterCollectable(figures_);
  }
  uint16_t port() const override {
    return static_cast<uint16_t>(exposer_.GetListeningPorts().front());
  }

 private:
  const std::shared_ptr<Figures> figures_;
  prometheus::Exposer exposer_;
};

}  // namespace

Result<std::unique_ptr<MetricsServer>> make_metrics_server(const std::string& host, uint16_t port,
                                                           std::function<CacheStats()> stats) {
  const std::string address = host + ":" + std::to_string(port);
  try {
    return std::make_unique<PrometheusServer>(address, std::move(stats));
  } catch (const std::exception& error) {
    return make_error(StatusCode::kUnavailable,
                      "metrics cannot be served at " + address + " (" + error.what() +
                          "); set metrics_port to a free port, or to 0 for none");
  }
}

}  // namespace kvferry

#else

namespace kvferry {

Result<std::unique_ptr<MetricsServer>> make_metrics_server(const std::string&, uint16_t,
                                                           std::function<CacheStats()>) {
  return make_error(StatusCode::kUnimplemented,
                    "this build has no prometheus-cpp, so metrics_port must be 0");
}

}  // namespace kvferry

#endif
