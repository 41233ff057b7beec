#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kvferry/peer_exchange.h"
#include "runtime/control/messages.h"
#include "runtime/transfer/chunk_receiver.h"
#include "runtime/transfer/chunk_transfer.h"
#include "runtime/transfer/engine_context.h"

namespace kvferry {

/// What we and one peer ask of one another about chunks in memory, beside moving them: which are
/// held, and to keep some. A push is kept by being fetched: the bytes go the one way that all go.
///
/// Threads: the control executor.
class ChunkExchange {
 public:
  struct Outputs {
    std::function<void(const ControlMessage&)> send_message;
    std::function<void(const std::vector<CacheEngineKey>&, ObjectFetchOptions)> fetch_objects;
  };

  ChunkExchange(EngineContext& context, std::string peer, Outputs outputs);

  void ask(const std::vector<CacheEngineKey>& keys, PeerQuestion question, Duration timeout,
           PeerExchange::AskDone done);
  /// An item ends when no transfer reads its object any more; the last reference to `keep` goes
  /// when none holds it either.
  void push(std::vector<CacheEngineKey> keys, std::vector<MemoryObjPtr> objs, Duration timeout,
            std::shared_ptr<void> keep, PutDone done);
  /// Ends what was asked and pushed so far, what is read as soon as it is not any more.
  void cancel(const Status& status);

  void on_ask(const AskMessage& ask);
  void on_answer(const AnswerMessage& answer);
  void on_push(const PushMessage& push);
  void on_kept(const KeptMessage& kept);

  /// For a transfer to the peer: what is pushed to it, or what is shared with all.
  Result<OpenObject> open_object(const CacheEngineKey& key);

 private:
  /// Of one call of ask(), which may make several messages.
  struct Answers {
    std::vector<bool> answers;
    size_t open_messages = 0;
    Status status;
    PeerExchange::AskDone done;
  };
  /// One message.
  struct Question {
    std::shared_ptr<Answers> answers;
    size_t first = 0;  ///< of the call's keys
    size_t count = 0;
  };
  /// Of one call of push().
  struct PushCall {
    std::shared_ptr<void> keep;
    PutDone done;
  };
  struct Push {
    std::shared_ptr<PushCall> call;
    size_t item = 0;  ///< of the call
    CacheEngineKey key;
    MemoryObjPtr obj;
    int open_transfers = 0;
    bool was_offered = false;      ///< the peer may have it by now
    bool was_turned_down = false;  ///< by the peer, which keeps what it has
    std::optional<Status> outcome;
  };
  using PushPlace = std::pair<uint64_t, uint32_t>;  ///< message, item

  void end_question(uint64_t id, const Status& status);
  /// The outcome is known; it is told once nobody reads the object.
  void settle(const PushPlace& place, const Status& status);
  void finish_if_quiet(const PushPlace& place);
  /// What was said to have failed is not to be found there.
  void take_back(const Push& push);
  void keep(uint64_t push_id, uint32_t item, const CacheEngineKey& key, Result<MemoryObjPtr> obj);
  void say_kept(uint64_t push_id, uint32_t item, const Status& status);
  /// Runs `what` then, if this still lives. Duration 0: never.
  void after(Duration timeout, std::function<void()> what);

  EngineContext& context_;
  const std::string peer_;
  Outputs outputs_;
  uint64_t next_id_ = 1;
  std::map<uint64_t, Question> questions_;
  std::map<PushPlace, Push> pushes_;
  std::unordered_map<CacheEngineKey, std::vector<PushPlace>> by_key_;  // without an outcome yet
  size_t num_keeping_ = 0;  // pushed to us, being fetched
  // Timers hold it weakly: they do nothing once this is gone.
  const std::shared_ptr<ChunkExchange*> self_ = std::make_shared<ChunkExchange*>(this);
};

}  // namespace kvferry
