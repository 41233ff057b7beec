#include "runtime/cache/prefetch_operation.h"

#include <algorithm>
#include <utility>

#include "kvferry/chunk_record.h"

namespace kvferry {

PrefetchOperation::PrefetchOperation(CacheContext& context, std::vector<ChunkRef> chunks, Done done)
    : context_(context),
      chunks_(std::move(chunks)),
      is_here_(chunks_.size(), false),
      done_(std::move(done)) {}

void PrefetchOperation::start(TimePoint deadline) {
  deadline_ = deadline;
  if (!context_.storage.memory_sink().has_value()) {
    result_.refused = chunks_.size();
    context_.counters.refused_prefetch_chunks.fetch_add(chunks_.size());
    next_ = chunks_.size();
    finish_if_done();
    return;
  }
  std::vector<CacheEngineKey> keys;
  keys.reserve(chunks_.size());
  for (const ChunkRef& chunk : chunks_) keys.push_back(chunk.key);
  Sink& memory = context_.storage.sink(*context_.storage.memory_sink());
  memory.questions().contains(std::move(keys), ContainsIntent::kGet, deadline,
                              [self = shared_from_this()](const std::vector<Holding>& holdings) {
                                for (size_t i = 0; i < holdings.size(); ++i) {
                                  self->is_here_[i] = holdings[i] == Holding::kHeld;
                                }
                                while (!self->is_stopped_ && self->next_ < self->chunks_.size()) {
                                  self->fetch(self->next_++);
                                }
                                self->finish_if_done();
                              });
}

void PrefetchOperation::stop(const Status& why) {
  why.ignore("a prefetch that is stopped says how far it came");
  is_stopped_ = true;
  finish_if_done();
}

void PrefetchOperation::fetch(size_t index) {
  if (is_here_[index]) return;
  const size_t bytes = context_.space.chunk_bytes();
  if (context_.counters.prefetch_bytes + bytes > context_.limits.prefetch_max_in_flight_bytes) {
    ++result_.refused;
    context_.counters.refused_prefetch_chunks.fetch_add(1);
    return;
  }
  context_.counters.prefetch_bytes.fetch_add(bytes);
  ++open_;
  ChunkRequest request;
  request.key = chunks_[index].key;
  request.size_bytes = context_.space.size_bytes(chunks_[index]);
  request.priority = FetchPriority::kPrefetch;
  request.deadline = deadline_;
  context_.storage.fetch(request, 0,
                         [self = shared_from_this(), index](const FetchedChunk& fetched) {
                           self->on_fetched(index, fetched);
                         });
}

void PrefetchOperation::on_fetched(size_t index, const FetchedChunk& fetched) {
  // Stopped, it may be the engine's end, and the copiers' too.
  if (!fetched.obj || is_stopped_) {
    end_chunk(index, false);
    return;
  }
  if (!context_.space.check_layout(chunks_[index], *fetched.obj).is_ok()) {
    context_.storage.sink(fetched.sink).count_miss(MissCause::kOtherLayout);
    end_chunk(index, false);
    return;
  }
  context_.copiers.submit([self = shared_from_this(), index, fetched] {
    Status status = verify_chunk(self->chunks_[index].key, *fetched.obj);
    self->context_.control.post([self, index, fetched, status = std::move(status)] {
      CacheContext& context = self->context_;
      const CacheEngineKey& key = self->chunks_[index].key;
      if (!status.is_ok()) {
        context.counters.mismatched_chunks.fetch_add(1);
        context.storage.sink(fetched.sink).count_miss(MissCause::kDataLoss);
        context.storage.sink(fetched.sink).discard(key);
        self->end_chunk(index, false);
        return;
      }
      context.storage.sink(fetched.sink).count_hit(fetched.obj->bytes().size());
      context.storage.promote(key, fetched, [self, index](const Status& kept) {
        if (kept.is_ok()) {
          self->context_.counters.prefetched_chunks.fetch_add(1);
          ++self->result_.fetched;
        }
        self->end_chunk(index, kept.is_ok());
      });
    });
  });
}

void PrefetchOperation::end_chunk(size_t index, bool is_here) {
  context_.counters.prefetch_bytes.fetch_sub(context_.space.chunk_bytes());
  is_here_[index] = is_here;
  --open_;
  finish_if_done();
}

void PrefetchOperation::finish_if_done() {
  if (!done_ || (!is_stopped_ && (next_ < chunks_.size() || open_ > 0))) return;
  for (size_t i = 0; i < chunks_.size() && is_here_[i]; ++i) result_.tokens = chunks_[i].token_end;
  std::exchange(done_, nullptr)(result_);
}

}  // namespace kvferry
