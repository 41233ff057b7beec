#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "kvferry/storage_backend.h"

namespace kvferry {

/// What a sink says of a key.
enum class Holding : uint8_t { kHeld, kMissing, kUnknown };

/// What came of a remove.
struct Removal {
  std::vector<bool> were_held;
  Status status;  ///< of the first key that may still be there
};

/// What a backend is asked about keys: in slices, one after another.
///
/// Nobody waits for one that does not answer but the first: after a question that was not answered
/// in time all others are kUnknown at once, until one that nobody waits for is answered faster.
///
/// Threads: the control executor; callbacks come on it, never from inside the call.
class SinkQuestions : public std::enable_shared_from_this<SinkQuestions> {
 public:
  SinkQuestions(std::shared_ptr<StorageBackend> backend, Executor& control)
      : backend_(std::move(backend)), control_(control) {}

  /// kUnknown: it failed, or did not say by `deadline`.
  void contains(std::vector<CacheEngineKey> keys, ContainsIntent intent, TimePoint deadline,
                std::function<void(std::vector<Holding>)> done);
  /// Takes keys out, pinned or not.
  void remove(std::vector<CacheEngineKey> keys, std::function<void(Removal)> done);

 private:
  struct Question;
  struct Removing;

  void ask_slice(const std::shared_ptr<Question>& question);
  void on_slice(const std::shared_ptr<Question>& question, const std::vector<Result<bool>>& slice);
  void answer(const std::shared_ptr<Question>& question);
  void on_deadline(const std::shared_ptr<Question>& question);
  void ask_unwaited(const CacheEngineKey& key);
  void remove_slice(const std::shared_ptr<Removing>& removing);
  /// Calls back on the control executor when the last item of a slice has ended.
  std::function<void(size_t, Result<bool>)> collect(
      size_t count, std::function<void(std::vector<Result<bool>>)> done);

  const std::shared_ptr<StorageBackend> backend_;
  Executor& control_;
  size_t open_questions_ = 0;
  bool is_silent_ = false;
  Duration patience_{};  // how long the one was waited for that was not answered
  bool unwaited_is_open_ = false;
};

}  // namespace kvferry
