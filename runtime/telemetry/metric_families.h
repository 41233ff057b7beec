#pragma once

#include <prometheus/metric_family.h>

#include <vector>

#include "kvferry/cache_engine.h"

namespace kvferry {

/// The figures of a cache engine under the names of docs/metrics.md.
std::vector<prometheus::MetricFamily> metric_families(const CacheStats& stats);

}  // namespace kvferry
