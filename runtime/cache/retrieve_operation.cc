#include "runtime/cache/retrieve_operation.h"

#include <algorithm>
#include <utility>

namespace kvferry {
namespace {

constexpr size_t kMaxChunksAhead = 64;
/// No more than wait in the queue of a sink.
constexpr size_t kMaxLayerwiseChunks = 2048;

}  // namespace

RetrieveOperation::RetrieveOperation(CacheContext& context, std::vector<ChunkRef> chunks,
                                     std::vector<int64_t> slots, OnLayer on_layer, Done done)
    : context_(context),
      slots_(std::move(slots)),
      on_layer_(std::move(on_layer)),
      done_(std::move(done)) {
  chunks_.reserve(chunks.size());
  for (ChunkRef& what : chunks) {
    Chunk& chunk = chunks_.emplace_back();
    chunk.what = std::move(what);
    const auto slots_here = slots_of(chunk);
    chunk.is_skipped =
        std::all_of(slots_here.begin(), slots_here.end(), [](int64_t slot) { return slot < 0; });
  }
  end_ = chunks_.size();
}

std::span<const int64_t> RetrieveOperation::slots_of(const Chunk& chunk) const {
  return std::span(slots_).subspan(static_cast<size_t>(chunk.what.token_begin),
                                   static_cast<size_t>(chunk.what.num_tokens()));
}

int64_t RetrieveOperation::tokens_before(size_t index) const {
  return index == 0 ? 0 : chunks_[index - 1].what.token_end;
}

size_t RetrieveOperation::window() const {
  const size_t slots = context_.pool.usage().num_slots;
  if (on_layer_) return std::min(slots, kMaxLayerwiseChunks);
  const size_t most = std::clamp<size_t>(slots / 2, 1, kMaxChunksAhead);
  return std::clamp(context_.limits.read_ahead_bytes / context_.space.chunk_bytes(),
                    std::min<size_t>(2, most), most);
}

void RetrieveOperation::start(TimePoint deadline) {
  deadline_ = deadline;
  most_ahead_ = window();
  context_.control.post_at(deadline, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) {
      self->stop(Status(StatusCode::kDeadlineExceeded,
                        "retrieve did not end in time; what was good by then counts"));
    }
  });
  advance();
}

void RetrieveOperation::stop(const Status& why) {
  if (!done_ || is_stopped_) return;
  is_stopped_ = true;
  if (status_.is_ok()) status_ = why;
  // A chunk in mid-copy may still become good: its pages must be quiet before the end anyway.
  size_t good = 0;
  while (good < end_ && (is_good(chunks_[good]) || chunks_[good].state == State::kCopying)) ++good;
  cut(good);
  finish_if_done();
}

// ---- reading

void RetrieveOperation::advance() {
  while (next_ < end_ && (ahead_ < most_ahead_ || chunks_[next_].is_skipped)) {
    const size_t index = next_++;
    if (chunks_[index].is_skipped) continue;
    ++ahead_;
    fetch(index, 0);
  }
  // Layer by layer, what memory has no room for is past the prefix.
  if (on_layer_ && next_ < end_) cut(next_);
  finish_if_done();
}

void RetrieveOperation::fetch(size_t index, size_t first_sink) {
  Chunk& chunk = chunks_[index];
  chunk.state = State::kFetching;
  ChunkRequest request;
  request.key = chunk.what.key;
  request.size_bytes = context_.space.size_bytes(chunk.what);
  request.priority = FetchPriority::kForeground;
  // Layer by layer, what has come by then must still be scattered.
  request.deadline = on_layer_ ? halfway_to(deadline_, context_.now()) : deadline_;
  chunk.wait = context_.storage.fetch(
      request, first_sink, [self = shared_from_this(), index](const FetchedChunk& fetched) {
        self->on_fetched(index, fetched);
      });
}

void RetrieveOperation::on_fetched(size_t index, const FetchedChunk& fetched) {
  if (!done_ || index >= end_) return;
  Chunk& chunk = chunks_[index];
  chunk.wait.reset();
  if (!fetched.obj) {
    cut(index);
    finish_if_done();
    return;
  }
  chunk.fetched = fetched;
  if (!context_.space.check_layout(chunk.what, *fetched.obj).is_ok()) {
    context_.storage.sink(fetched.sink).count_miss(MissCause::kOtherLayout);
    fetch(index, chunk.fetched.sink + 1);
    return;
  }
  auto scatter = ChunkScatter::create(context_.space, chunk.what, slots_of(chunk), fetched.obj);
  if (!scatter.has_value() && scatter.error().code() == StatusCode::kDataLoss) {
    drop_bad(index, scatter.error());
    fetch(index, chunk.fetched.sink + 1);
    return;
  }
  if (!scatter.has_value()) {
    if (status_.is_ok()) status_ = scatter.error();
    cut(index);
    finish_if_done();
    return;
  }
  chunk.scatter = std::make_unique<ChunkScatter>(std::move(scatter).value());
  chunk.state = State::kFetched;
  if (on_layer_) {
    finish_if_done();
  } else {
    this->scatter(index);
  }
}

// ---- into the pages

void RetrieveOperation::scatter(size_t index) {
  Chunk& chunk = chunks_[index];
  chunk.state = State::kCopying;
  ++copying_;
  context_.copiers.submit([self = shared_from_this(), index, scatter = chunk.scatter.get()] {
    Status status = scatter->scatter_all();
    self->context_.control.post([self, index, status = std::move(status)] {
      --self->copying_;
      self->on_scattered(index, status);
    });
  });
}

