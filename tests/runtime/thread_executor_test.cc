#include "runtime/thread_executor.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <ctime>
#include <future>
#include <iostream>
#include <limits>

#include "runtime/steady_clock.h"
#include "tests/support/eventually.h"
#include "tests/support/run_on.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using std::chrono::milliseconds;

class ThreadExecutorTest : public ::testing::Test {
 protected:
  static UniqueFd make_event() { return UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }
  static void signal(const UniqueFd& event) { ASSERT_EQ(::eventfd_write(event.get(), 1), 0); }
  static void clear(int fd) {
    eventfd_t value = 0;
    ::eventfd_read(fd, &value);
  }

  const SteadyClock clock;
  std::unique_ptr<ThreadExecutor> executor = ThreadExecutor::create("test", clock).value();
};

TEST_F(ThreadExecutorTest, RunsPostsInOrderAlsoThoseFromItself) {
  std::vector<int> order;
  run_on(*executor, [&] {
    for (int i = 0; i < 3; ++i) {
      executor->post([&, i] {
        order.push_back(i);
        executor->post([&, i] { order.push_back(10 + i); });
      });
    }
  });
  drain(*executor);
  drain(*executor);
  EXPECT_EQ(order, (std::vector{0, 1, 2, 10, 11, 12}));
}

TEST_F(ThreadExecutorTest, KeepsTheOrderOfEachOfManyThreadsAndLosesNothing) {
  constexpr int kThreads = 6;
  constexpr int kPosts = 5000;
  std::array<std::vector<int>, kThreads> seen;
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kPosts; ++i) executor->post([&, t, i] { seen[t].push_back(i); });
    });
  }
  for (std::thread& thread : threads) thread.join();
  drain(*executor);
  for (const std::vector<int>& each : seen) {
    ASSERT_EQ(each.size(), size_t{kPosts});
    EXPECT_TRUE(std::is_sorted(each.begin(), each.end()));
  }
}

