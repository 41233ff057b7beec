#include "runtime/storage/sink_questions.h"

#include <algorithm>
#include <span>
#include <utility>

#include "kvferry/mutex.h"

namespace kvferry {
namespace {

/// Keys that are asked for at once, and questions that may be open at a time.
constexpr size_t kSlice = 512;
constexpr size_t kMaxQuestions = 64;
/// Who waited less cannot say that a sink is silent.
constexpr Duration kLeastPatience = std::chrono::milliseconds(250);

/// Items of a slice. They may end on any thread.
struct Slice {
  Mutex mutex;
  std::vector<Result<bool>> answers KVFERRY_GUARDED_BY(mutex);
  size_t open KVFERRY_GUARDED_BY(mutex) = 0;
};

}  // namespace

struct SinkQuestions::Question {
  std::vector<CacheEngineKey> keys;
  ContainsIntent intent = ContainsIntent::kGet;
  TimePoint since{};
  std::vector<Holding> holdings;  // of the slices that have been answered
  std::function<void(std::vector<Holding>)> done;
  size_t slice_begin = 0;
};

struct SinkQuestions::Removing {
  std::vector<CacheEngineKey> keys;
  Removal removal;
  std::function<void(Removal)> done;
};

std::function<void(size_t, Result<bool>)> SinkQuestions::collect(
    size_t count, std::function<void(std::vector<Result<bool>>)> done) {
  auto slice = std::make_shared<Slice>();
  {
    MutexLock lock(slice->mutex);
    slice->answers.resize(count);
    slice->open = count;
  }
  return
      [self = shared_from_this(), slice, done = std::move(done)](size_t item, Result<bool> answer) {
        std::vector<Result<bool>> all;
        {
          MutexLock lock(slice->mutex);
          slice->answers[item] = std::move(answer);
          if (--slice->open > 0) return;
          all = std::move(slice->answers);
        }
        self->control_.post([done, all = std::move(all)] { done(all); });
      };
}

// ---- contains

void SinkQuestions::contains(std::vector<CacheEngineKey> keys, ContainsIntent intent,
                             TimePoint deadline, std::function<void(std::vector<Holding>)> done) {
  auto question = std::make_shared<Question>();
  question->keys = std::move(keys);
  question->intent = intent;
  question->since = control_.clock().now();
  question->done = std::move(done);
  ++open_questions_;
  const bool is_asked = !question->keys.empty() && open_questions_ <= kMaxQuestions && !is_silent_;
  if (!is_asked) {
    if (is_silent_ && !question->keys.empty()) ask_unwaited(question->keys.front());
    control_.post([self = shared_from_this(), question] { self->answer(question); });
    return;
  }
  ask_slice(question);
  if (deadline == TimePoint::max() || backend_->traits().is_memory) return;
  control_.post_at(deadline,
                   [self = shared_from_this(), question] { self->on_deadline(question); });
}

void SinkQuestions::ask_slice(const std::shared_ptr<Question>& question) {
  const size_t count = std::min(kSlice, question->keys.size() - question->slice_begin);
  backend_->submit_contains(
      std::span(question->keys).subspan(question->slice_begin, count),
      collect(count,
              [self = shared_from_this(), question](const std::vector<Result<bool>>& slice) {
                self->on_slice(question, slice);
              }),
      question->intent);
}

void SinkQuestions::on_slice(const std::shared_ptr<Question>& question,
                             const std::vector<Result<bool>>& slice) {
  if (!question->done) return;  // too late
  for (const Result<bool>& is_held : slice) {
    question->holdings.push_back(!is_held   ? Holding::kUnknown
                                 : *is_held ? Holding::kHeld
                                            : Holding::kMissing);
  }
  question->slice_begin += slice.size();
  if (question->slice_begin < question->keys.size()) {
    ask_slice(question);
  } else {
    answer(question);
  }
}

void SinkQuestions::answer(const std::shared_ptr<Question>& question) {
  if (!question->done) return;
  --open_questions_;
  question->holdings.resize(question->keys.size(), Holding::kUnknown);
  std::exchange(question->done, nullptr)(std::move(question->holdings));
}

void SinkQuestions::on_deadline(const std::shared_ptr<Question>& question) {
  if (!question->done) return;
  const Duration waited = control_.clock().now() - question->since;
  // One of many slices may just need more time than there was.
  if (waited >= kLeastPatience && question->slice_begin == 0) {
    is_silent_ = true;
    patience_ = waited;
  }
  answer(question);
}

void SinkQuestions::ask_unwaited(const CacheEngineKey& key) {
  if (std::exchange(unwaited_is_open_, true)) return;
  const auto on_answer = [self = shared_from_this(), since = control_.clock().now()](
                             const std::vector<Result<bool>>& answers) {
    self->unwaited_is_open_ = false;
    const Duration took = self->control_.clock().now() - since;
    if (answers.front().has_value() && took < self->patience_) self->is_silent_ = false;
  };
  backend_->submit_contains({&key, 1}, collect(1, on_answer));
}

// ---- remove

void SinkQuestions::remove(std::vector<CacheEngineKey> keys, std::function<void(Removal)> done) {
  auto removing = std::make_shared<Removing>();
  removing->keys = std::move(keys);
  removing->done = std::move(done);
  if (removing->keys.empty()) {
    control_.post([removing] { removing->done({}); });
    return;
  }
  remove_slice(removing);
}

void SinkQuestions::remove_slice(const std::shared_ptr<Removing>& removing) {
  const size_t begin = removing->removal.were_held.size();
  const size_t count = std::min(kSlice, removing->keys.size() - begin);
  const auto on_removed = [self = shared_from_this(),
                           removing](const std::vector<Result<bool>>& slice) {
    Removal& removal = removing->removal;
    for (const Result<bool>& was_held : slice) {
      removal.were_held.push_back(was_held.has_value() && *was_held);
      if (!was_held && removal.status.is_ok()) {
        removal.status = was_held.error().with_context("sink " + self->backend_->name());
      }
    }
    if (removal.were_held.size() < removing->keys.size()) {
      self->remove_slice(removing);
    } else {
      removing->done(std::move(removal));
    }
  };
  backend_->submit_remove(std::span(removing->keys).subspan(begin, count), true,
                          collect(count, on_removed));
}

}  // namespace kvferry
