#include "runtime/cache/store_operation.h"

#include <algorithm>
#include <utility>

namespace kvferry {
namespace {

/// Between two looks at whether memory or a sink has room again.
constexpr Duration kRoomPoll = std::chrono::milliseconds(1);

bool lacks_any(const std::vector<bool>& missing) {
  return std::find(missing.begin(), missing.end(), true) != missing.end();
}

}  // namespace

StoreOperation::StoreOperation(CacheContext& context, std::vector<ChunkRef> chunks,
                               std::vector<int64_t> slots, std::shared_ptr<LayerProgress> layers,
                               std::function<void()> on_pages_read, Done done)
    : context_(context),
      slots_(std::move(slots)),
      layers_(std::move(layers)),
      on_pages_read_(std::move(on_pages_read)),
      done_(std::move(done)) {
  chunks_.reserve(chunks.size());
  for (ChunkRef& what : chunks) chunks_.emplace_back().what = std::move(what);
  result_.chunks = chunks_.size();
}

void StoreOperation::start(TimePoint deadline) {
  context_.control.post_at(deadline, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) {
      self->stop(Status(StatusCode::kDeadlineExceeded,
                        "store did not end in time; what was not gathered by then is not stored"));
    }
  });
  if (layers_) {
    layers_->listen([weak = weak_from_this(), control = &context_.control] {
      control->post([weak] {
        if (const auto self = weak.lock()) self->on_layers();
      });
    });
  }
  std::vector<CacheEngineKey> keys;
  keys.reserve(chunks_.size());
  for (const Chunk& chunk : chunks_) keys.push_back(chunk.what.key);
  context_.storage.find_missing(keys,
                                std::min(deadline, context_.now() + context_.limits.lookup_timeout),
                                [self = shared_from_this()](StorageManager::Missing missing) {
                                  self->on_missing_known(std::move(missing));
                                });
}

void StoreOperation::on_missing_known(StorageManager::Missing missing) {
  knows_missing_ = true;
  if (!missing.is_certain) {
    note(Status(StatusCode::kUnavailable,
                "a sink did not say what it holds, and gets nothing of what it did not name"));
  }
  for (size_t i = 0; i < chunks_.size(); ++i) chunks_[i].missing = std::move(missing.by_key[i]);
  advance();
}

void StoreOperation::stop(const Status& why) {
  if (!done_ || is_stopped_) return;
  is_stopped_ = true;
  note(why);
  on_layers();  // which they do not wait for any more
  finish_if_done();
}

void StoreOperation::advance() {
  while (knows_missing_ && !is_stopped_ && next_ < chunks_.size()) {
    Chunk& chunk = chunks_[next_];
    if (!lacks_any(chunk.missing) || context_.storing.contains(chunk.what.key)) {
      ++result_.held;
      ++next_;
      continue;
    }
    if (gathering_ >= most_gathering()) return;  // the end of one comes back here
    if (!is_ready_for(chunk)) {
      wait_a_moment();
      return;
    }
    const size_t before = next_;
    begin_gather(next_);
    if (next_ == before) {
      wait_a_moment();
      return;
    }
  }
  finish_if_done();
}

size_t StoreOperation::most_gathering() const {
  // Those that wait for layers keep memory, which is others' too.
  return layers_ ? std::max<size_t>(context_.pool.usage().num_slots / 2, 1)
                 : context_.limits.copy_threads + 1;
}

bool StoreOperation::is_ready_for(const Chunk& chunk) const {
  for (size_t i = 0; i < chunk.missing.size(); ++i) {
    const Sink& sink = context_.storage.sink(i);
    if (chunk.missing[i] && sink.is_moving() && !sink.has_room(context_.space.chunk_bytes())) {
      return false;
    }
  }
  return true;
}

void StoreOperation::wait_a_moment() {
  if (is_waiting_) return;
  is_waiting_ = true;
  context_.control.post_at(context_.now() + kRoomPoll, [self = shared_from_this()] {
    self->is_waiting_ = false;
    self->advance();
  });
}

