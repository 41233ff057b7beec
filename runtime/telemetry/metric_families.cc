#include "runtime/telemetry/metric_families.h"

#include <utility>

namespace kvferry {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

class Families {
 public:
  /// Following add()s go into this one.
  void begin(std::string name, MetricType type, std::string help) {
    MetricFamily& family = families_.emplace_back();
    family.name = "kvferry_" + std::move(name);
    family.help = std::move(help);
    family.type = type;
  }
  void add(Labels labels, double value) {
    ClientMetric& metric = families_.back().metric.emplace_back();
    metric.label = std::move(labels);
    if (families_.back().type == MetricType::Counter) {
      metric.counter.value = value;
    } else {
      metric.gauge.value = value;
    }
  }
  void add(Labels labels, uint64_t value) { add(std::move(labels), static_cast<double>(value)); }
  void add(Labels labels, const LatencyReport& latency) {
    ClientMetric& metric = families_.back().metric.emplace_back();
    metric.label = std::move(labels);
    uint64_t cumulative = 0;
    for (size_t i = 0; i < latency.upper_bounds_seconds.size(); ++i) {
      cumulative += latency.counts[i];
      metric.histogram.bucket.push_back({cumulative, latency.upper_bounds_seconds[i]});
    }
    metric.histogram.sample_count = cumulative + latency.counts.back();
    metric.histogram.sample_sum = latency.sum_seconds;
  }

  void one(std::string name, MetricType type, std::string help, uint64_t value) {
    begin(std::move(name), type, std::move(help));
    add({}, value);
  }

  std::vector<MetricFamily> take() { return std::move(families_); }

