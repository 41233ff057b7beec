#include "runtime/transfer/chunk_receiver.h"

#include <algorithm>
#include <utility>

namespace kvferry {
namespace {

constexpr size_t kMaxReportedKeys = 16384;
// Before a chunk is fetched again whose path failed; doubled each time.
constexpr Duration kFirstPause = std::chrono::milliseconds(1);
constexpr Duration kMaxPause = std::chrono::milliseconds(100);
// So many fit into a message whatever their keys are: a length, a key and two positions each.
constexpr size_t kMaxRequestItems = (kMaxMessageBytes - 64) / (4 + kMaxKeyBytes + 16);
static_assert(kMaxRequestItems <= kMaxFetchItems);

/// Two tokens in one slot would overwrite one another, each verified.
Status check_slots(const ChunkRef& ref, std::vector<int64_t> slots) {
  std::erase_if(slots, [](int64_t slot) { return slot < 0; });
  std::ranges::sort(slots);
  const auto twice = std::ranges::adjacent_find(slots);
  if (twice == slots.end()) return {};
  return {StatusCode::kInvalidArgument, "two tokens of chunk " + ref.key.to_string() +
                                            " are to go to slot " + std::to_string(*twice)};
}

/// What a peer would answer by ending the connection, or could not know.
Status check_item(const FetchItem& item) {
  const ChunkRef& ref = item.ref;
  KVFERRY_RETURN_IF_ERROR(ref.key.validate());
  if (ref.token_begin < 0 || ref.token_begin >= ref.token_end || ref.token_end > kMaxTokenEnd) {
    return Status(StatusCode::kInvalidArgument,
                  "chunk " + ref.key.to_string() + " has no tokens from " +
                      std::to_string(ref.token_begin) + " to " + std::to_string(ref.token_end));
  }
  return check_slots(ref, item.destination.slots);
}

AckMessage acknowledge(const OfferMessage& offer, ChunkOutcome outcome, const Status& status) {
  return AckMessage{offer.transfer_id, offer.source, outcome, std::string(status.message())};
}

}  // namespace

ChunkReceiver::ChunkReceiver(EngineContext& context, std::string peer, Outputs outputs)
    : context_(context), peer_(std::move(peer)), outputs_(std::move(outputs)) {}

void ChunkReceiver::fetch(FetchId id, std::vector<FetchItem> items, FetchOptions options) {
  auto fetch = std::make_shared<Fetch>();
  fetch->id = id;
  fetch->open_items = items.size();
  fetch->options = std::move(options);
  std::vector<Wanted> wanted;
  for (FetchItem& item : items) {
    wanted.push_back({fetch, fetch->items.size()});
    fetch->items.push_back({std::move(item)});
  }
  if (wanted.empty() && fetch->options.on_done) fetch->options.on_done();
  if (ended_) {
    for (const Wanted& each : wanted) finish(each, end_status_);
    return;
  }
  std::vector<Wanted> valid;
  for (const Wanted& each : wanted) {
    const Status status = check_item(each.item().want);
    if (status.is_ok()) {
      valid.push_back(each);
    } else {
      finish(each, status);
    }
  }
  for (size_t begin = 0; begin < valid.size(); begin += kMaxRequestItems) {
    const size_t end = std::min(valid.size(), begin + kMaxRequestItems);
    request({valid.begin() + static_cast<ptrdiff_t>(begin),
             valid.begin() + static_cast<ptrdiff_t>(end)});
  }
}

void ChunkReceiver::end_fetch(FetchId id, const Status& status) {
  std::vector<std::pair<uint64_t, uint32_t>> requested;
  for (const auto& [fetch_id, request] : requested_) {
    for (size_t i = 0; i < request.items.size(); ++i) {
      if (request.items[i] && request.items[i]->fetch->id == id) {
        requested.emplace_back(fetch_id, static_cast<uint32_t>(i));
      }
    }
  }
  std::vector<Wanted> paused;
  for (auto each = pausing_.begin(); each != pausing_.end();) {
    const bool is_of_it = each->second.fetch->id == id;
    if (is_of_it) paused.push_back(each->second);
    each = is_of_it ? pausing_.erase(each) : std::next(each);
  }
  for (auto& [transfer_id, granted] : granted_) {
    if (granted.wanted.fetch->id != id || granted.is_finished) continue;
    granted.wanted.fetch->end_status = status;
    outputs_.abandon_chunk(transfer_id, status);
  }
  for (const auto& [fetch_id, item] : requested) {  // offers for them are refused from here on
    if (find_requested(fetch_id, item) == nullptr) continue;
    const Wanted wanted = take_requested(fetch_id, item);
    wanted.fetch->end_status = status;
    finish(wanted, status);
  }
  for (const Wanted& each : paused) {
    each.fetch->end_status = status;
    finish(each, status);
  }
  refuse_unwanted_offers();
}

void ChunkReceiver::refuse_unasked(const OfferMessage& offer) {
  const Status status(StatusCode::kFailedPrecondition, "not asked for (any more)");
  outputs_.send_message(acknowledge(offer, ChunkOutcome::kRefused, status));
}

void ChunkReceiver::refuse_unwanted_offers() {
  std::erase_if(waiting_offers_, [&](const OfferMessage& offer) {
    if (find_requested(offer.fetch_id, offer.item) != nullptr) return false;
    refuse_unasked(offer);
    return true;
  });
}

void ChunkReceiver::on_abandoned(uint64_t transfer_id) {
  const auto found = granted_.find(transfer_id);
  if (found == granted_.end() || found->second.is_finished) return;
  const Wanted wanted = found->second.wanted;
  if (wanted.fetch->end_status.is_ok()) return;  // the sender gave up: it may be fetched again
  found->second.is_finished = true;
  finish(wanted, wanted.fetch->end_status);
}

void ChunkReceiver::request(const std::vector<Wanted>& wanted) {
  FetchMessage message;
  message.fetch_id = next_fetch_id_++;
  for (const Wanted& each : wanted) message.items.push_back(each.item().want.ref);
  if (granted_.empty() && requested_.empty()) last_progress_ = context_.control.clock().now();
  requested_[message.fetch_id] = {{wanted.begin(), wanted.end()}, wanted.size()};
  outputs_.send_message(message);
}

ChunkReceiver::Wanted* ChunkReceiver::find_requested(uint64_t fetch_id, uint32_t item) {
  const auto found = requested_.find(fetch_id);
  if (found == requested_.end() || item >= found->second.items.size()) return nullptr;
  std::optional<Wanted>& wanted = found->second.items[item];
  return wanted ? &*wanted : nullptr;
}

/// REQUIRES: find_requested(fetch_id, item) != nullptr
ChunkReceiver::Wanted ChunkReceiver::take_requested(uint64_t fetch_id, uint32_t item) {
  Request& request = requested_[fetch_id];
  Wanted wanted = *std::exchange(request.items[item], std::nullopt);
  wanted.is_offered = false;
  if (--request.open_items == 0) requested_.erase(fetch_id);
  return wanted;
}

// A refusal frees the source: of a transfer that was taken up it would be a lie.
bool ChunkReceiver::is_taken_up(const OfferMessage& offer) const {
  const auto is_same = [&](const OfferMessage& other) {
    return other.transfer_id == offer.transfer_id && other.fetch_id == offer.fetch_id &&
           other.item == offer.item;
  };
  const auto granted = granted_.find(offer.transfer_id);
  return (granted != granted_.end() && is_same(granted->second.offer)) ||
         std::ranges::any_of(waiting_offers_, is_same);
}

void ChunkReceiver::on_offer(const OfferMessage& offer) {
  if (is_taken_up(offer)) {
    context_.log(LogLevel::kWarn, "offer_ignored peer=" + peer_ + " transfer=" +
                                      std::to_string(offer.transfer_id) + " cause=duplicate");
    return;
  }
  Wanted* const wanted = find_requested(offer.fetch_id, offer.item);
  if (wanted == nullptr || wanted->is_offered) {
    refuse_unasked(offer);
    return;
  }
  wanted->is_offered = true;  // no more offers wait than there are items
  waiting_offers_.push_back(offer);
  context_.pump_soon();
}

bool ChunkReceiver::pump_one() {
  if (ended_ || waiting_offers_.empty() || !grant(waiting_offers_.front())) return false;
  waiting_offers_.pop_front();
  return true;
}

Result<ChunkPlan> ChunkReceiver::check_offer(const OfferMessage& offer,
                                             const Wanted& wanted) const {
  const FetchItem& want = wanted.item().want;
  KVFERRY_ASSIGN_OR_RETURN(ChunkPlan plan, plan_chunk(want.ref, want.destination,
                                                      static_cast<int64_t>(offer.fragment_bytes)));
  if (plan.identity.layout_digest != offer.layout_digest ||
      static_cast<uint64_t>(plan.layout.size_bytes) != offer.payload_bytes ||
      plan.fragments.size() != offer.num_fragments) {
    return make_error(StatusCode::kFailedPrecondition,
                      "peer '" + peer_ + "' holds chunk " + want.ref.key.to_string() +
                          " in another layout (dtype, heads, layers or fragments differ); run both "
                          "sides with the same model and tensor parallelism");
  }
  return plan;
}

bool ChunkReceiver::grant(const OfferMessage& offer) {
  if (find_requested(offer.fetch_id, offer.item) == nullptr) {
    refuse_unasked(offer);
    return true;
  }
  auto landing = context_.landing.allocate(1);
  if (!landing) return false;
  const Wanted wanted = take_requested(offer.fetch_id, offer.item);
  auto plan = check_offer(offer, wanted);
  if (granted_.contains(offer.transfer_id)) {
    plan = make_error(StatusCode::kFailedPrecondition,
                      "peer '" + peer_ + "' offers another chunk under a number in use");
  }
  if (plan && static_cast<size_t>(plan->layout.size_bytes) > (*landing)->capacity().size()) {
    plan = make_error(StatusCode::kInvalidArgument,
                      "the chunk is larger than the landing slots; raise chunk_bytes");
  }
  if (!plan) {
    outputs_.send_message(acknowledge(offer, ChunkOutcome::kRefused, plan.error()));
    finish(wanted, plan.error());
    return true;
  }
  (*landing)->resize(static_cast<size_t>(plan->layout.size_bytes));
  const LeaseId lease = context_.leases.grant(*landing, peer_);
  context_.leases.begin_use(lease).ignore("granted on the line above");
  last_progress_ = context_.control.clock().now();
  granted_.emplace(offer.transfer_id, Granted{wanted, lease, offer, last_progress_});
  auto chunk =
      std::make_shared<IncomingChunk>(IncomingChunk{.transfer_id = offer.transfer_id,
                                                    .plan = std::move(plan).value(),
                                                    .landing_memory = std::move(landing).value(),
                                                    .landing = lease});
  outputs_.expect_chunk(std::move(chunk));  // before the peer hears of the grant
  outputs_.send_message(GrantMessage{offer.transfer_id, offer.source, lease});
  return true;
}

void ChunkReceiver::on_unserved(const UnservedMessage& unserved) {
  if (find_requested(unserved.fetch_id, unserved.item) == nullptr) return;
  const Wanted wanted = take_requested(unserved.fetch_id, unserved.item);
  finish(wanted, Status(unserved.code, "peer '" + peer_ + "': " + unserved.reason));
}

void ChunkReceiver::on_abandon(const AbandonMessage& abandon) {
  const auto found = granted_.find(abandon.transfer_id);
  if (found == granted_.end() || !(found->second.landing == abandon.landing)) return;
  outputs_.abandon_chunk(abandon.transfer_id,
                         Status(abandon.code, "peer '" + peer_ + "': " + abandon.reason));
}

bool ChunkReceiver::is_stuck(TimePoint now) const {
  const Duration limit = context_.options.transfer_timeout;
  // Offers that wait do so for our memory, which is not the peer's fault.
  const bool waits_for_peer = !requested_.empty() && waiting_offers_.empty();
  return (waits_for_peer && now - last_progress_ > limit) ||
         std::ranges::any_of(
             granted_, [&](const auto& each) { return now - each.second.granted_at > limit; });
}

void ChunkReceiver::on_received(uint64_t transfer_id, const Status& status) {
  const auto found = granted_.find(transfer_id);
  if (found == granted_.end()) return;
  const Granted granted = std::move(found->second);
  granted_.erase(found);
  context_.leases.fence(granted.landing).ignore("held since the grant");
  const ChunkOutcome outcome = status.is_ok() ? ChunkOutcome::kVerified : ChunkOutcome::kFailed;
  outputs_.send_message(
      AckMessage{transfer_id, granted.offer.source, outcome, std::string(status.message())});
  if (granted.is_finished) return;
  if (status.is_ok()) {
    const PagedChunk& pages = granted.wanted.item().want.destination;
    ++context_.stats.chunks_received;
    context_.stats.bytes_received +=
        static_cast<uint64_t>(pages.layout->token_bytes()) * pages.slots.size();
    finish(granted.wanted, status);
  } else {
    refetch_or_finish(granted.wanted, status);
  }
}

void ChunkReceiver::refetch_or_finish(const Wanted& wanted, const Status& status) {
  if (!wanted.fetch->end_status.is_ok()) return finish(wanted, wanted.fetch->end_status);
  Item& item = wanted.item();
  const std::string key = item.want.ref.key.to_string();
  context_.log(LogLevel::kWarn, "chunk_failed peer=" + peer_ + " key=" + key +
                                    " attempt=" + std::to_string(item.refetches + 1) + " cause=\"" +
                                    status.to_string() + "\"");
  if (status.code() == StatusCode::kDataLoss) {
    ++context_.stats.chunks_mismatched;
    if (context_.stats.mismatched_keys.size() < kMaxReportedKeys) {
      context_.stats.mismatched_keys.push_back(key);
    }
  }
  if (item.refetches >= context_.options.max_refetches) {
    finish(wanted, status.with_context("gave up after " + std::to_string(item.refetches + 1) +
                                       " attempts"));
    return;
  }
  // What was wrong on the way may be right at once; a path that fails needs time.
  const Duration pause =
      status.code() == StatusCode::kDataLoss
          ? Duration::zero()
          : std::min(kMaxPause, kFirstPause * (1 << std::min(item.refetches, 20)));
  ++item.refetches;
  ++context_.stats.chunks_refetched;
  if (pause == Duration::zero()) return request({wanted});
  request_later(wanted, pause);
}

void ChunkReceiver::request_later(const Wanted& wanted, Duration delay) {
  const uint64_t pause = next_pause_++;
  pausing_.emplace(pause, wanted);
  Executor& control = context_.control;
  control.post_at(control.clock().now() + delay,
                  [weak = std::weak_ptr<ChunkReceiver*>(self_), pause] {
                    const std::shared_ptr<ChunkReceiver*> self = weak.lock();
                    if (!self) return;
                    const auto found = (*self)->pausing_.extract(pause);
                    if (!found.empty()) (*self)->request({found.mapped()});
                  });
}

void ChunkReceiver::finish(const Wanted& wanted, const Status& status) {
  last_progress_ = context_.control.clock().now();
  const std::shared_ptr<Fetch> fetch = wanted.fetch;
  const FetchOptions& options = fetch->options;
  if (options.on_chunk) options.on_chunk(wanted.index, status);
  if (--fetch->open_items == 0 && options.on_done) options.on_done();
}

void ChunkReceiver::end(const Status& status) {
  ended_ = true;
  end_status_ = status;
  waiting_offers_.clear();
  const auto granted = std::exchange(granted_, {});
  const auto requested = std::exchange(requested_, {});
  const auto pausing = std::exchange(pausing_, {});
  for (const auto& [id, each] : granted) {
    context_.leases.fence(each.landing).ignore("held since the grant");
    if (!each.is_finished) finish(each.wanted, status);
  }
  for (const auto& [id, request] : requested) {
    for (const std::optional<Wanted>& each : request.items) {
      if (each) finish(*each, status);
    }
  }
  for (const auto& [id, each] : pausing) finish(each, status);
}

}  // namespace kvferry
