#include "runtime/transfer/chunk_receiver.h"

#include <algorithm>
#include <utility>

#include "kvferry/chunk_record.h"

namespace kvferry {
namespace {

constexpr size_t kMaxReportedKeys = 16384;
// Far from where a point in time overflows.
constexpr Duration kLongestTimeout = std::chrono::hours(24 * 365);
// Before a chunk is fetched again whose path failed; doubled each time.
constexpr Duration kFirstPause = std::chrono::milliseconds(1);
constexpr Duration kMaxPause = std::chrono::milliseconds(100);
// So many fit into a message whatever their keys are: a length, a key and two positions each.
constexpr size_t kMaxRequestItems = (kMaxMessageBytes - 64) / (4 + kMaxKeyBytes + 16);
static_assert(kMaxRequestItems <= kMaxFetchItems);
// Of each priority, so many items at most are asked for and not granted yet: the peer takes no more
// than kMaxFetchItems in all, and keeps the rest from going ahead of what is asked for later.
constexpr size_t kMaxRequested = 4096;
static_assert(kNumPriorities * kMaxRequested <= kMaxFetchItems);
// Of the chunk records that come with offers and wait with them for our memory.
constexpr size_t kMaxWaitingRecordBytes = size_t{64} << 20;

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
Status check_want(const FetchItem& item, bool is_object) {
  const ChunkRef& ref = item.ref;
  KVFERRY_RETURN_IF_ERROR(ref.key.validate());
  if (is_object) return {};
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
    : context_(context),
      peer_(std::move(peer)),
      outputs_(std::move(outputs)),
      log_(context.control, "lines_left_out side=destination peer=" + peer_,
           [&context](const std::string& line) { context.log(LogLevel::kWarn, line); }) {}

void ChunkReceiver::fetch(FetchId id, std::vector<FetchItem> items, FetchOptions options) {
  if (items.empty()) {
    if (options.on_done) options.on_done({});
    return;
  }
  auto fetch = std::make_shared<Fetch>();
  fetch->id = id;
  fetch->options = std::move(options);
  for (FetchItem& item : items) fetch->items.push_back({std::move(item)});
  begin(fetch);
}

void ChunkReceiver::fetch_objects(FetchId id, const std::vector<CacheEngineKey>& keys,
                                  ObjectFetchOptions options) {
  if (keys.empty()) return;
  auto fetch = std::make_shared<Fetch>();
  fetch->id = id;
  fetch->options.priority = options.priority;
  fetch->options.timeout = options.timeout;
  fetch->allocator = options.allocator;
  fetch->keep = std::move(options.keep);
  for (const CacheEngineKey& key : keys) {
    fetch->items.push_back({{.ref = {key, 0, 0}, .destination = {}}});
  }
  // It ends with the fetch: what it holds must not hold the fetch.
  fetch->options.on_chunk = [raw = fetch.get(), on_object = std::move(options.on_object)](
                                size_t item, const Status& status) {
    MemoryObjPtr object = std::exchange(raw->items[item].object, MemoryObjPtr());
    if (status.is_ok()) {
      on_object(item, std::move(object));
    } else {
      on_object(item, make_error(status));
    }
  };
  begin(fetch);
}

void ChunkReceiver::begin(const std::shared_ptr<Fetch>& fetch) {
  fetch->open_items = fetch->items.size();
  fetches_.emplace(fetch->id, fetch);
  if (fetch->options.timeout > Duration::zero()) {
    fetch->deadline = now() + std::min(fetch->options.timeout, kLongestTimeout);
    deadlines_.emplace(fetch->deadline, fetch->id);
    set_timer();
  }
  for (size_t i = 0; i < fetch->items.size(); ++i) {
    const Wanted wanted{fetch, i};
    const Status status = check_want(wanted.item().want, fetch->allocator != nullptr);
    if (ended_) {
      advance(wanted, DestinationEvent::kSessionEnded, end_status_);
    } else if (!status.is_ok()) {
      advance(wanted, DestinationEvent::kMisfits, status);
    } else {
      planned_[wanted.priority()].push_back(wanted);
    }
  }
  request_planned();
}

bool ChunkReceiver::advance(const Wanted& wanted, DestinationEvent event, const Status& status) {
  Item& item = wanted.item();
  const bool was_told = is_told(item.state);
  if (!step(item.state, event)) return false;
  if (was_told || !is_told(item.state)) return true;
  const std::shared_ptr<Fetch> fetch = wanted.fetch;
  last_progress_ = now();
  if (item.state == DestinationState::kCompleted) ++fetch->num_verified;
  const bool is_last = --fetch->open_items == 0;
  if (is_last) {
    fetches_.erase(fetch->id);
    deadlines_.erase({fetch->deadline, fetch->id});
  }
  const FetchOptions& options = fetch->options;
  if (options.on_chunk) options.on_chunk(wanted.index, status);
  if (is_last && options.on_done) {
    const auto end = std::ranges::find_if(
        fetch->items, [](const Item& each) { return each.state != DestinationState::kCompleted; });
    options.on_done({.verified = fetch->num_verified,
                     .verified_prefix = static_cast<size_t>(end - fetch->items.begin())});
  }
  return true;
}

void ChunkReceiver::set_timer() {
  if (deadlines_.empty()) return;
  const TimePoint first = deadlines_.begin()->first;
  if (!timers_.empty() && *timers_.begin() <= first) return;
  timers_.insert(first);
  context_.control.post_at(first, [weak = std::weak_ptr<ChunkReceiver*>(self_), first] {
    const std::shared_ptr<ChunkReceiver*> self = weak.lock();
    if (!self) return;
    (*self)->timers_.erase(first);
    (*self)->end_late_fetches();
  });
}

void ChunkReceiver::end_late_fetches() {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now()) {
    const FetchId id = deadlines_.begin()->second;
    deadlines_.erase(deadlines_.begin());
    end_fetch(id, Status(StatusCode::kDeadlineExceeded,
                         "the chunk did not arrive within the fetch's timeout"));
  }
  set_timer();
}

void ChunkReceiver::end_fetch(FetchId id, const Status& status) {
  const auto found = fetches_.find(id);
  if (found == fetches_.end()) return;
  const std::shared_ptr<Fetch> fetch = found->second;
  fetch->end_status = status;
  for (auto& planned : planned_) {
    std::erase_if(planned, [&](const Wanted& each) { return each.fetch == fetch; });
  }
  std::vector<uint64_t> withdrawn;
  for (size_t i = 0; i < fetch->items.size(); ++i) {
    const Wanted wanted{fetch, i};
    const Item& item = wanted.item();
    const bool is_asked_for = item.state == DestinationState::kRequested;
    if (is_asked_for && (withdrawn.empty() || withdrawn.back() != item.place.fetch_id)) {
      withdrawn.push_back(item.place.fetch_id);
    }
    if (is_asked_for || item.state == DestinationState::kOffered) take_requested(item.place);
    if (!advance(wanted, DestinationEvent::kEnded, status)) continue;
    if (item.state == DestinationState::kEnding) outputs_.abandon_chunk(item.transfer_id, status);
  }
  for (const uint64_t request : withdrawn) outputs_.send_message(WithdrawMessage{request});
  refuse_unwanted_offers();
  request_planned();
}

// What a peer wrote stays one line of plain text.
Status ChunkReceiver::said_by_peer(StatusCode code, const std::string& reason) const {
  return {code, "peer '" + peer_ + "': " + detail::printable(reason, kMaxReasonBytes)};
}

// ---- asking

void ChunkReceiver::request_planned() {
  for (size_t priority = 0; priority < kNumPriorities; ++priority) {
    std::deque<Wanted>& planned = planned_[priority];
    size_t room = kMaxRequested - num_requested_[priority];
    if (planned.size() > room && room < kMaxRequested / 2) continue;  // not a message for each
    while (room > 0 && !planned.empty()) {
      std::vector<Wanted> batch;
      while (!planned.empty() && batch.size() < std::min(room, kMaxRequestItems) &&
             (batch.empty() || planned.front().fetch == batch.front().fetch)) {
        batch.push_back(std::move(planned.front()));
        planned.pop_front();
      }
      room -= batch.size();
      request(batch);
    }
  }
}

void ChunkReceiver::request(const std::vector<Wanted>& wanted) {
  if (granted_.empty() && requested_.empty()) last_progress_ = now();
  FetchMessage message;
  message.fetch_id = next_request_id_++;
  message.priority = wanted.front().fetch->options.priority;
  message.of_memory = wanted.front().fetch->allocator != nullptr;
  Request& request = requested_[message.fetch_id];
  for (const Wanted& each : wanted) {
    advance(each, DestinationEvent::kRequested, {});
    each.item().place = {message.fetch_id, static_cast<uint32_t>(message.items.size())};
    message.items.push_back(each.item().want.ref);
    request.items.emplace_back(each);
  }
  request.open_items = wanted.size();
  num_requested_[wanted.front().priority()] += wanted.size();
  outputs_.send_message(message);
}

ChunkReceiver::Wanted* ChunkReceiver::find_requested(uint64_t fetch_id, uint32_t item) {
  const auto found = requested_.find(fetch_id);
  if (found == requested_.end() || item >= found->second.items.size()) return nullptr;
  std::optional<Wanted>& wanted = found->second.items[item];
  return wanted ? &*wanted : nullptr;
}

/// REQUIRES: find_requested(place.fetch_id, place.item) != nullptr
ChunkReceiver::Wanted ChunkReceiver::take_requested(const Place& place) {
  const auto request = requested_.find(place.fetch_id);
  Wanted wanted = *std::exchange(request->second.items[place.item], std::nullopt);
  if (--request->second.open_items == 0) requested_.erase(request);
  --num_requested_[wanted.priority()];
  return wanted;
}

void ChunkReceiver::on_unserved(const UnservedMessage& unserved) {
  Wanted* const found = find_requested(unserved.fetch_id, unserved.item);
  if (found == nullptr || found->item().state != DestinationState::kRequested) return;
  const Wanted wanted = take_requested(found->item().place);
  // What is wrong with bytes is for us to find.
  const StatusCode code =
      unserved.code == StatusCode::kDataLoss ? StatusCode::kUnavailable : unserved.code;
  advance(wanted, DestinationEvent::kUnserved, said_by_peer(code, unserved.reason));
  request_planned();
}

// ---- offers

// A refusal frees the source: of a transfer that was taken up it would be a lie.
bool ChunkReceiver::is_taken_up(const OfferMessage& offer) {
  const auto granted = granted_.find(offer.transfer_id);
  if (granted != granted_.end() && granted->second.offer.fetch_id == offer.fetch_id &&
      granted->second.offer.item == offer.item) {
    return true;
  }
  const Wanted* const wanted = find_requested(offer.fetch_id, offer.item);
  return wanted != nullptr && wanted->item().state == DestinationState::kOffered &&
         wanted->item().transfer_id == offer.transfer_id;
}

void ChunkReceiver::on_offer(const OfferMessage& offer) {
  if (is_taken_up(offer)) {
    log_.log([&] {
      return "offer_ignored peer=" + peer_ + " transfer=" + std::to_string(offer.transfer_id) +
             " cause=duplicate";
    });
    return;
  }
  Wanted* const wanted = find_requested(offer.fetch_id, offer.item);
  // No more offers wait than there are items: each is offered once.
  if (wanted == nullptr || !advance(*wanted, DestinationEvent::kOffered, {})) {
    refuse_unasked(offer);
    return;
  }
  if (waiting_record_bytes() + offer.record.size() > kMaxWaitingRecordBytes) {
    refuse(offer, take_requested({offer.fetch_id, offer.item}),
           {StatusCode::kResourceExhausted,
            "peer '" + peer_ + "' offers more chunk records than can wait"});
    request_planned();
    return;
  }
  wanted->item().transfer_id = offer.transfer_id;
  waiting_offers_[wanted->priority()].push_back({offer, now()});
  context_.pump_soon();
}

size_t ChunkReceiver::waiting_record_bytes() const {
  size_t bytes = 0;
  for (const auto& waiting_offers : waiting_offers_) {
    for (const WaitingOffer& waiting : waiting_offers) bytes += waiting.offer.record.size();
  }
  return bytes;
}

void ChunkReceiver::refuse(const OfferMessage& offer, const Wanted& wanted, const Status& status) {
  outputs_.send_message(acknowledge(offer, ChunkOutcome::kRefused, status));
  advance(wanted, DestinationEvent::kMisfits, status);
}

void ChunkReceiver::refuse_unasked(const OfferMessage& offer) {
  const Status status(StatusCode::kFailedPrecondition, "not asked for (any more)");
  outputs_.send_message(acknowledge(offer, ChunkOutcome::kRefused, status));
}

void ChunkReceiver::refuse_unwanted_offers() {
  for (auto& waiting_offers : waiting_offers_) {
    std::erase_if(waiting_offers, [&](const WaitingOffer& waiting) {
      if (find_requested(waiting.offer.fetch_id, waiting.offer.item) != nullptr) return false;
      refuse_unasked(waiting.offer);
      return true;
    });
  }
}

bool ChunkReceiver::wants_slot(FetchPriority priority) const {
  return !ended_ && !waiting_offers_[static_cast<size_t>(priority)].empty();
}

bool ChunkReceiver::use_slot(FetchPriority priority) {
  std::deque<WaitingOffer>& waiting = waiting_offers_[static_cast<size_t>(priority)];
  if (!grant(waiting.front())) return false;  // a copy: granting one may end others
  waiting.pop_front();  // still the same: fetches end, and offers with them, on turns of their own
  request_planned();
  return true;
}

Status ChunkReceiver::compare(const OfferMessage& offer, const ChunkPlan& plan) const {
  if (plan.identity.layout_digest == offer.layout_digest &&
      static_cast<uint64_t>(plan.layout.size_bytes) == offer.payload_bytes &&
      plan.fragments.size() == offer.num_fragments) {
    return {};
  }
  return {StatusCode::kFailedPrecondition,
          "peer '" + peer_ + "' holds chunk " + plan.ref.key.to_string() +
              " in another layout (dtype, heads, layers or fragments differ); run both sides with "
              "the same model and tensor parallelism"};
}

Result<ChunkReceiver::Landing> ChunkReceiver::prepare(const OfferMessage& offer,
                                                      const Wanted& wanted,
                                                      const MemoryObjPtr& slot) const {
  const FetchItem& want = wanted.item().want;
  MemoryAllocator* const allocator = wanted.fetch->allocator;
  auto landing = allocator == nullptr ? prepare_pages(offer, want, slot)
                                      : prepare_object(offer, want.ref.key, *allocator);
  if (granted_.contains(offer.transfer_id)) {
    return make_error(StatusCode::kFailedPrecondition,
                      "peer '" + peer_ + "' offers another chunk under a number in use");
  }
  return landing;
}

Result<ChunkReceiver::Landing> ChunkReceiver::prepare_pages(const OfferMessage& offer,
                                                            const FetchItem& want,
                                                            const MemoryObjPtr& slot) const {
  KVFERRY_ASSIGN_OR_RETURN(ChunkPlan plan, plan_chunk(want.ref, want.destination,
                                                      static_cast<int64_t>(offer.fragment_bytes),
                                                      context_.options.device));
  KVFERRY_RETURN_IF_ERROR(compare(offer, plan));
  const auto payload_bytes = static_cast<size_t>(plan.layout.size_bytes);
  if (payload_bytes > slot->capacity().size()) {
    return make_error(StatusCode::kInvalidArgument,
                      "the chunk is larger than the landing slots; raise chunk_bytes");
  }
  slot->resize(payload_bytes);
  return Landing{std::move(plan), slot};
}

Result<ChunkReceiver::Landing> ChunkReceiver::prepare_object(const OfferMessage& offer,
                                                             const CacheEngineKey& key,
                                                             MemoryAllocator& allocator) const {
  auto record = decode_chunk_record_header(offer.record);
  if (!record) {
    return make_error(StatusCode::kFailedPrecondition,
                      "peer '" + peer_ + "' offers chunk " + key.to_string() +
                          " with a record that is none: " + record.error().to_string());
  }
  KVFERRY_ASSIGN_OR_RETURN(MemoryObjPtr obj,
                           allocator.allocate(static_cast<size_t>(record->layout.size_bytes)));
  const Status applied = apply_chunk_record(*std::move(record), key, *obj);
  if (!applied.is_ok()) {
    return make_error(StatusCode::kFailedPrecondition,
                      "peer '" + peer_ + "' offers another chunk: " + applied.to_string());
  }
  ChunkPlan plan = plan_object(key, *obj, static_cast<int64_t>(offer.fragment_bytes));
  KVFERRY_RETURN_IF_ERROR(compare(offer, plan));
  return Landing{std::move(plan), std::move(obj)};
}

bool ChunkReceiver::grant(WaitingOffer waiting) {
  OfferMessage& offer = waiting.offer;
  auto slot = context_.landing.allocate(1);
  if (!slot) return false;
  const TimePoint granting_at = now();
  const Wanted wanted = take_requested({offer.fetch_id, offer.item});
  auto prepared = prepare(offer, wanted, *slot);
  if (!prepared) {
    refuse(offer, wanted, prepared.error());
    return true;
  }
  offer.record.clear();  // the object has it now
  auto& [plan, memory] = *prepared;
  if (wanted.fetch->allocator != nullptr) wanted.item().object = memory;
  const LeaseId lease = context_.leases.grant(memory, peer_);
  context_.leases.begin_use(lease).ignore("granted on the line above");
  last_progress_ = now();
  outputs_.record(TransferStage::kGrant, offer.transfer_id, waiting.since, granting_at);
  outputs_.record(TransferStage::kPlan, offer.transfer_id, granting_at, last_progress_, -1,
                  outputs_.record.is_on() ? plan.ref.key.to_string() : "");
  advance(wanted, DestinationEvent::kGranted, {});
  auto chunk = std::make_shared<IncomingChunk>(IncomingChunk{.transfer_id = offer.transfer_id,
                                                             .plan = std::move(plan),
                                                             .keep = wanted.fetch->keep,
                                                             .landing_memory = std::move(memory),
                                                             .landing = lease});
  granted_.emplace(offer.transfer_id, Granted{wanted, *std::move(slot), lease, offer,
                                              last_progress_, chunk->progress});
  outputs_.expect_chunk(std::move(chunk));  // before the peer hears of the grant
  outputs_.send_message(GrantMessage{offer.transfer_id, offer.source, lease});
  return true;
}

// ---- what was granted

void ChunkReceiver::on_abandon(const AbandonMessage& abandon) {
  const auto found = granted_.find(abandon.transfer_id);
  if (found == granted_.end() || !(found->second.landing == abandon.landing)) return;
  // What is wrong with the bytes is for us to find.
  const bool judges = abandon.code == StatusCode::kDataLoss;
  outputs_.abandon_chunk(
      abandon.transfer_id,
      said_by_peer(judges ? StatusCode::kUnavailable : abandon.code, abandon.reason));
}

void ChunkReceiver::on_abandoned(uint64_t transfer_id) {
  const auto found = granted_.find(transfer_id);
  if (found == granted_.end()) return;
  const Wanted wanted = found->second.wanted;
  advance(wanted, DestinationEvent::kPagesQuiet, wanted.fetch->end_status);
}

bool ChunkReceiver::is_stuck(TimePoint now) const {
  const Duration limit = context_.options.transfer_timeout;
  TimePoint last_progress = last_progress_;
  for (const auto& [id, granted] : granted_) {
    const TimePoint moved_at = std::max(granted.granted_at, granted.progress->last());
    if (now - moved_at > limit) return true;
    last_progress = std::max(last_progress, moved_at);  // so long the peer has its hands full
  }
  // Offers that wait do so for our memory, which is not the peer's fault.
  const bool waits_for_us =
      std::ranges::any_of(waiting_offers_, [](const auto& waiting) { return !waiting.empty(); });
  return !requested_.empty() && !waits_for_us && now - last_progress > limit;
}

void ChunkReceiver::on_received(uint64_t transfer_id, const Status& status) {
  const auto found = granted_.find(transfer_id);
  if (found == granted_.end()) return;
  const Granted granted = std::move(found->second);
  granted_.erase(found);
  last_progress_ = now();
  context_.leases.fence(granted.landing).ignore("held since the grant");
  const ChunkOutcome outcome = status.is_ok() ? ChunkOutcome::kVerified : ChunkOutcome::kFailed;
  const TimePoint acknowledged_at = now();
  outputs_.send_message(acknowledge(granted.offer, outcome, status));
  outputs_.record(TransferStage::kAcknowledge, transfer_id, acknowledged_at, acknowledged_at);
  outputs_.record(TransferStage::kChunk, transfer_id, granted.granted_at, acknowledged_at, -1,
                  status.is_ok() ? "verified" : std::string(status_code_name(status.code())));
  const Wanted& wanted = granted.wanted;
  Item& item = wanted.item();
  if (!status.is_ok()) return on_failed(wanted, transfer_id, status);
  if (next_state(item.state, DestinationEvent::kVerified) == DestinationState::kCompleted) {
    ++context_.stats.chunks_received;
    context_.stats.bytes_received += granted.offer.payload_bytes;
  }
  advance(wanted, DestinationEvent::kVerified, {});
}

void ChunkReceiver::on_failed(const Wanted& wanted, uint64_t transfer_id, const Status& status) {
  Item& item = wanted.item();
  item.object.reset();  // another one is taken for the next attempt
  const bool is_mismatch = status.code() == StatusCode::kDataLoss;
  const DestinationEvent event =
      is_mismatch ? DestinationEvent::kMismatched : DestinationEvent::kPathFailed;
  if (item.state != DestinationState::kGranted) {  // it was to end anyway
    advance(wanted, event, wanted.fetch->end_status);
    return;
  }
  const std::string key = item.want.ref.key.to_string();
  log_.log([&] {
    return "chunk_failed peer=" + peer_ + " key=" + key +
           " attempt=" + std::to_string(item.refetches + 1) + " cause=\"" + status.to_string() +
           "\" timeline=\"" + outputs_.record.timeline(transfer_id) + "\"";
  });
  if (is_mismatch) {
    ++context_.stats.chunks_mismatched;
    if (context_.stats.mismatched_keys.size() < kMaxReportedKeys) {
      context_.stats.mismatched_keys.push_back(key);
    }
  }
  if (item.refetches >= context_.options.max_refetches) {
    advance(
        wanted, DestinationEvent::kGaveUp,
        status.with_context("gave up after " + std::to_string(item.refetches + 1) + " attempts"));
    return;
  }
  const Duration pause = std::min(kMaxPause, kFirstPause * (1 << std::min(item.refetches, 20)));
  ++item.refetches;
  ++context_.stats.chunks_refetched;
  advance(wanted, event, status);
  // What was wrong on the way may be right at once; a path that fails needs time.
  is_mismatch ? plan_first(wanted) : plan_later(wanted, pause);
}

void ChunkReceiver::plan_first(const Wanted& wanted) {
  planned_[wanted.priority()].push_front(wanted);
  request_planned();
}

void ChunkReceiver::plan_later(const Wanted& wanted, Duration delay) {
  Executor& control = context_.control;
  control.post_at(control.clock().now() + delay,
                  [weak = std::weak_ptr<ChunkReceiver*>(self_), wanted] {
                    const std::shared_ptr<ChunkReceiver*> self = weak.lock();
                    if (!self) return;
                    if ((*self)->advance(wanted, DestinationEvent::kPauseOver, {})) {
                      (*self)->plan_first(wanted);
                    }
                  });
}

void ChunkReceiver::end(const Status& status) {
  ended_ = true;
  end_status_ = status;
  for (auto& waiting : waiting_offers_) waiting.clear();
  for (auto& planned : planned_) planned.clear();
  requested_.clear();
  num_requested_.fill(0);
  for (const auto& [id, each] : std::exchange(granted_, {})) {
    context_.leases.fence(each.landing).ignore("held since the grant");
    outputs_.record(TransferStage::kChunk, id, each.granted_at, now(), -1, "session ended");
  }
  for (const auto& [id, fetch] : std::map(fetches_)) {
    for (size_t i = 0; i < fetch->items.size(); ++i) {
      const bool is_ending = fetch->items[i].state == DestinationState::kEnding;
      advance({fetch, i}, DestinationEvent::kSessionEnded, is_ending ? fetch->end_status : status);
    }
  }
}

}  // namespace kvferry
