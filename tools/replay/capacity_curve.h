#pragma once

#include <array>
#include <nlohmann/json.hpp>
#include <string>

#include "workload/traffic/cache_model.h"

namespace kvferry {

/// Hit rates of each policy, and of the optimum, at five capacities of one cache: a model of the
/// requests' chunks, not a run.
struct CapacityCurve {
  static constexpr size_t kPoints = 5;
  struct Point {
    size_t capacity_chunks = 0;
    double lru = 0;
    double fifo = 0;
    double s3_fifo = 0;
    double optimum = 0;
  };
  std::array<Point, kPoints> points;
};

/// From a sixteenth of all chunks that differ to all of them, doubling.
CapacityCurve make_capacity_curve(const ChunkAccesses& accesses);

/// A table, and a plot of it in characters.
std::string curve_text(const CapacityCurve& curve, size_t chunk_bytes);
nlohmann::json curve_json(const CapacityCurve& curve, size_t chunk_bytes);

}  // namespace kvferry
