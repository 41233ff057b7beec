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
    for (int i = 0; i < times; ++i) breaker.record(Outcome::kFailure, kStart);
  }
  CircuitBreaker breaker{3, kCooldown};
};

TEST_F(CircuitBreakerTest, OpensAfterFailuresInARow) {
  fail(2);
  breaker.record(Outcome::kSuccess, kStart);
  fail(2);
  EXPECT_TRUE(breaker.admit(kStart));
  EXPECT_EQ(breaker.record(Outcome::kFailure, kStart), State::kOpen);
  EXPECT_FALSE(breaker.admit(kStart));
  EXPECT_FALSE(breaker.admit(kStart + kCooldown - Duration(1)));
}

TEST_F(CircuitBreakerTest, LetsOneCallThroughAfterItsCooldown) {
  fail(3);
  const TimePoint later = kStart + kCooldown;
  EXPECT_TRUE(breaker.admit(later));
  EXPECT_FALSE(breaker.admit(later));
  EXPECT_EQ(breaker.record(Outcome::kFailure, later), State::kOpen);
  EXPECT_FALSE(breaker.admit(later));
  EXPECT_TRUE(breaker.admit(later + kCooldown));
  EXPECT_EQ(breaker.record(Outcome::kSuccess, later + kCooldown), State::kClosed);
  EXPECT_TRUE(breaker.admit(later + kCooldown));
  EXPECT_TRUE(breaker.admit(later + kCooldown));
}

TEST_F(CircuitBreakerTest, TrialThatSaysNothingMakesRoomForTheNext) {
  fail(3);
  const TimePoint later = kStart + kCooldown;
  EXPECT_TRUE(breaker.admit(later));
  EXPECT_EQ(breaker.record(Outcome::kNeither, later), State::kOpen);
  EXPECT_TRUE(breaker.admit(later));
}

TEST_F(CircuitBreakerTest, WhatSaysNothingBreaksNoRow) {
  fail(2);
  breaker.record(Outcome::kNeither, kStart);
  EXPECT_EQ(breaker.record(Outcome::kFailure, kStart), State::kOpen);
}

}  // namespace
}  // namespace kvferry
