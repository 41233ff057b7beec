#include "backends/remote/circuit_breaker.h"

#include <gtest/gtest.h>

namespace kvferry {
namespace {

using State = CircuitBreaker::State;
using Outcome = CircuitBreaker::Outcome;

constexpr Duration kCooldown = std::chrono::seconds(1);
constexpr TimePoint kStart{std::chrono::hours(1)};

class CircuitBreakerTest : public testing::Test {
 protected:
  void fail(int times) {
    for (int i = 0; i < times; ++i) breaker_.record(Outcome::kFailure, kStart);
  }
  CircuitBreaker breaker_{3, kCooldown};
};

TEST_F(CircuitBreakerTest, OpensAfterFailuresInARow) {
  fail(2);
  breaker_.record(Outcome::kSuccess, kStart);
  fail(2);
  EXPECT_TRUE(breaker_.admit(kStart));
  EXPECT_EQ(breaker_.record(Outcome::kFailure, kStart), State::kOpen);
  EXPECT_FALSE(breaker_.admit(kStart));
  EXPECT_FALSE(breaker_.admit(kStart + kCooldown - Duration(1)));
}

TEST_F(CircuitBreakerTest, LetsOneCallThroughAfterItsCooldown) {
  fail(3);
  const TimePoint later = kStart + kCooldown;
  EXPECT_TRUE(breaker_.admit(later));
  EXPECT_FALSE(breaker_.admit(later));
  EXPECT_EQ(breaker_.record(Outcome::kFailure, later), State::kOpen);
  EXPECT_FALSE(breaker_.admit(later));
  EXPECT_TRUE(breaker_.admit(later + kCooldown));
  EXPECT_EQ(breaker_.record(Outcome::kSuccess, later + kCooldown), State::kClosed);
  EXPECT_TRUE(breaker_.admit(later + kCooldown));
  EXPECT_TRUE(breaker_.admit(later + kCooldown));
}

TEST_F(CircuitBreakerTest, TrialThatSaysNothingMakesRoomForTheNext) {
  fail(3);
  const TimePoint later = kStart + kCooldown;
  EXPECT_TRUE(breaker_.admit(later));
  EXPECT_EQ(breaker_.record(Outcome::kNeither, later), State::kOpen);
  EXPECT_TRUE(breaker_.admit(later));
}

TEST_F(CircuitBreakerTest, WhatSaysNothingBreaksNoRow) {
  fail(2);
  breaker_.record(Outcome::kNeither, kStart);
  EXPECT_EQ(breaker_.record(Outcome::kFailure, kStart), State::kOpen);
}

}  // namespace
}  // namespace kvferry
