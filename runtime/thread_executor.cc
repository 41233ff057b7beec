#include "runtime/thread_executor.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace kvferry {
namespace {

// How many rounds of busy progress pass between two looks at the descriptors.
constexpr uint32_t kBusyRoundsPerPoll = 16;
// What was posted before a stop may post in turn, so many times over; a task that always posts the
// next must not keep the thread.
constexpr int kMaxRoundsToStop = 64;
constexpr int kMaxSleepMs = 60'000;
// How long a progress source is polled after it last had something. Longer than a fragment takes
// (1 MiB in 80 to 150 us here): a side that sleeps between two of them must be woken by a system
// call of its peer's, in the middle of what the peer copies. 60 us gave 0.72 of a spinning loop,
// this 0.96.
constexpr Duration kSpinTime = std::chrono::microseconds(200);

Status errno_status(StatusCode code, const std::string& what) {
  const int error = errno;
  return Status::native(code, ErrorDomain::kErrno, error, what + ": " + std::strerror(error));
}

}  // namespace

Result<std::unique_ptr<ThreadExecutor>> ThreadExecutor::create(std::string name,
                                                               const Clock& clock) {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll.is_open() || !wake.is_open()) {
    return tl::unexpected(errno_status(StatusCode::kResourceExhausted,
                                       "executor '" + name + "' got no descriptor (ulimit -n)"));
  }
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = static_cast<uint32_t>(wake.get());
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake.get(), &event) != 0) {
    return tl::unexpected(errno_status(StatusCode::kInternal, "epoll_ctl on eventfd"));
  }
  std::unique_ptr<ThreadExecutor> executor(
      new ThreadExecutor(std::move(name), clock, std::move(epoll), std::move(wake)));
  try {
    executor->thread_ = std::thread([raw = executor.get()] { raw->run(); });
  } catch (const std::system_error& error) {
    return make_error(StatusCode::kResourceExhausted,
                      "executor '" + executor->name_ + "' got no thread: " + error.what());
  }
  return executor;
}

ThreadExecutor::ThreadExecutor(std::string name, const Clock& clock, UniqueFd epoll, UniqueFd wake)
    : name_(std::move(name)), clock_(clock), epoll_(std::move(epoll)), wake_(std::move(wake)) {}

ThreadExecutor::~ThreadExecutor() { stop(); }

void ThreadExecutor::stop() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  post([] {});  // wakes the thread
  thread_.join();
  drop_tasks();
}

bool ThreadExecutor::is_stopping() {
  MutexLock lock(mutex_);
  return stopping_;
}

// While the rest of the executor still stands: what tasks own may post, or look at descriptors.
void ThreadExecutor::drop_tasks() {
  for (;;) {
    std::vector<Task> posted;
    std::priority_queue<Timer> timers;
    {
      MutexLock lock(mutex_);
      posted.swap(posted_);
      timers.swap(timers_);
    }
    if (posted.empty() && timers.empty()) return;
  }
}

void ThreadExecutor::post(Task task) {
  bool was_empty = false;
  {
    MutexLock lock(mutex_);
    was_empty = posted_.empty();
    posted_.push_back(std::move(task));
  }
  if (was_empty && !is_current()) {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof(one));
  }
}

void ThreadExecutor::post_at(TimePoint when, Task task) {
  {
    MutexLock lock(mutex_);
    timers_.push(Timer{when, next_order_++, std::move(task)});
  }
  if (!is_current()) post([] {});  // recomputes the sleep
}

Status ThreadExecutor::watch_fd(int fd, bool want_write, Task on_ready) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP | (want_write ? uint32_t{EPOLLOUT} : 0U);
  const auto watched = watches_.find(fd);
  const bool is_new = watched == watches_.end();
  event.data.u64 =
      is_new ? (uint64_t{next_watch_++} << 32) | static_cast<uint32_t>(fd) : watched->second.key;
  const int operation = is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  if (::epoll_ctl(epoll_.get(), operation, fd, &event) != 0) {
    return errno_status(StatusCode::kInvalidArgument, "cannot watch fd " + std::to_string(fd));
  }
  watches_[fd] = {event.data.u64, std::make_shared<Task>(std::move(on_ready))};
  return {};
}

