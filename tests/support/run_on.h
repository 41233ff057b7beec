#pragma once

#include <future>
#include <type_traits>

#include "kvferry/executor.h"

namespace kvferry {

/// Runs `what` on the executor, waits for it and returns its result. Not from the executor itself.
template <typename Function>
auto run_on(Executor& executor, Function what) {
  std::packaged_task<std::invoke_result_t<Function>()> task(std::move(what));
  auto result = task.get_future();
  executor.post([&task] { task(); });
  return result.get();
}

/// Waits until everything posted to the executor so far has run.
inline void drain(Executor& executor) {
  run_on(executor, [] {});
}

}  // namespace kvferry
