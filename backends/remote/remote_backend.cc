#include "backends/remote/remote_backend.h"

#include <atomic>
#include <utility>
#include <vector>

#include "backends/remote/factory.h"

namespace kvferry {
namespace {

template <typename T>
StatusCode code_of(const Result<T>& result) {
  return result ? StatusCode::kOk : result.error().code();
}
StatusCode code_of(const Status& status) { return status.code(); }

}  // namespace

/// What one call says about the store: its last item records it. That some items got an answer is
/// enough for a success.
class RemoteBackend::CallOutcome {
 public:
  CallOutcome(RemoteBackend& backend, size_t num_items) : backend_(backend), num_open_(num_items) {}

  void end_item(StatusCode code) {
    if (code == StatusCode::kUnavailable) {
      has_failed_.store(true);
    } else if (code != StatusCode::kCancelled && code != StatusCode::kDeadlineExceeded) {
      was_answered_.store(true);
    }
    if (num_open_.fetch_sub(1) != 1) return;
    backend_.record(was_answered_.load() ? CircuitBreaker::Outcome::kSuccess
                    : has_failed_.load() ? CircuitBreaker::Outcome::kFailure
                                         : CircuitBreaker::Outcome::kNeither);
  }

 private:
  RemoteBackend& backend_;
  std::atomic<size_t> num_open_;
  std::atomic<bool> has_failed_{false};
  std::atomic<bool> was_answered_{false};
};

RemoteBackend::RemoteBackend(BackendContext context, BackendTraits traits,
                             const RemoteOptions& options, std::string where,
                             std::unique_ptr<RemoteConnector> connector)
    : StorageBackend(std::move(context), traits),
      where_(std::move(where)),
      breaker_(options.breaker_failures, options.breaker_cooldown),
      connector_(std::move(connector)) {}

std::shared_ptr<RemoteBackend::CallOutcome> RemoteBackend::admit(size_t num_items) {
  if (num_items == 0 || !breaker_.admit(now())) return nullptr;
  return std::make_shared<CallOutcome>(*this, num_items);
}

Status RemoteBackend::unavailable() const {
  return Status(StatusCode::kUnavailable,
                where_ + " did not answer several calls in a row and is left alone for a moment");
}

void RemoteBackend::record(CircuitBreaker::Outcome outcome) {
  const CircuitBreaker::State before = breaker_.state();
  const CircuitBreaker::State after = breaker_.record(outcome, now());
  if (before == after) return;
  if (after == CircuitBreaker::State::kOpen && before == CircuitBreaker::State::kClosed) {
    if (context().metrics != nullptr) context().metrics->add("breaker_opened", 1);
    log(LogLevel::kWarn, "remote_unavailable store=" + where_);
  } else if (after == CircuitBreaker::State::kClosed) {
    log(LogLevel::kInfo, "remote_available store=" + where_);
  }
}

void RemoteBackend::log(LogLevel level, const std::string& line) const {
  if (context().logger != nullptr) context().logger->log(level, line + " backend=" + name());
}

// The outcome is recorded first: after the last item's end the backend may be gone.

void RemoteBackend::do_contains(std::span<const CacheEngineKey> keys, ContainsDone done) {
  const auto outcome = admit(keys.size());
  if (outcome == nullptr) {
    for (size_t i = 0; i < keys.size(); ++i) done(i, make_error(unavailable()));
    return;
  }
  connector_->exists(keys, [outcome, done = std::move(done)](size_t item, Result<bool> is_held) {
    outcome->end_item(code_of(is_held));
    done(item, std::move(is_held));
  });
}

void RemoteBackend::do_put(std::span<const CacheEngineKey> keys, std::span<const MemoryObjPtr> objs,
                           const TransferSpec& /*spec*/, PutDone done) {
  const auto outcome = admit(keys.size());
  if (outcome == nullptr) {
    for (size_t i = 0; i < keys.size(); ++i) done(i, unavailable());
    return;
  }
  connector_->put(keys, objs, [outcome, done = std::move(done)](size_t item, Status status) {
    outcome->end_item(code_of(status));
    done(item, std::move(status));
  });
}

void RemoteBackend::do_get(std::span<const CacheEngineKey> keys, const GetOptions& options,
                           GetDone done) {
  const auto outcome = admit(keys.size());
  if (outcome == nullptr) {
    for (size_t i = 0; i < keys.size(); ++i) done(i, make_error(unavailable()));
    return;
  }
  const auto named = std::make_shared<std::vector<CacheEngineKey>>(keys.begin(), keys.end());
  connector_->get(
      keys, options,
      [this, outcome, named, done = std::move(done)](size_t item, Result<MemoryObjPtr> obj) {
        outcome->end_item(code_of(obj));
        done(item, without_broken((*named)[item], std::move(obj)));
      });
}

void RemoteBackend::do_remove(std::span<const CacheEngineKey> keys, bool /*force*/,
                              RemoveDone done) {
  const auto outcome = admit(keys.size());
  if (outcome == nullptr) {
    for (size_t i = 0; i < keys.size(); ++i) done(i, make_error(unavailable()));
    return;
  }
  connector_->remove(keys, [outcome, done = std::move(done)](size_t item, Result<bool> was_held) {
    outcome->end_item(code_of(was_held));
    done(item, std::move(was_held));
  });
}

Result<MemoryObjPtr> RemoteBackend::without_broken(const CacheEngineKey& key,
                                                   Result<MemoryObjPtr> obj) {
  const StatusCode code = code_of(obj);
  if (code != StatusCode::kDataLoss && code != StatusCode::kUnimplemented) return obj;
  if (context().metrics != nullptr) context().metrics->add("data_loss", 1);
  log(LogLevel::kError, "chunk_rejected error=\"" + obj.error().to_string() + "\"");
  // A newer version's record is left to those who can read it.
  if (code == StatusCode::kUnimplemented) return MemoryObjPtr();
  submit_remove(std::span(&key, 1), true, [](size_t, const Result<bool>&) {});
  return obj;
}

void RemoteBackend::do_close(std::function<void()> on_closed) {
  connector_->close(std::move(on_closed));
}

}  // namespace kvferry
