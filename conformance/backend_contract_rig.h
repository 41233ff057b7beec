#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "conformance/backend_contract.h"
#include "conformance/backend_contract_chunks.h"
#include "conformance/backend_contract_memory.h"
#include "conformance/expect.h"
#include "kvferry/mutex.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"
#include "runtime/thread_work_pool.h"

namespace kvferry {

/// Waits for the ends of one batch's items, and notes what they ended with and how often.
///
/// Threads: any thread, internally locked.
template <typename Outcome>
class BatchEnds {
 public:
  /// `call` names the batch in messages: "put".
  BatchEnds(std::string call, size_t size) : call_(std::move(call)), state_(new State(size)) {}

  /// For the call that begins the batch.
  std::function<void(size_t, Outcome)> done() const {
    return [state = state_](size_t item, Outcome outcome) {
      MutexLock lock(state->mutex);
      if (item >= state->outcomes.size() || state->outcomes[item].has_value()) {
        ++state->num_strays;
      } else {
        state->outcomes[item] = std::move(outcome);
        ++state->num_ended;
        state->ended.notify_all();
      }
    };
  }

  size_t num_ended() const {
    MutexLock lock(state_->mutex);
    return state_->num_ended;
  }

  /// What the items ended with. An error if one has not ended within `limit`, or ended twice.
  Result<std::vector<Outcome>> wait(Duration limit) const {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    MutexLock lock(state_->mutex);
    while (state_->num_ended < state_->outcomes.size()) {
      if (!state_->ended.wait_until(state_->mutex, deadline)) break;
    }
    std::vector<Outcome> outcomes;
    for (size_t i = 0; i < state_->outcomes.size(); ++i) {
      if (!state_->outcomes[i].has_value()) {
        return make_error(contract_broken(
            "item " + std::to_string(i) + " of a " + call_ + " of " +
            std::to_string(state_->outcomes.size()) + " did not end within " +
            std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(limit).count()) +
            " ms"));
      }
      outcomes.push_back(std::move(*state_->outcomes[i]));
    }
    KVFERRY_RETURN_IF_ERROR(
        expect(state_->num_strays == 0, "an item of a " + call_ + " ended twice"));
    return outcomes;
  }

 private:
  struct State {
    explicit State(size_t size) : outcomes(size) {}
    Mutex mutex;
    CondVar ended;
    std::vector<std::optional<Outcome>> outcomes KVFERRY_GUARDED_BY(mutex);
    size_t num_ended KVFERRY_GUARDED_BY(mutex) = 0;
    size_t num_strays KVFERRY_GUARDED_BY(mutex) = 0;
  };

  std::string call_;
  std::shared_ptr<State> state_;  // shared with done()
};

/// One backend, all that it is given, and what cases do with it.
///
/// Threads: calls on chunks from any thread; the rest from the case's thread.
class BackendRig {
 public:
  static Result<std::unique_ptr<BackendRig>> open(BackendContractFixture& fixture);
  /// After finish(). A backend that hangs is left alone for good, with all that it may still use.
  ~BackendRig();
  BackendRig(const BackendRig&) = delete;
  BackendRig& operator=(const BackendRig&) = delete;

  StorageBackend& backend() const { return *backend_; }
  PoisonedAllocator& allocator() const { return *allocator_; }
  Duration limit() const { return fixture_.item_limit(); }
  size_t capacity_bytes() const { return fixture_.capacity_bytes(); }

  // Calls on chunks by their numbers. Each waits for every item; errors are of the contract.

  /// A chunk in memory, as the runtime hands it over.
  Result<MemoryObjPtr> make_object(int number, int version = 0) const;
  /// Lets go of the objects at once.
  BatchEnds<Status> begin_put(const std::vector<int>& numbers, int version = 0) const;
  /// Every item must end OK.
  Status put(const std::vector<int>& numbers, int version = 0) const;
  BatchEnds<Result<MemoryObjPtr>> begin_get(const std::vector<int>& numbers,
                                            const GetOptions& options = {}) const;
  /// A null object is a miss; no item may end with an error.
  Result<std::vector<MemoryObjPtr>> get(const std::vector<int>& numbers) const;
  Result<std::vector<bool>> contains(const std::vector<int>& numbers) const;
  Result<std::vector<bool>> remove(const std::vector<int>& numbers, bool force) const;
  Result<bool> pin(int number, PinOwner owner, PinOp op) const;

  /// Contained, and got with all that was put.
  Status expect_held(const std::vector<int>& numbers, int version = 0) const;
  /// Neither contained nor got.
  Status expect_missing(const std::vector<int>& numbers) const;

  /// Closes the backend and waits for the end.
  Status close();
  /// Another backend over the same store.
  Status reopen();
  /// Closes and destroys the backend; what it left behind is an error.
  Status finish();

 private:
  explicit BackendRig(BackendContractFixture& fixture)
      : fixture_(fixture), clock_(std::make_unique<SteadyClock>()) {}

  BackendContext context() const;
  Status destroy();

  BackendContractFixture& fixture_;
  std::unique_ptr<SteadyClock> clock_;
  std::unique_ptr<PoisonedAllocator> allocator_;
  std::unique_ptr<ThreadWorkPool> work_pool_;
  std::unique_ptr<ThreadExecutor> executor_;
  std::unique_ptr<StorageBackend> backend_;
  bool is_closed_ = false;
};

/// A case around `body`, which gets a rig of its own; the rig's end is part of the case.
BackendContractCase rig_case(std::string name, ContractPart part,
                             std::function<Status(BackendRig&)> body);

/// How many objects a rig's allocator has.
inline constexpr size_t kContractObjects = 144;

}  // namespace kvferry
