#include "tools/replay/capacity_curve.h"

#include <algorithm>
#include <cmath>

#include "tools/report_text.h"

namespace kvferry {
namespace {

constexpr int kRows = 16;
constexpr size_t kColumnWidth = 14;

/// Puts a mark at the height of `rate`, beside those that are there.
void plot(std::vector<std::string>& rows, size_t point, double rate, double highest, char mark) {
  const double height = highest > 0 ? rate / highest * (kRows - 1) : 0;
  const auto row = static_cast<size_t>(kRows - 1 - std::lround(height));
  size_t column = point * kColumnWidth + 4;
  while (rows[row][column] != ' ') ++column;
  rows[row][column] = mark;
}

}  // namespace

CapacityCurve make_capacity_curve(const ChunkAccesses& accesses) {
  CapacityCurve curve;
  size_t divisor = 16;
  for (CapacityCurve::Point& point : curve.points) {
    point.capacity_chunks = std::max<size_t>(1, accesses.num_chunks / divisor);
    const size_t capacity = point.capacity_chunks;
    point.lru = model_cache(accesses, CachePolicy::kLru, capacity).hit_rate();
    point.fifo = model_cache(accesses, CachePolicy::kFifo, capacity).hit_rate();
    point.s3_fifo = model_cache(accesses, CachePolicy::kS3Fifo, capacity).hit_rate();
    point.optimum = model_optimum(accesses, capacity).hit_rate();
    divisor /= 2;
  }
  return curve;
}

std::string curve_text(const CapacityCurve& curve, size_t chunk_bytes) {
  std::string out =
      "Hit rate by policy, as a model of one cache for these requests:\n"
      "  capacity           LRU     FIFO    S3FIFO  optimum (Belady)\n";
  double highest = 0;
  for (const CapacityCurve::Point& point : curve.points) {
    const std::string capacity =
        bytes_text(static_cast<double>(point.capacity_chunks) * static_cast<double>(chunk_bytes));
    out += format("  %-18s %.3f   %.3f   %.3f   %.3f\n", capacity.c_str(), point.lru, point.fifo,
                  point.s3_fifo, point.optimum);
    highest = std::max(highest, point.optimum);
  }
  std::vector<std::string> rows(kRows, std::string(CapacityCurve::kPoints * kColumnWidth, ' '));
  for (size_t i = 0; i < curve.points.size(); ++i) {
    const CapacityCurve::Point& point = curve.points.at(i);
    plot(rows, i, point.fifo, highest, 'F');
    plot(rows, i, point.lru, highest, 'L');
    plot(rows, i, point.s3_fifo, highest, 'S');
    plot(rows, i, point.optimum, highest, 'O');
  }
  out += "\n";
  for (int row = 0; row < kRows; ++row) {
    const double rate = highest * (kRows - 1 - row) / (kRows - 1);
    std::string line = rows[static_cast<size_t>(row)];
    line.erase(line.find_last_not_of(' ') + 1);
    out += format("  %5.3f |%s\n", rate, line.c_str());
  }
  out += "        +" + std::string(CapacityCurve::kPoints * kColumnWidth, '-') + "\n         ";
  for (const CapacityCurve::Point& point : curve.points) {
    const std::string capacity =
        bytes_text(static_cast<double>(point.capacity_chunks) * static_cast<double>(chunk_bytes));
    out += format("  %-12s", capacity.c_str());
  }
  return out + "\n         L LRU, F FIFO, S S3FIFO, O optimum\n";
}

nlohmann::json curve_json(const CapacityCurve& curve, size_t chunk_bytes) {
  nlohmann::json points = nlohmann::json::array();
  for (const CapacityCurve::Point& point : curve.points) {
    points.push_back({{"capacity_chunks", point.capacity_chunks},
                      {"capacity_bytes", point.capacity_chunks * chunk_bytes},
                      {"LRU", point.lru},
                      {"FIFO", point.fifo},
                      {"S3FIFO", point.s3_fifo},
                      {"optimum", point.optimum}});
  }
  return points;
}

}  // namespace kvferry