void StoreOperation::begin_gather(size_t index) {
  Chunk& chunk = chunks_[index];
  auto obj = context_.pool.allocate(context_.space.size_bytes(chunk.what));
  if (!obj.has_value()) {
    if (obj.error().code() == StatusCode::kResourceExhausted) return;  // later
    note(obj.error());
    ++result_.lost;
    ++next_;
    return;
  }
  ++next_;
  const auto slots = std::span(slots_).subspan(static_cast<size_t>(chunk.what.token_begin),
                                               static_cast<size_t>(chunk.what.num_tokens()));
  auto gather = ChunkGather::create(context_.space, chunk.what, slots, std::move(obj).value());
  if (!gather.has_value()) {
    note(gather.error());
    ++result_.lost;
    return;
  }
  ++open_;
  ++gathering_;
  chunk.gather = std::make_unique<ChunkGather>(std::move(gather).value());
  chunk.is_ours = true;
  context_.storing.emplace(chunk.what.key, false);
  gather_ready_planes(index);
}

void StoreOperation::on_layers() {
  for (size_t i = 0; i < next_; ++i) {
    if (chunks_[i].gather) gather_ready_planes(i);
  }
}

void StoreOperation::gather_ready_planes(size_t index) {
  Chunk& chunk = chunks_[index];
  if (chunk.is_copying) return;
  if (is_stopped_) {
    chunk.gather.reset();
    --gathering_;
    end_chunk(index);
    return;
  }
  const int32_t all = chunk.gather->num_planes();
  const int32_t ready = layers_ ? chunk.gather->planes_up_to(layers_->last_complete()) : all;
  if (ready == chunk.planes_done) return;
  chunk.is_copying = true;
  context_.copiers.submit([self = shared_from_this(), index, ready, begin = chunk.planes_done,
                           gather = chunk.gather.get()] {
    Status status = gather->gather_planes(begin, ready);
    if (status.is_ok() && ready == gather->num_planes()) gather->finish();
    self->context_.control.post([self, index, ready, status = std::move(status)] {
      self->on_gathered(index, ready, status);
    });
  });
}

void StoreOperation::on_gathered(size_t index, int32_t planes, const Status& status) {
  Chunk& chunk = chunks_[index];
  chunk.is_copying = false;
  chunk.planes_done = planes;
  if (status.is_ok() && planes < chunk.gather->num_planes()) {
    gather_ready_planes(index);
    finish_if_done();
    return;
  }
  const std::unique_ptr<ChunkGather> gather = std::move(chunk.gather);
  --gathering_;
  if (status.is_ok()) {
    put(index, gather->obj());
  } else {
    note(status);
    end_chunk(index);
  }
  advance();
}

void StoreOperation::put(size_t index, const MemoryObjPtr& obj) {
  Chunk& chunk = chunks_[index];
  if (context_.storing.at(chunk.what.key)) {
    note(Status(StatusCode::kCancelled, "cleared while it was stored"));
    end_chunk(index);
    return;
  }
  chunk.open_puts =
      static_cast<size_t>(std::count(chunk.missing.begin(), chunk.missing.end(), true));
  context_.storage.store(chunk.what.key, obj, chunk.missing,
                         [self = shared_from_this(), index](size_t, const Status& status) {
                           self->on_put(index, status);
                         });
}

void StoreOperation::on_put(size_t index, const Status& status) {
  Chunk& chunk = chunks_[index];
  --chunk.open_puts;
  if (status.is_ok()) {
    ++chunk.good_puts;
  } else {
    ++result_.failed_puts;
    note(status);
  }
  if (chunk.open_puts > 0) return;
  end_chunk(index);
  advance();
}

void StoreOperation::end_chunk(size_t index) {
  Chunk& chunk = chunks_[index];
  if (chunk.is_ours) context_.storing.erase(chunk.what.key);
  chunk.is_ours = false;
  --open_;
  if (chunk.good_puts > 0) {
    ++result_.stored;
    context_.counters.stored_chunks.fetch_add(1);
  } else {
    ++result_.lost;
  }
}

void StoreOperation::note(const Status& status) {
  if (result_.status.is_ok()) result_.status = status;
}

void StoreOperation::finish_if_done() {
  const bool all_begun = is_stopped_ || (knows_missing_ && next_ == chunks_.size());
  if (all_begun && gathering_ == 0 && on_pages_read_) std::exchange(on_pages_read_, nullptr)();
  // Stopped, it does not wait for puts: they own what they put, and end by themselves.
  if (!done_ || !all_begun || gathering_ > 0 || (open_ > 0 && !is_stopped_)) return;
  if (layers_) layers_->listen(nullptr);
  result_.lost += chunks_.size() - next_;
  std::exchange(done_, nullptr)(result_);
}

}  // namespace kvferry