 private:
  std::vector<MetricFamily> families_;
};

void add_engine(const CacheStats& stats, Families& to) {
  to.one("lookups_total", MetricType::Counter, "Calls of lookup", stats.lookups);
  to.one("lookup_tokens_total", MetricType::Counter, "Tokens looked up", stats.looked_up_tokens);
  to.one("found_tokens_total", MetricType::Counter, "Tokens that lookups found",
         stats.found_tokens);
  to.one("retrieved_tokens_total", MetricType::Counter, "Tokens put into pages, verified",
         stats.retrieved_tokens);
  to.one("stored_chunks_total", MetricType::Counter, "Chunks put into at least one sink",
         stats.stored_chunks);
  to.one("mismatched_chunks_total", MetricType::Counter,
         "Chunks that failed verification, never served", stats.mismatched_chunks);
  to.one("prefetched_chunks_total", MetricType::Counter, "Chunks that prefetches brought to memory",
         stats.prefetched_chunks);
  to.one("prefetch_refused_total", MetricType::Counter, "Chunks that a prefetch had no room for",
         stats.refused_prefetch_chunks);
  to.one("prefetch_in_flight_bytes", MetricType::Gauge, "Chunks that prefetches are bringing",
         stats.prefetch_in_flight_bytes);
  to.one("prefetch_in_flight_limit_bytes", MetricType::Gauge, "Bound of those",
         stats.max_prefetch_in_flight_bytes);
  to.one("timed_out_pins_total", MetricType::Counter, "Pinned chunks that pin_timeout released",
         stats.timed_out_pins);
  to.one("shared_fetches_total", MetricType::Counter, "Fetches that joined an equal one under way",
         stats.shared_fetches);
  to.one("promotions_total", MetricType::Counter, "Hits of lower tiers that memory took in",
         stats.promotions);
  to.begin("operation_seconds", MetricType::Histogram, "How long operations took");
  to.add({{"operation", "lookup"}}, stats.lookup_latency);
  to.add({{"operation", "retrieve"}}, stats.retrieve_latency);
  to.add({{"operation", "store"}}, stats.store_latency);
}

void add_pool(const CacheStats& stats, Families& to) {
  to.one("pool_used_bytes", MetricType::Gauge, "Memory of chunks in use", stats.pool_used_bytes);
  to.one("pool_peak_bytes", MetricType::Gauge, "The most of it so far", stats.pool_peak_bytes);
  to.one("pool_limit_bytes", MetricType::Gauge, "Its bound", stats.pool_bytes);
  to.one("pool_refused_total", MetricType::Counter, "Allocations that found it full",
         stats.pool_refused);
}

void add_per_sink(const CacheStats& stats, Families& to) {
  const auto each = [&](std::string name, MetricType type, std::string help,
                        uint64_t (*value)(const SinkReport&)) {
    to.begin(std::move(name), type, std::move(help));
    for (const SinkReport& sink : stats.sinks) to.add({{"sink", sink.name}}, value(sink));
  };
  each("sink_hits_total", MetricType::Counter, "Chunks that a sink gave",
       [](const SinkReport& sink) { return sink.hits; });
  each("sink_hit_bytes_total", MetricType::Counter, "Bytes of them",
       [](const SinkReport& sink) { return sink.hit_bytes; });
  to.begin("sink_misses_total", MetricType::Counter, "Chunks that a sink did not give, by cause");
  for (const SinkReport& sink : stats.sinks) {
    for (const auto& [cause, count] : sink.misses) {
      to.add({{"sink", sink.name}, {"cause", cause}}, count);
    }
  }
  each("sink_puts_total", MetricType::Counter, "Chunks that a sink took",
       [](const SinkReport& sink) { return sink.puts; });
  each("sink_put_bytes_total", MetricType::Counter, "Bytes of them",
       [](const SinkReport& sink) { return sink.put_bytes; });
  each("sink_failed_puts_total", MetricType::Counter, "Chunks that a sink failed to take",
       [](const SinkReport& sink) { return sink.failed_puts; });
  each("sink_refused_puts_total", MetricType::Counter,
       "Chunks that were not given to a sink without room",
       [](const SinkReport& sink) { return sink.refused_puts; });
  each("sink_late_items_total", MetricType::Counter, "Items that ended after their deadline",
       [](const SinkReport& sink) { return sink.late_items; });
  each("sink_in_flight_bytes", MetricType::Gauge, "Chunks that a sink is reading or writing",
       [](const SinkReport& sink) { return sink.in_flight_bytes; });
  each("sink_in_flight_limit_bytes", MetricType::Gauge, "Bound of those",
       [](const SinkReport& sink) { return sink.max_in_flight_bytes; });
  each("sink_queued_items", MetricType::Gauge, "Chunks that wait for a sink",
       [](const SinkReport& sink) { return sink.queued_items; });
  to.begin("sink_queue_limit_items", MetricType::Gauge, "How many each of its queues takes");
  for (const SinkReport& sink : stats.sinks) {
    to.add({{"sink", sink.name}, {"queue", "retrieve"}}, sink.max_queued_gets);
    to.add({{"sink", sink.name}, {"queue", "prefetch"}}, sink.max_queued_gets);
    to.add({{"sink", sink.name}, {"queue", "store"}}, sink.max_queued_puts);
  }
  each("sink_entries", MetricType::Gauge, "Chunks that a sink holds",
       [](const SinkReport& sink) { return sink.usage.entries; });
  each("sink_used_bytes", MetricType::Gauge, "Bytes that a sink holds",
       [](const SinkReport& sink) { return sink.usage.bytes; });
  each("sink_limit_bytes", MetricType::Gauge, "Its bound; 0: none here",
       [](const SinkReport& sink) { return sink.usage.capacity_bytes; });
  each("sink_pinned_entries", MetricType::Gauge, "Chunks that are pinned in a sink",
       [](const SinkReport& sink) { return sink.usage.pinned_entries; });
  each("sink_evicted_total", MetricType::Counter, "Chunks that made room for others",
       [](const SinkReport& sink) { return sink.usage.evicted_entries; });
}

void add_own(const CacheStats& stats, Families& to) {
  to.begin("backend_events_total", MetricType::Counter, "What a backend counts for itself");
  for (const SinkReport& sink : stats.sinks) {
    for (const auto& [name, value] : sink.own_counters) {
      to.add({{"sink", sink.name}, {"event", name}}, value);
    }
  }
  to.begin("backend_value", MetricType::Gauge, "What a backend says of itself");
  for (const SinkReport& sink : stats.sinks) {
    for (const auto& [name, value] : sink.own_gauges) {
      to.add({{"sink", sink.name}, {"name", name}}, value);
    }
  }
}

}  // namespace

std::vector<MetricFamily> metric_families(const CacheStats& stats) {
  Families families;
  add_engine(stats, families);
  add_pool(stats, families);
  add_per_sink(stats, families);
  add_own(stats, families);
  return families.take();
}

}  // namespace kvferry