TEST_F(ThreadExecutorTest, AWakeUpIsNeverLost) {
  for (int i = 0; i < 20'000; ++i) drain(*executor);  // hangs if one is
}

TEST_F(ThreadExecutorTest, ATaskFreesWhatItOwnsBeforeTheNextRuns) {
  auto owned = std::make_shared<int>(1);
  const std::weak_ptr<int> weak = owned;
  std::promise<bool> freed;
  run_on(*executor, [&] {
    executor->post([owned = std::move(owned)] {});
    executor->post([&] { freed.set_value(weak.expired()); });
  });
  EXPECT_TRUE(freed.get_future().get());
}

TEST_F(ThreadExecutorTest, KnowsItsOwnThread) {
  EXPECT_FALSE(executor->is_current());
  EXPECT_TRUE(run_on(*executor, [&] { return executor->is_current(); }));
  const auto other = ThreadExecutor::create("a name longer than the system shows", clock).value();
  EXPECT_FALSE(run_on(*other, [&] { return executor->is_current(); }));
}

TEST_F(ThreadExecutorTest, TimersRunByTimeNotEarlyAndEqualOnesInOrder) {
  std::vector<int> order;
  std::promise<void> done;
  const TimePoint start = clock.now();
  const auto add = [&](int wait, int number) {
    const TimePoint when = start + milliseconds(wait);
    executor->post_at(when, [&, when, number] {
      EXPECT_GE(clock.now(), when);
      order.push_back(number);
      if (number == 5) done.set_value();
    });
  };
  run_on(*executor, [&] {
    add(30, 5);
    add(20, 3);
    add(-1000, 0);
    add(20, 4);
    add(10, 1);
    add(10, 2);
  });
  done.get_future().wait();
  EXPECT_EQ(order, (std::vector{0, 1, 2, 3, 4, 5}));
}

TEST_F(ThreadExecutorTest, AnEarlierTimerFromOutsideShortensTheSleep) {
  std::promise<void> late;
  std::promise<void> early;
  executor->post_at(clock.now() + std::chrono::hours(1), [&] { late.set_value(); });
  drain(*executor);
  executor->post_at(clock.now() + milliseconds(5), [&] { early.set_value(); });
  early.get_future().wait();
}

TEST_F(ThreadExecutorTest, ATimerThatIsAlwaysDueDoesNotStarvePosts) {
  std::function<void()> again;
  std::atomic<int> rounds{0};
  std::atomic<bool> stop{false};
  std::atomic<bool> posted_ran{false};
  again = [&] {
    ++rounds;
    if (!stop) executor->post_at(TimePoint::min(), again);
  };
  executor->post_at(TimePoint::min(), again);
  ASSERT_TRUE(eventually([&] { return rounds > 100; }));
  executor->post([&] { posted_ran = true; });
  EXPECT_TRUE(eventually([&] { return posted_ran.load(); }, std::chrono::seconds(5)));
  stop = true;
  executor->stop();  // before what its timer uses
}

TEST_F(ThreadExecutorTest, WatchesAnFdUntilUnwatchedFromInsideItsOwnHandler) {
  const UniqueFd event = make_event();
  std::atomic<int> calls{0};
  ASSERT_THAT(run_on(*executor,
                     [&] {
                       return executor->watch_fd(event.get(), false, [&] {
                         if (++calls == 3) executor->unwatch_fd(event.get());  // still readable
                       });
                     }),
              IsOk());
  signal(event);
  EXPECT_TRUE(eventually([&] { return calls == 3; }));
  drain(*executor);
  drain(*executor);
  EXPECT_EQ(calls, 3);
}

TEST_F(ThreadExecutorTest, AWatchMayReplaceItselfFromInsideItsOwnHandler) {
  const UniqueFd event = make_event();
  std::promise<void> second;
  const auto watch = [&](Executor::Task handler) {
    return executor->watch_fd(event.get(), false, std::move(handler));
  };
  const auto kept = std::make_shared<int>(7);
  run_on(*executor, [&] {
    EXPECT_THAT(watch([&, kept] {
                  EXPECT_THAT(watch([&] {
                                executor->unwatch_fd(event.get());
                                second.set_value();
                              }),
                              IsOk());
                  EXPECT_EQ(*kept, 7) << "the handler lives while it runs";
                }),
                IsOk());
  });
  signal(event);
  second.get_future().wait();
}

TEST_F(ThreadExecutorTest, WritesAreWatchedOnlyWhenAskedFor) {
  std::array<int, 2> raw{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, raw.data()), 0);
  const UniqueFd near(raw[0]);
  const UniqueFd far(raw[1]);
  int calls = 0;
  std::promise<void> writable;
  run_on(*executor,
         [&] { EXPECT_THAT(executor->watch_fd(near.get(), false, [&] { ++calls; }), IsOk()); });
  drain(*executor);
  run_on(*executor, [&] {
    EXPECT_EQ(calls, 0);
    EXPECT_THAT(executor->watch_fd(near.get(), true,
                                   [&] {
                                     executor->unwatch_fd(near.get());
                                     writable.set_value();
                                   }),
                IsOk());
  });
  writable.get_future().wait();
}

TEST_F(ThreadExecutorTest, AnFdThatCannotBeWatchedIsAnError) {
  EXPECT_THAT(run_on(*executor, [&] { return executor->watch_fd(-1, false, [] {}); }),
              StatusIs(StatusCode::kInvalidArgument));
  run_on(*executor, [&] { executor->unwatch_fd(12345); });
}