void RetrieveOperation::on_scattered(size_t index, const Status& status) {
  Chunk& chunk = chunks_[index];
  if (status.is_ok()) {
    accept(chunk);
  } else {
    drop_bad(index, status);
  }
  chunk.scatter.reset();
  chunk.fetched.obj.reset();
  if (!status.is_ok() && is_stopped_) cut(index);
  if (status.is_ok() || index >= end_) {
    --ahead_;
  } else {
    fetch(index, chunk.fetched.sink + 1);  // another sink may have it right
  }
  advance();
}

void RetrieveOperation::accept(Chunk& chunk) {
  chunk.state = State::kGood;
  context_.storage.sink(chunk.fetched.sink).count_hit(chunk.fetched.obj->bytes().size());
  context_.storage.promote(chunk.what.key, chunk.fetched);
}

void RetrieveOperation::drop_bad(size_t index, const Status& why) {
  const Chunk& chunk = chunks_[index];
  Sink& sink = context_.storage.sink(chunk.fetched.sink);
  context_.counters.mismatched_chunks.fetch_add(1);
  sink.count_miss(MissCause::kDataLoss);
  sink.discard(chunk.what.key);
  if (context_.logger != nullptr) {
    context_.logger->log(LogLevel::kWarn,
                         "chunk_mismatch sink=" + sink.name() + " error=" + why.to_string());
  }
}

void RetrieveOperation::scatter_layer(int32_t layer) {
  ++copying_;
  context_.copiers.submit([self = shared_from_this(), layer, end = end_] {
    // Planes of a layer are neighbours in the order of planes: K and V, or the latent.
    Status wrong;
    size_t good = 0;
    for (; good < end && wrong.is_ok(); ++good) {
      const Chunk& chunk = self->chunks_[good];
      if (chunk.is_skipped) continue;
      const auto& planes = chunk.scatter->obj()->layout.planes;
      const auto first = std::find_if(planes.begin(), planes.end(),
                                      [layer](const auto& plane) { return plane.layer == layer; });
      const auto last = std::find_if(first, planes.end(),
                                     [layer](const auto& plane) { return plane.layer != layer; });
      wrong = chunk.scatter->scatter_planes(static_cast<int32_t>(first - planes.begin()),
                                            static_cast<int32_t>(last - planes.begin()));
    }
    if (!wrong.is_ok()) --good;
    self->context_.control.post([self, layer, good, wrong = std::move(wrong)] {
      --self->copying_;
      self->on_layer_scattered(layer, good, wrong);
    });
  });
}

void RetrieveOperation::on_layer_scattered(int32_t layer, size_t good, const Status& wrong) {
  if (!wrong.is_ok()) drop_bad(good, wrong);
  if (good < end_) cut(good);
  const KVGroup& group = context_.space.pages().groups.front();
  const int32_t last_layer = group.planes.back().layer;
  if (!is_stopped_ && end_ > 0) {
    on_layer_(layer, tokens_before(end_));
    const auto next = std::find_if(group.planes.begin(), group.planes.end(),
                                   [layer](const KVPlane& plane) { return plane.layer > layer; });
    if (layer < last_layer) {
      scatter_layer(next->layer);
      return;
    }
    for (size_t i = 0; i < end_; ++i) {
      Chunk& chunk = chunks_[i];
      if (chunk.is_skipped) continue;
      chunk.fetched.obj->set_verified(true);
      accept(chunk);
    }
  } else {
    end_ = 0;  // stopped between two layers: no token has all of them
  }
  finish_if_done();
}

// ---- the end

void RetrieveOperation::cut(size_t index) {
  while (end_ > index) {
    const ChunkWaitPtr wait = std::exchange(chunks_[--end_].wait, nullptr);
    if (wait) context_.storage.withdraw(wait);
  }
}

void RetrieveOperation::finish_if_done() {
  if (!done_ || copying_ > 0) return;
  const bool all_good =
      std::all_of(chunks_.begin(), chunks_.begin() + static_cast<std::ptrdiff_t>(end_),
                  [](const Chunk& chunk) { return is_good(chunk); });
  if (!all_good && on_layer_ && !layers_started_) {
    const bool all_read = std::all_of(
        chunks_.begin(), chunks_.begin() + static_cast<std::ptrdiff_t>(end_),
        [](const Chunk& chunk) { return chunk.is_skipped || chunk.state == State::kFetched; });
    if (!all_read) return;
    layers_started_ = true;
    scatter_layer(context_.space.pages().groups.front().planes.front().layer);
    return;
  }
  if (!all_good) return;
  RetrieveResult result;
  result.tokens = tokens_before(end_);
  result.sink_tokens.resize(context_.storage.num_sinks());
  for (size_t i = 0; i < end_; ++i) {
    if (!chunks_[i].is_skipped)
      result.sink_tokens[chunks_[i].fetched.sink] += chunks_[i].what.num_tokens();
  }
  result.status = status_;
  for (const int64_t tokens : result.sink_tokens) {
    context_.counters.retrieved_tokens.fetch_add(static_cast<uint64_t>(tokens));
  }
  chunks_.clear();
  std::exchange(done_, nullptr)(result);
}

}  // namespace kvferry
