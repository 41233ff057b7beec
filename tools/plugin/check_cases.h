#pragma once

#include <functional>
#include <string>
#include <vector>

#include "conformance/backend_contract.h"
#include "tools/plugin/check_fixture.h"

namespace kvferry {

/// How fast chunks go in and come back, 8 at a time; 0: not measured.
struct CheckLoad {
  double put_gb_per_s = 0;
  double get_gb_per_s = 0;
};

struct CheckCase {
  std::string name;
  std::string why_skipped;  ///< empty: it is run
  std::function<Status(PluginCheckFixture& fixture, CheckLoad& load)> run;
};

/// Those of the contract, and what only a plugin can do wrong, in the order in which they are run.
/// The first one opens and closes a backend, and nothing else.
std::vector<CheckCase> check_cases(BackendTraits traits);

}  // namespace kvferry
