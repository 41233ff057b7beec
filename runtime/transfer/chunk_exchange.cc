#include "runtime/transfer/chunk_exchange.h"

#include <algorithm>

namespace kvferry {
namespace {

Status not_in_time(const std::string& peer) {
  return {StatusCode::kDeadlineExceeded, "peer '" + peer + "' did not answer in time"};
}

}  // namespace

ChunkExchange::ChunkExchange(EngineContext& context, std::string peer, Outputs outputs)
    : context_(context), peer_(std::move(peer)), outputs_(std::move(outputs)) {}

void ChunkExchange::after(Duration timeout, std::function<void()> what) {
  if (timeout <= Duration::zero()) return;
  Executor& control = context_.control;
  control.post_at(control.clock().now() + timeout,
                  [weak = std::weak_ptr<ChunkExchange*>(self_), what = std::move(what)] {
                    if (!weak.expired()) what();
                  });
}

// ---- questions

void ChunkExchange::ask(const std::vector<CacheEngineKey>& keys, PeerQuestion question,
                        Duration timeout, PeerExchange::AskDone done) {
  if (keys.empty()) return done(std::vector<bool>());
  auto answers = std::make_shared<Answers>();
  answers->answers.resize(keys.size());
  answers->open_messages = (keys.size() + kMaxAskedKeys - 1) / kMaxAskedKeys;
  answers->done = std::move(done);
  for (size_t first = 0; first < keys.size(); first += kMaxAskedKeys) {
    const size_t count = std::min(kMaxAskedKeys, keys.size() - first);
    const uint64_t id = next_id_++;
    questions_.emplace(id, Question{answers, first, count});
    const auto begin = keys.begin() + static_cast<ptrdiff_t>(first);
    outputs_.send_message(AskMessage{
        id, question, std::vector<CacheEngineKey>(begin, begin + static_cast<ptrdiff_t>(count))});
    after(timeout, [this, id] { end_question(id, not_in_time(peer_)); });
  }
}

void ChunkExchange::on_answer(const AnswerMessage& answer) {
  const auto found = questions_.find(answer.ask_id);
  if (found == questions_.end()) return;  // too late
  const Question& question = found->second;
  if (answer.answers.size() != question.count) {
    end_question(answer.ask_id,
                 {StatusCode::kUnavailable, "peer '" + peer_ + "' answered " +
                                                std::to_string(answer.answers.size()) + " of " +
                                                std::to_string(question.count) + " questions"});
    return;
  }
  std::copy(answer.answers.begin(), answer.answers.end(),
            question.answers->answers.begin() + static_cast<ptrdiff_t>(question.first));
  end_question(answer.ask_id, {});
}

void ChunkExchange::end_question(uint64_t id, const Status& status) {
  const auto found = questions_.find(id);
  if (found == questions_.end()) return;
  const std::shared_ptr<Answers> answers = std::move(found->second.answers);
  questions_.erase(found);
  if (answers->status.is_ok()) answers->status = status;
  if (--answers->open_messages > 0) return;
  if (answers->status.is_ok()) {
    answers->done(std::move(answers->answers));
  } else {
    answers->done(make_error(answers->status));
  }
}

void ChunkExchange::on_ask(const AskMessage& ask) {
  PeerStore* const store = context_.store;
  AnswerMessage answer{ask.ask_id, std::vector<bool>(ask.keys.size())};
  if (store != nullptr && ask.question == PeerQuestion::kHolds) {
    answer.answers = store->holds(ask.keys);
  } else if (store != nullptr) {
    answer.answers = store->remove(ask.keys, ask.question == PeerQuestion::kRemoveForced);
  }
  outputs_.send_message(answer);
}

// ---- pushes from here

void ChunkExchange::push(std::vector<CacheEngineKey> keys, std::vector<MemoryObjPtr> objs,
                         Duration timeout, std::shared_ptr<void> keep, PutDone done) {
  const auto call = std::make_shared<PushCall>(PushCall{std::move(keep), std::move(done)});
  for (size_t first = 0; first < keys.size(); first += kMaxAskedKeys) {
    PushMessage message{next_id_++, {}};
    const size_t end = std::min(first + kMaxAskedKeys, keys.size());
    for (size_t i = first; i < end; ++i) {
      const PushPlace place(message.push_id, static_cast<uint32_t>(i - first));
      message.items.push_back({keys[i], objs[i]->chunk_digest});
      by_key_[keys[i]].push_back(place);
      pushes_.emplace(place, Push{.call = call,
                                  .item = i,
                                  .key = std::move(keys[i]),
                                  .obj = std::move(objs[i]),
                                  .outcome = std::nullopt});
    }
    outputs_.send_message(message);
    after(timeout, [this, id = message.push_id, count = static_cast<uint32_t>(end - first)] {
      for (uint32_t i = 0; i < count; ++i) settle({id, i}, not_in_time(peer_));
    });
  }
}

void ChunkExchange::on_kept(const KeptMessage& kept) {
  Status status;
  if (kept.code != StatusCode::kOk) {
    status = Status(kept.code,
                    "peer '" + peer_ + "': " + detail::printable(kept.reason, kMaxReasonBytes));
  }
  const PushPlace place(kept.push_id, kept.item);
  const auto found = pushes_.find(place);
  if (found != pushes_.end()) found->second.was_turned_down = !status.is_ok();
  settle(place, status);
}

void ChunkExchange::settle(const PushPlace& place, const Status& status) {
  const auto found = pushes_.find(place);
  if (found == pushes_.end() || found->second.outcome.has_value()) return;
  Push& push = found->second;
  push.outcome = status;
  const auto same_key = by_key_.find(push.key);
  std::erase(same_key->second, place);
  if (same_key->second.empty()) by_key_.erase(same_key);
  finish_if_quiet(place);
}

void ChunkExchange::finish_if_quiet(const PushPlace& place) {
  const auto found = pushes_.find(place);
  if (found == pushes_.end() || !found->second.outcome || found->second.open_transfers > 0) return;
  Push push = std::move(found->second);
  pushes_.erase(found);
  take_back(push);
  push.obj.reset();
  push.call->done(push.item, *std::move(push.outcome));
}

void ChunkExchange::take_back(const Push& push) {
  if (push.outcome->is_ok() || !push.was_offered || push.was_turned_down) return;
  if (by_key_.contains(push.key)) return;  // it is pushed again
  outputs_.send_message(AskMessage{next_id_++, PeerQuestion::kRemove, {push.key}});
}

Result<OpenObject> ChunkExchange::open_object(const CacheEngineKey& key) {
  if (const auto found = by_key_.find(key); found != by_key_.end()) {
    const PushPlace place = found->second.back();  // the newest
    Push& push = pushes_.at(place);
    ++push.open_transfers;
    push.was_offered = true;
    return OpenObject{.obj = push.obj,
                      .release =
                          [this, place] {
                            --pushes_.at(place).open_transfers;
                            finish_if_quiet(place);
                          },
                      .keep = push.call->keep};
  }
  MemoryObjPtr obj;
  if (context_.store != nullptr) obj = context_.store->find(key);
  if (!obj || !obj->is_verified()) {
    return make_error(StatusCode::kNotFound, "not in memory (any more)");
  }
  return OpenObject{.obj = std::move(obj), .release = [] {}};
}

void ChunkExchange::cancel(const Status& status) {
  // A completion may begin what comes next: that is not ended.
  std::vector<uint64_t> questions;
  for (const auto& [id, question] : questions_) questions.push_back(id);
  std::vector<PushPlace> pushes;
  for (const auto& [place, push] : pushes_) pushes.push_back(place);
  for (const uint64_t id : questions) end_question(id, status);
  for (const PushPlace& place : pushes) settle(place, status);
}

// ---- pushes to here

void ChunkExchange::on_push(const PushMessage& push) {
  std::vector<CacheEngineKey> keys;
  std::vector<uint32_t> items;
  for (size_t i = 0; i < push.items.size(); ++i) {
    const PushMessage::Item& item = push.items[i];
    const auto number = static_cast<uint32_t>(i);
    if (context_.store == nullptr) {
      say_kept(push.push_id, number, {StatusCode::kUnimplemented, "keeps nothing in memory"});
    } else if (const auto obj = context_.store->find(item.key);
               obj && obj->chunk_digest == item.chunk_digest) {
      say_kept(push.push_id, number, {});
    } else if (num_keeping_ + keys.size() >= kMaxFetchItems) {
      say_kept(push.push_id, number,
               {StatusCode::kResourceExhausted, "is fetching too many pushed chunks"});
    } else {
      keys.push_back(item.key);
      items.push_back(number);
    }
  }
  if (keys.empty()) return;
  num_keeping_ += keys.size();
  ObjectFetchOptions options;
  options.priority = FetchPriority::kBackground;
  options.allocator = &context_.store->allocator();
  options.on_object = [this, id = push.push_id, keys, items = std::move(items)](
                          size_t i, Result<MemoryObjPtr> obj) {
    keep(id, items[i], keys[i], std::move(obj));
  };
  outputs_.fetch_objects(keys, std::move(options));
}

void ChunkExchange::keep(uint64_t push_id, uint32_t item, const CacheEngineKey& key,
                         Result<MemoryObjPtr> obj) {
  --num_keeping_;
  say_kept(push_id, item, obj ? context_.store->keep(key, *obj) : obj.error());
}

void ChunkExchange::say_kept(uint64_t push_id, uint32_t item, const Status& status) {
  outputs_.send_message(KeptMessage{push_id, item, status.code(), std::string(status.message())});
}

}  // namespace kvferry