TEST_F(ThreadExecutorTest, AnEventOfAClosedFdIsNotGivenToTheNextFdOfThatNumber) {
  // Both events are ready in one round; whichever handler runs first closes the other's descriptor
  // and watches a new one, silent, that gets the same number.
  std::array<UniqueFd, 2> events = {make_event(), make_event()};
  UniqueFd reused;
  int wrong_calls = 0;
  int calls = 0;
  run_on(*executor, [&] {
    for (size_t i = 0; i < 2; ++i) {
      signal(events[i]);
      EXPECT_THAT(executor->watch_fd(events[i].get(), false,
                                     [&, i] {
                                       ++calls;
                                       UniqueFd& other = events[1 - i];
                                       const int number = other.get();
                                       executor->unwatch_fd(number);
                                       other.reset();
                                       reused = make_event();
                                       if (reused.get() != number)
                                         reused = UniqueFd(::dup3(reused.get(), number, O_CLOEXEC));
                                       EXPECT_EQ(reused.get(), number);
                                       EXPECT_THAT(executor->watch_fd(number, false,
                                                                      [&] { ++wrong_calls; }),
                                                   IsOk());
                                       executor->unwatch_fd(events[i].get());
                                     }),
                  IsOk());
    }
  });
  ASSERT_TRUE(eventually([&] { return run_on(*executor, [&] { return calls > 0; }); }));
  drain(*executor);
  EXPECT_EQ(run_on(*executor, [&] { return calls; }), 1);
  EXPECT_EQ(run_on(*executor, [&] { return wrong_calls; }), 0);
}

/// Has `work` left to do; sleeps on an eventfd when it has none.
class CountingSource final : public ProgressSource {
 public:
  explicit CountingSource(UniqueFd event) : event_(std::move(event)) {}
  bool progress() override {
    ++polls;
    clear();
    if (on_progress) on_progress();
    return work > 0 && work-- > 0;
  }
  int event_fd() const override { return event_.get(); }
  bool arm() override {
    ++arms;
    return refuse_arms == 0 || refuse_arms-- == 0;
  }
  void signal() const { ::eventfd_write(event_.get(), 1); }

  std::function<void()> on_progress;
  std::atomic<int> polls{0};
  std::atomic<int> arms{0};
  int work = 0;
  int refuse_arms = 0;

 private:
  void clear() const {
    eventfd_t value = 0;
    ::eventfd_read(event_.get(), &value);
  }
  UniqueFd event_;
};

TEST_F(ThreadExecutorTest, ASourceIsPolledWhileBusyThenArmedAndWokenByItsFd) {
  CountingSource source(make_event());
  source.work = 100;
  source.refuse_arms = 3;
  run_on(*executor, [&] { EXPECT_THAT(executor->add_progress_source(&source), IsOk()); });
  EXPECT_TRUE(eventually([&] { return source.polls > 103 && source.arms >= 4; }));
  const int before = source.polls;
  source.signal();
  EXPECT_TRUE(eventually([&] { return source.polls > before; }));
  run_on(*executor, [&] { executor->remove_progress_source(&source); });
  const int removed = source.polls;
  drain(*executor);
  EXPECT_EQ(source.polls, removed);
}

TEST_F(ThreadExecutorTest, PostsTimersAndFdsGoOnWhileASourceIsAlwaysBusy) {
  CountingSource source(make_event());
  source.work = 1 << 30;
  const UniqueFd event = make_event();
  std::promise<void> timer;
  std::promise<void> fd;
  run_on(*executor, [&] {
    EXPECT_THAT(executor->add_progress_source(&source), IsOk());
    executor->post_at(clock.now() + milliseconds(2), [&] { timer.set_value(); });
    EXPECT_THAT(executor->watch_fd(event.get(), false,
                                   [&] {
                                     executor->unwatch_fd(event.get());
                                     fd.set_value();
                                   }),
                IsOk());
  });
  signal(event);
  timer.get_future().wait();
  fd.get_future().wait();
  run_on(*executor, [&] { executor->remove_progress_source(&source); });
}

