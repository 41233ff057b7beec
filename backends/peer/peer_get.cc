#include "backends/peer/peer_get.h"

#include <utility>

namespace kvferry {

PeerGet::PeerGet(const BackendContext& context, PeerExchange& exchange,
                 const std::vector<PeerAddress>& peers, const GetOptions& options, GetDone done)
    : context_(context),
      exchange_(exchange),
      peers_(peers),
      options_(options),
      done_(std::move(done)) {}

void PeerGet::start(std::span<const CacheEngineKey> keys) {
  for (const CacheEngineKey& key : keys) {
    wanted_.push_back({.index = wanted_.size(), .key = key, .fault = {}});
  }
  ask_next();
}

// The last item's end may be the backend's: nothing of it is touched after that.
void PeerGet::ask_next() {
  std::vector<Item> items = std::exchange(wanted_, {});
  if (items.empty()) return;
  const TimePoint now = context_.executor->clock().now();
  if (next_peer_ == peers_.size() || options_.deadline <= now) {
    for (const Item& item : items) {
      done_(item.index, next_peer_ == peers_.size()
                            ? outcome_of(item)
                            : make_error(StatusCode::kDeadlineExceeded,
                                         "no peer gave the chunk before its deadline"));
    }
    return;
  }
  PeerExchange::FetchOptions options;
  options.intent = options_.intent;
  // One that does not serve must leave time for those after it.
  const bool is_last_peer = next_peer_ + 1 == peers_.size();
  if (options_.deadline != TimePoint::max()) {
    options.timeout = (options_.deadline - now) / (is_last_peer ? 1 : 2);
  }
  std::vector<CacheEngineKey> keys;
  keys.reserve(items.size());
  for (const Item& item : items) keys.push_back(item.key);
  num_open_ = items.size();
  const std::string& peer = peers_[next_peer_++].name;
  exchange_.fetch(peer, std::move(keys), *context_.allocator, options,
                  [self = shared_from_this(), items = std::move(items)](
                      size_t item, Result<MemoryObjPtr> obj) mutable {
                    self->on_given(std::move(items[item]), std::move(obj));
                  });
}

void PeerGet::on_given(Item item, Result<MemoryObjPtr> obj) {
  const bool is_last = --num_open_ == 0;
  if (obj && *obj) {
    done_(item.index, std::move(obj));
  } else {
    if (obj) {
      item.was_answered = true;
    } else if (obj.error().code() == StatusCode::kDataLoss) {
      note_loss(obj.error());
      item.was_answered = true;
    } else if (item.fault.is_ok() && obj.error().code() != StatusCode::kUnavailable) {
      item.fault = obj.error();
    }
    wanted_.push_back(std::move(item));
  }
  if (is_last) ask_next();
}

Result<MemoryObjPtr> PeerGet::outcome_of(const Item& item) const {
  if (!item.fault.is_ok()) return make_error(item.fault);
  if (item.was_answered) return MemoryObjPtr();
  return make_error(StatusCode::kUnavailable, "no peer is connected that could hold the chunk");
}

void PeerGet::note_loss(const Status& status) const {
  if (context_.metrics != nullptr) context_.metrics->add("data_loss", 1);
  if (context_.logger != nullptr) {
    context_.logger->log(LogLevel::kError, "chunk_rejected error=\"" + status.to_string() +
                                               "\" backend=" + context_.name);
  }
}

}  // namespace kvferry
