#pragma once

#include <gtest/gtest.h>

#include <array>
#include <iostream>
#include <memory>
#include <ostream>
#include <utility>

#include "conformance/transport_contract.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"

namespace kvferry {

/// Two threads of this process, and one transport for both.
class ThreadPairFixture : public TransportContractFixture {
 public:
  ThreadPairFixture(std::unique_ptr<Transport> transport, PeerClass peer_class)
      : transport_(std::move(transport)), peer_class_(peer_class) {
    for (const Side side : {Side::kLeft, Side::kRight}) {
      executors_.at(static_cast<size_t>(side)) =
          ThreadExecutor::create(side_name(side), clock_).value();
    }
  }

  Transport& transport(Side /*side*/) override { return *transport_; }
  Executor& executor(Side side) override { return *executors_.at(static_cast<size_t>(side)); }
  PeerClass peer_class() const override { return peer_class_; }

 private:
  const SteadyClock clock_;
  const std::unique_ptr<Transport> transport_;
  const PeerClass peer_class_;
  std::array<std::unique_ptr<ThreadExecutor>, 2> executors_;
};

// How GoogleTest prints a case.
inline void PrintTo(const TransportContractCase& contract_case, std::ostream* out) {
  *out << contract_case.name;
}

inline void run_contract_case(const TransportContractCase& contract_case,
                              TransportContractFixture& fixture) {
  const Status available = fixture.transport(Side::kLeft).is_available(fixture.peer_class());
  ASSERT_TRUE(available.is_ok()) << available.to_string();
  const Status status = contract_case.run(fixture);
  if (contract_case.is_advisory && !status.is_ok()) {
    std::cout << "advisory: " << status.to_string() << "\n";
    return;
  }
  EXPECT_TRUE(status.is_ok()) << status.to_string_with_location();
}

inline void run_contract_case(const TransportContractCase& contract_case,
                              std::unique_ptr<Transport> transport, PeerClass peer_class) {
  ThreadPairFixture fixture(std::move(transport), peer_class);
  run_contract_case(contract_case, fixture);
}

}  // namespace kvferry
