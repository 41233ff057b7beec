#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kvferry/mutex.h"
#include "kvferry/transport.h"

/// What every transport must do, as cases that any test framework, or a tool, can run.
///
/// A fixture provides two sides, each with a transport and an executor of its own (the transport
/// may be the same object for both, the executors may not), and one class of peers that both serve;
/// memory, too, if links are to be shown another kind than host memory.
/// The cases open, connect, use and destroy links themselves, on the executors. A fixture may be
/// used for one case after another. Two threads of one process will do, even for a transport
/// between processes; what only two processes can show (a killed peer) is not part of the
/// contract's cases.
namespace kvferry {

enum class Side : uint8_t { kLeft = 0, kRight = 1 };

constexpr Side other(Side side) { return side == Side::kLeft ? Side::kRight : Side::kLeft; }
constexpr const char* side_name(Side side) { return side == Side::kLeft ? "left" : "right"; }

/// Memory that a case gives to links.
///
/// Threads: any thread, while no link uses it
class ContractMemory {
 public:
  virtual ~ContractMemory() = default;
  /// For links; a case neither reads nor writes there.
  virtual std::span<std::byte> bytes() = 0;
  virtual std::vector<std::byte> read() const = 0;
  /// All of it.
  virtual void write(std::span<const std::byte> contents) = 0;

  size_t size() { return bytes().size(); }
};

/// Threads: cases run on a thread that is neither executor
class TransportContractFixture {
 public:
  virtual ~TransportContractFixture() = default;

  virtual Transport& transport(Side side) = 0;
  virtual Executor& executor(Side side) = 0;
  virtual PeerClass peer_class() const = 0;

  /// Memory for what the links of `side` send and receive, never null; `bytes` may be 0. This one
  /// gives host memory.
  virtual std::unique_ptr<ContractMemory> allocate(Side side, size_t bytes);

  /// Lets the executors run until `done` holds; false when `limit` passed first. This one waits for
  /// notify() and suits threads; with a simulated scheduler, override it to step that.
  virtual bool run_until(const std::function<bool()>& done, Duration limit);

  /// Something that `done` may look at has changed. Any thread.
  void notify() KVFERRY_EXCLUDES(mutex_);

 private:
  Mutex mutex_;
  CondVar changed_;
  uint64_t changes_ KVFERRY_GUARDED_BY(mutex_) = 0;
};

struct TransportContractCase {
  std::string name;
  /// OK, or which expectation broke and with what values.
  std::function<Status(TransportContractFixture&)> run;
  /// Worth reporting when broken, but no reason to fail: it measures.
  bool is_advisory = false;
};

std::vector<TransportContractCase> transport_contract_cases();

}  // namespace kvferry
