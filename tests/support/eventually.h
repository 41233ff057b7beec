#pragma once

#include <chrono>
#include <thread>

namespace kvferry {

/// Waits for what happens on another thread: true as soon as `condition` holds, false if it does
/// not within `patience`, which a passing test never uses up.
template <typename Condition>
bool eventually(Condition condition, std::chrono::seconds patience = std::chrono::seconds(20)) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) return condition();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace kvferry
