#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "kvferry/storage_backend.h"

/// What every storage backend must do, as cases that any test framework, or a tool, can run.
///
/// A fixture makes backends over an empty store; the cases bring what a backend is given: an
/// executor, threads for blocking work, and memory that notices who writes into it after it was
/// given back. Logger and metrics are null, as they may be. A case makes one backend, or several
/// one after another, uses it from the case's thread and from others, closes and destroys it.
/// At its end every item has ended once and every object is back in its allocator.
namespace kvferry {

/// The least that a store must hold without evicting, for the cases that do not fill it. One that
/// counts whole objects of the allocator (1 MiB each) must hold 96.
inline constexpr size_t kContractWorkingSetBytes = size_t{48} << 20;

/// Threads: cases run on a thread that is not an executor
class BackendContractFixture {
 public:
  virtual ~BackendContractFixture() = default;

  /// A backend over a store of its own that holds nothing.
  virtual Result<std::unique_ptr<StorageBackend>> make(const BackendContext& context) = 0;
  /// Another over the store of the last one made, which is closed and destroyed. Called if
  /// traits().persists.
  virtual Result<std::unique_ptr<StorageBackend>> reopen(const BackendContext& context);

  /// Those of every backend made here.
  virtual BackendTraits traits() const = 0;
  /// What the store is bounded to: at least kContractWorkingSetBytes. 0: not bounded, or too large
  /// to be filled.
  virtual size_t capacity_bytes() const { return 0; }
  /// How long an item may take; what takes longer is said to hang.
  virtual Duration item_limit() const { return std::chrono::seconds(30); }
};

/// What a case is about; one that a backend does not promise is skipped.
enum class ContractPart : uint8_t {
  kAll,
  kRetains,
  kRetainsNot,
  kPins,
  kPinsNot,
  kPersists,
  kCapacity
};

struct BackendContractCase {
  std::string name;
  ContractPart part = ContractPart::kAll;
  /// OK, or which expectation broke and with what values.
  std::function<Status(BackendContractFixture&)> run;
};

/// Its name, for what lists cases.
inline std::ostream& operator<<(std::ostream& out, const BackendContractCase& contract_case) {
  return out << contract_case.name;
}

std::vector<BackendContractCase> backend_contract_cases();

/// Why the case has nothing to say about the fixture's backends; empty if it has.
std::string why_skipped(const BackendContractCase& contract_case,
                        const BackendContractFixture& fixture);

}  // namespace kvferry
