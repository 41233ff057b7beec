#include "backends/remote/redis_connector.h"

#include <algorithm>
#include <utility>

#include "backends/remote/factory.h"
#include "backends/remote/remote_record.h"

namespace kvferry {
namespace {

using Kind = RedisAnswer::Kind;

std::string name_of(const CacheEngineKey& key) { return "kvferry:" + key.to_string(); }

Status too_many() {
  return Status(StatusCode::kResourceExhausted,
                "too many items wait for the server; ask for less at once, or raise max_queued");
}

Status unexpected(const RedisAnswer& answer) {
  if (answer.kind == Kind::kError) return redis_error(answer.text);
  return Status(StatusCode::kFailedPrecondition,
                "the server's answer is of a kind that the command does not have");
}

/// Of a command that counts what it found.
Result<bool> found_any(const Result<RedisAnswer>& answer) {
  if (!answer) return make_error(answer.error());
  if (answer->kind != Kind::kInteger) return make_error(unexpected(*answer));
  return answer->integer > 0;
}

}  // namespace

RedisConnector::RedisConnector(const BackendContext& context, const RemoteOptions& options)
    : context_(context), max_queued_(options.max_queued) {
  for (int64_t i = 0; i < options.store.connections; ++i) {
    connections_.push_back(RedisConnection::create(context, options.store));
    context.executor->post([connection = connections_.back()] { connection->start(); });
  }
}

bool RedisConnector::reserve(size_t num_items) {
  if (num_open_.fetch_add(num_items) + num_items <= max_queued_) return true;
  num_open_.fetch_sub(num_items);
  return false;
}

// ---- commands; each op's end gives back its place first, as the last one may end the connector

void RedisConnector::exists(std::span<const CacheEngineKey> keys, ContainsDone done) {
  if (!reserve(keys.size())) {
    for (size_t i = 0; i < keys.size(); ++i) done(i, make_error(too_many()));
    return;
  }
  std::vector<RedisOp> ops(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    ops[i].head = redis_command({"EXISTS", name_of(keys[i])});
    ops[i].end = [this, i, done](const Result<RedisAnswer>& answer) {
      num_open_.fetch_sub(1);
      done(i, found_any(answer));
    };
  }
  post(std::move(ops));
}

void RedisConnector::remove(std::span<const CacheEngineKey> keys, RemoveDone done) {
  if (!reserve(keys.size())) {
    for (size_t i = 0; i < keys.size(); ++i) done(i, make_error(too_many()));
    return;
  }
  std::vector<RedisOp> ops(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    ops[i].head = redis_command({"UNLINK", name_of(keys[i])});
    ops[i].end = [this, i, done](const Result<RedisAnswer>& answer) {
      num_open_.fetch_sub(1);
      done(i, found_any(answer));
    };
  }
  post(std::move(ops));
}

void RedisConnector::put(std::span<const CacheEngineKey> keys, std::span<const MemoryObjPtr> objs,
                         PutDone done) {
  if (!reserve(keys.size())) {
    for (size_t i = 0; i < keys.size(); ++i) done(i, too_many());
    return;
  }
  std::vector<RedisOp> ops;
  for (size_t i = 0; i < keys.size(); ++i) {
    auto head = encode_record_head(keys[i], *objs[i]);
    const size_t value_bytes = (head ? head->size() : 0) + objs[i]->bytes().size();
    Status refusal = head ? Status() : head.error();
    if (value_bytes > kMaxRedisValueBytes) {
      refusal =
          Status(StatusCode::kInvalidArgument, "a chunk of " + std::to_string(value_bytes) +
                                                   " bytes is larger than a value of Redis can be");
    }
    if (!refusal.is_ok()) {
      num_open_.fetch_sub(1);
      done(i, std::move(refusal));
      continue;
    }
    RedisOp op;
    op.head = redis_set_head(name_of(keys[i]), value_bytes);
    op.record_head = std::move(*head);
    op.obj = objs[i];
    op.end = [this, i, done](const Result<RedisAnswer>& answer) {
      num_open_.fetch_sub(1);
      if (!answer) return done(i, answer.error());
      done(i, answer->kind == Kind::kStatus ? Status() : unexpected(*answer));
    };
    ops.push_back(std::move(op));
    // What fills the connections goes out while the headers of the rest are made.
    if (ops.size() == RedisConnection::kWindow) post(std::exchange(ops, {}));
  }
  post(std::move(ops));
}

void RedisConnector::get(std::span<const CacheEngineKey> keys, const GetOptions& options,
                         GetDone done) {
  if (!reserve(keys.size())) {
    for (size_t i = 0; i < keys.size(); ++i) done(i, make_error(too_many()));
    return;
  }
  std::vector<RedisOp> ops(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    ops[i].head = redis_command({"GET", name_of(keys[i])});
    ops[i].deadline = options.deadline;
    auto found = std::make_shared<Result<MemoryObjPtr>>();
    ops[i].on_value = [this, found, key = keys[i]](std::span<const std::byte> value) {
      *found = read_record_object(*context_.allocator, key, value);
    };
    ops[i].end = [this, i, found, done](const Result<RedisAnswer>& answer) {
      num_open_.fetch_sub(1);
      if (!answer) return done(i, make_error(answer.error()));
      if (answer->kind == Kind::kNil) return done(i, MemoryObjPtr());
      if (answer->kind != Kind::kBulk) return done(i, make_error(unexpected(*answer)));
      done(i, std::move(*found));
    };
  }
  post(std::move(ops));
}

// ---- connections

void RedisConnector::post(std::vector<RedisOp> ops) {
  if (ops.empty()) return;
  const auto shared = std::make_shared<std::vector<RedisOp>>(std::move(ops));
  context_.executor->post([this, shared, connections = connections_] {
    for (RedisOp& op : *shared) least_busy().submit(std::move(op));
    for (const auto& connection : connections) connection->flush();
  });
}

RedisConnection& RedisConnector::least_busy() const {
  return **std::ranges::min_element(connections_, {},
                                    [](const auto& each) { return each->num_open(); });
}

void RedisConnector::close(std::function<void()> on_closed) {
  const auto num_left = std::make_shared<size_t>(connections_.size());
  context_.executor->post([connections = connections_, num_left, on_closed = std::move(on_closed)] {
    for (const auto& connection : connections) {
      connection->close([num_left, on_closed] {
        if (--*num_left == 0) on_closed();
      });
    }
  });
}

}  // namespace kvferry