void ThreadExecutor::unwatch_fd(int fd) {
  if (watches_.erase(fd) != 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

Status ThreadExecutor::add_progress_source(ProgressSource* source) {
  if (source->event_fd() >= 0) {
    KVFERRY_RETURN_IF_ERROR(watch_fd(source->event_fd(), false, [] {}));
  }
  sources_.push_back(source);
  return {};
}

void ThreadExecutor::remove_progress_source(ProgressSource* source) {
  if (std::erase(sources_, source) != 0 && source->event_fd() >= 0) {
    unwatch_fd(source->event_fd());
  }
}

bool ThreadExecutor::run_posted() {
  std::vector<Task> tasks;
  {
    MutexLock lock(mutex_);
    tasks.swap(posted_);
  }
  for (Task& task : tasks) {
    task();
    task = nullptr;  // what a task owns ends with it, not with the batch
  }
  return !tasks.empty();
}

void ThreadExecutor::run_due_timers() {
  const TimePoint now = clock_.now();
  uint64_t end_order = 0;
  for (;;) {
    Task task;
    {
      MutexLock lock(mutex_);
      if (end_order == 0) end_order = next_order_;
      if (timers_.empty() || timers_.top().when > now) return;
      if (timers_.top().order >= end_order) return;  // set by these timers: other work comes first
      task = std::move(const_cast<Timer&>(timers_.top()).task);  // popped at once
      timers_.pop();
    }
    task();
  }
}

bool ThreadExecutor::progress_sources() {
  bool any = false;
  const std::vector<ProgressSource*> sources = sources_;  // progress may remove sources
  for (ProgressSource* source : sources) {
    if (std::find(sources_.begin(), sources_.end(), source) == sources_.end()) continue;
    any = source->progress() || any;
  }
  return any;
}

bool ThreadExecutor::arm_sources() {
  return std::all_of(sources_.begin(), sources_.end(),
                     [](ProgressSource* source) { return source->arm(); });
}

int ThreadExecutor::sleep_ms() {
  MutexLock lock(mutex_);
  if (!posted_.empty() || stopping_) return 0;
  if (timers_.empty()) return kMaxSleepMs;
  const TimePoint now = clock_.now();
  if (timers_.top().when <= now) return 0;  // may be so long ago that a difference overflows
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(timers_.top().when - now);
  return static_cast<int>(std::clamp<int64_t>(wait.count(), 0, kMaxSleepMs));
}

void ThreadExecutor::wait_for_events(int timeout_ms) {
  std::array<epoll_event, 32> events;
  const int count =
      ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
  for (int i = 0; i < count; ++i) {
    const uint64_t key = events[static_cast<size_t>(i)].data.u64;
    const auto fd = static_cast<int>(key & 0xffffffffU);
    if (fd == wake_.get()) {
      uint64_t drained = 0;
      [[maybe_unused]] const ssize_t bytes = ::read(fd, &drained, sizeof(drained));
      continue;
    }
    const auto watch = watches_.find(fd);
    if (watch == watches_.end() || watch->second.key != key) continue;
    const std::shared_ptr<Task> on_ready = watch->second.on_ready;  // may unwatch itself
    (*on_ready)();
  }
}

bool ThreadExecutor::is_spinning(TimePoint last_progress) const {
  return !sources_.empty() && clock_.now() - last_progress < kSpinTime;
}

void ThreadExecutor::run() {
  thread_id_.store(std::this_thread::get_id());
  ::pthread_setname_np(::pthread_self(), name_.substr(0, 15).c_str());
  uint32_t busy_rounds = 0;
  TimePoint last_progress{};
  int rounds_to_stop = 0;
  for (;;) {
    const bool stopping = is_stopping();
    const bool ran = run_posted();
    if (stopping && (!ran || ++rounds_to_stop >= kMaxRoundsToStop)) return;
    run_due_timers();
    const bool progressed = progress_sources();
    if (progressed) last_progress = clock_.now();
    const bool idle = !ran && !progressed;
    if (!idle || is_spinning(last_progress)) {
      if (idle) std::this_thread::yield();
      if (++busy_rounds % kBusyRoundsPerPoll == 0) wait_for_events(0);
      continue;
    }
    const int timeout_ms = sleep_ms();
    if (timeout_ms > 0 && !arm_sources()) {
      // Events that came in meanwhile, or a GPU that works: descriptors have their turn, too.
      std::this_thread::yield();
      wait_for_events(0);
      continue;
    }
    wait_for_events(timeout_ms);
  }
}

}  // namespace kvferry
