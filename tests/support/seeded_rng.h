#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace kvferry {

/// Random numbers for one test. Another seed at each run; a failure prints it, and the environment
/// variable KVFERRY_TEST_SEED brings it back.
///
/// Threads: the test's own thread, as it is one of gtest's scoped traces.
class SeededRng {
 public:
  using result_type = uint64_t;  // makes it a std::uniform_random_bit_generator

  SeededRng() : SeededRng(choose_seed()) {}
  explicit SeededRng(uint64_t seed)
      : trace_(__FILE__, __LINE__, "rerun with KVFERRY_TEST_SEED=" + std::to_string(seed)),
        engine_(seed) {}
  SeededRng(const SeededRng&) = delete;
  SeededRng& operator=(const SeededRng&) = delete;

  static constexpr uint64_t min() { return 0; }
  static constexpr uint64_t max() { return std::numeric_limits<uint64_t>::max(); }
  uint64_t operator()() { return engine_(); }

  /// From 0 to `count` - 1.
  uint64_t below(uint64_t count) { return engine_() % count; }
  /// From `low` to `high`, both included.
  int64_t between(int64_t low, int64_t high) {
    const uint64_t width = static_cast<uint64_t>(high) - static_cast<uint64_t>(low) + 1;
    const uint64_t step = width == 0 ? engine_() : below(width);
    return static_cast<int64_t>(static_cast<uint64_t>(low) + step);
  }
  bool one_in(uint64_t count) { return below(count) == 0; }

  template <typename T>
  const T& pick(const std::vector<T>& values) {
    return values[below(values.size())];
  }

  void fill(std::span<std::byte> bytes) {
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(engine_());
  }
  std::vector<std::byte> bytes(size_t count) {
    std::vector<std::byte> out(count);
    fill(out);
    return out;
  }
  /// `count` characters of `alphabet`.
  std::string text(size_t count, const std::string& alphabet) {
    std::string out;
    for (size_t i = 0; i < count; ++i) out += alphabet[below(alphabet.size())];
    return out;
  }

 private:
  static uint64_t choose_seed() {
    const char* given = std::getenv("KVFERRY_TEST_SEED");
    if (given != nullptr) return std::strtoull(given, nullptr, 10);
    std::random_device device;
    return (uint64_t{device()} << 32) | device();
  }

  ::testing::ScopedTrace trace_;
  std::mt19937_64 engine_;
};

}  // namespace kvferry
