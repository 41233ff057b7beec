#include "perf/rounds.h"

#include <sys/utsname.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <thread>

namespace kvferry {
namespace {

double median_of(std::vector<double>& values) {
  std::ranges::sort(values);
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

/// The first line of `file` that begins with `key`, behind its colon; all of it without a key.
std::string line_of(const char* file, const std::string& key) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(key)) continue;
    const size_t colon = key.empty() ? std::string::npos : line.find(": ");
    return colon == std::string::npos ? line : line.substr(colon + 2);
  }
  return "unknown";
}

}  // namespace

Spread spread_of(std::vector<double> values) {
  Spread spread;
  spread.median = median_of(values);
  spread.low = values.front();
  spread.high = values.back();
  for (double& value : values) value = std::abs(value - spread.median);
  spread.mad = median_of(values);
  return spread;
}

std::vector<Spread> run_in_rounds(int rounds, const std::vector<Contender>& contenders) {
  for (const Contender& contender : contenders) contender();
  std::vector<std::vector<double>> values(contenders.size());
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < contenders.size(); ++i) values[i].push_back(contenders[i]());
  }
  std::vector<Spread> spreads;
  spreads.reserve(values.size());
  for (std::vector<double>& each : values) spreads.push_back(spread_of(std::move(each)));
  return spreads;
}

void print_machine() {
  utsname system{};
  ::uname(&system);
  std::printf("%s, %u cores, Linux %s, compiler %s, load %s\n",
              line_of("/proc/cpuinfo", "model name").c_str(), std::thread::hardware_concurrency(),
              system.release, __VERSION__, line_of("/proc/loadavg", "").c_str());
#if !defined(NDEBUG) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  std::printf("*** a build with assertions or sanitizers: its times mean nothing ***\n");
#endif
}

}  // namespace kvferry
