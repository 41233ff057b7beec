// A process with a plugin that hangs, which must end all the same: closes the backend, prints what
// came of it, and returns from main.

#include <cstdio>
#include <future>

#include "backends/external/factory.h"
#include "runtime/detached_thread.h"
#include "runtime/memory/memory_pool.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"

namespace kvferry {
namespace {

int run() {
  const SteadyClock clock;
  const auto pool = MemoryPool::create({.slot_bytes = 4096, .num_slots = 4}).value();
  const auto executor = ThreadExecutor::create("executor", clock).value();
  BackendContext context;
  context.name = "hung";
  context.executor = executor.get();
  context.allocator = pool.get();
  context.start_thread = start_detached_thread;
  ExternalOptions options;
  options.module_path = BROKEN_PLUGIN;
  options.settings = {{"fault", "hangs"}};
  options.limits.timeout = std::chrono::milliseconds(50);
  options.limits.close_timeout = std::chrono::milliseconds(50);
  auto backend = make_external_backend(context, options);
  if (!backend) {
    std::printf("%s\n", backend.error().to_string().c_str());
    return 1;
  }
  CacheEngineKey key;
  key.model = "m";
  std::promise<Result<bool>> contained;
  (*backend)->submit_contains({&key, 1}, [&contained](size_t, Result<bool> is_held) {
    contained.set_value(std::move(is_held));
  });
  std::printf("contains: %s\n",
              std::string(status_code_name(contained.get_future().get().error().code())).c_str());
  std::promise<void> closed;
  (*backend)->close([&closed] { closed.set_value(); });
  closed.get_future().wait();
  std::printf("closed\n");
  return 0;
}

}  // namespace
}  // namespace kvferry

int main() { return kvferry::run(); }
