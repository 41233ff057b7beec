#pragma once

#include <functional>
#include <string>
#include <vector>

namespace kvferry {

/// What a contender measured over the rounds.
struct Spread {
  double median = 0;
  double mad = 0;  ///< median absolute deviation
  double low = 0;
  double high = 0;
};

Spread spread_of(std::vector<double> values);

/// One way to do the same thing: does it once and returns what it measured.
using Contender = std::function<double()>;

/// Every contender once to warm up, then once in each round, in turn, so that what else the
/// machine does meets all of them. A spread for each.
std::vector<Spread> run_in_rounds(int rounds, const std::vector<Contender>& contenders);

/// Prints what a figure depends on: processor, cores, kernel, compiler, what else runs. A banner
/// if this build has assertions or sanitizers on.
void print_machine();

}  // namespace kvferry
