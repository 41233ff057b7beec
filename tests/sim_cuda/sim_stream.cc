#include "tests/sim_cuda/sim_stream.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

namespace kvferry::sim_cuda {

void Progress::set(uint32_t value) {
  value_.store(value, std::memory_order_release);
  ::syscall(SYS_futex, &value_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

void Progress::wait_for(uint32_t value) const {
  for (;;) {
    const uint32_t now = value_.load(std::memory_order_acquire);
    if (now >= value) return;
    ::syscall(SYS_futex, &value_, FUTEX_WAIT_PRIVATE, now, nullptr, nullptr, 0);
  }
}

Stream::Stream(int device, const Options& options, uint64_t number)
    : device_(device), options_(options), random_(options.seed * 1'000'003 + number) {
  operations_.push_back(std::make_unique<Operation>());
  last_ = operations_.back().get();
  thread_ = std::thread([this, first = last_] { run_after(first); });
}

Stream::~Stream() {
  enqueue("end", {}, nullptr);
  thread_.join();
}

void Stream::enqueue(std::string name, std::vector<MemoryRange> uses, std::function<void()> run) {
  const std::lock_guard lock(mutex_);
  auto operation = std::make_unique<Operation>();
  operation->number = ++enqueued_count_;
  operation->name = std::move(name);
  operation->uses = std::move(uses);
  operation->run = std::move(run);
  last_->next.store(operation.get(), std::memory_order_release);
  last_ = operation.get();
  operations_.push_back(std::move(operation));
  enqueued_.set(enqueued_count_);
}

void Stream::run_after(Operation* operation) {
  std::uniform_int_distribution<int64_t> delay(options_.min_delay.count(),
                                               options_.max_delay.count());
  for (uint32_t number = 1;; ++number) {
    enqueued_.wait_for(number);
    operation = operation->next.load(std::memory_order_acquire);
    if (!operation->run) return;
    // Now and then much later than what others do meanwhile.
    const std::chrono::microseconds pause(delay(random_) * (random_() % 8 == 0 ? 40 : 1));
    if (pause.count() > 0) std::this_thread::sleep_for(pause);
    operation->run();
    completed_.set(number);
  }
}

void Stream::wait() {
  uint32_t target = 0;
  {
    const std::lock_guard lock(mutex_);
    target = enqueued_count_;
  }
  completed_.wait_for(target);
  const std::lock_guard lock(mutex_);
  // Keeps the last one that has run: the thread goes on from it.
  std::erase_if(operations_, [&](const auto& operation) { return operation->number < target; });
}

bool Stream::is_idle() const {
  const std::lock_guard lock(mutex_);
  return completed_.has_reached(enqueued_count_);
}

std::string Stream::user_of(const MemoryRange& range) const {
  const std::lock_guard lock(mutex_);
  const uint32_t completed = completed_.peek();
  for (const auto& operation : operations_) {
    if (operation->number <= completed) continue;
    for (const MemoryRange& use : operation->uses) {
      if (use.overlaps(range)) return operation->name;
    }
  }
  return "";
}

}  // namespace kvferry::sim_cuda