TEST_F(ThreadExecutorTest, FdsGoOnWhileASourceHasNothingYetAndLetsNobodySleep) {
  CountingSource source(make_event());
  source.refuse_arms = std::numeric_limits<int>::max();  // as a GPU at work
  const UniqueFd event = make_event();
  std::promise<void> readable;
  run_on(*executor, [&] {
    EXPECT_THAT(executor->add_progress_source(&source), IsOk());
    EXPECT_THAT(executor->watch_fd(event.get(), false,
                                   [&] {
                                     executor->unwatch_fd(event.get());
                                     readable.set_value();
                                   }),
                IsOk());
  });
  ASSERT_TRUE(eventually([&] { return source.arms > 2; })) << "it polls";
  signal(event);
  readable.get_future().wait();
  run_on(*executor, [&] { executor->remove_progress_source(&source); });
}

TEST_F(ThreadExecutorTest, SourcesMayBeRemovedFromInsideProgress) {
  CountingSource first(make_event());
  auto second = std::make_unique<CountingSource>(make_event());
  std::atomic<bool> removed{false};
  first.on_progress = [&] {
    if (removed) return;
    executor->remove_progress_source(second.get());
    second.reset();  // it comes later in the same round
    executor->remove_progress_source(&first);
    removed = true;
  };
  run_on(*executor, [&] {
    EXPECT_THAT(executor->add_progress_source(&first), IsOk());
    EXPECT_THAT(executor->add_progress_source(second.get()), IsOk());
  });
  EXPECT_TRUE(eventually([&] { return removed.load(); }));
  drain(*executor);
  EXPECT_EQ(first.polls, 1);
}

TEST_F(ThreadExecutorTest, DestructionRunsWhatWasPostedAndDropsTimers) {
  int ran = 0;
  auto owned = std::make_shared<int>(0);
  const std::weak_ptr<int> weak = owned;
  executor->post_at(clock.now() + std::chrono::hours(1), [owned, &ran] { ran += 1000; });
  owned.reset();
  for (int i = 0; i < 100; ++i) {
    executor->post([&ran, raw = executor.get()] { raw->post([&ran] { ++ran; }); });
  }
  executor.reset();
  EXPECT_EQ(ran, 100);
  EXPECT_TRUE(weak.expired());
}

TEST_F(ThreadExecutorTest, ATaskThatAlwaysPostsTheNextDoesNotKeepItFromStopping) {
  std::function<void()> again = [&, raw = executor.get()] { raw->post(again); };
  executor->post(again);
  executor->stop();
}

TEST_F(ThreadExecutorTest, WhatIsPostedAfterAStopNeverRunsAndIsFreed) {
  bool ran = false;
  auto owned = std::make_shared<int>(0);
  const std::weak_ptr<int> weak = owned;
  executor->stop();
  executor->stop();
  executor->post([&ran, owned = std::move(owned)] { ran = true; });
  executor->post_at(TimePoint::min(), [&ran] { ran = true; });
  executor.reset();
  EXPECT_FALSE(ran);
  EXPECT_TRUE(weak.expired());
}

TEST_F(ThreadExecutorTest, DestructionDoesNotWaitForABusySource) {
  CountingSource source(make_event());
  source.work = 1 << 30;
  run_on(*executor, [&] { EXPECT_THAT(executor->add_progress_source(&source), IsOk()); });
  executor.reset();  // hangs for long if it does
  EXPECT_GT(source.work, 0);
}

TEST_F(ThreadExecutorTest, SleepsWhenIdle) {
  const auto cpu_time = [&] {
    return run_on(*executor, [] {
      timespec time{};
      ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
      return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
    });
  };
  const auto before = cpu_time();
  std::promise<void> later;
  executor->post_at(clock.now() + milliseconds(100), [&] { later.set_value(); });
  later.get_future().wait();
  const auto used = std::chrono::duration_cast<std::chrono::microseconds>(cpu_time() - before);
  std::cout << "advisory: " << used.count() << " us of CPU time in 100 ms of rest\n";
}

}  // namespace
}  // namespace kvferry
