#include "runtime/transfer/chunk_sender.h"

#include <algorithm>
#include <utility>

#include "kvferry/chunk_record.h"

namespace kvferry {
namespace {

// An offer may wait for the peer's memory, which others use: so much longer than a granted chunk.
constexpr int kOfferPatience = 4;
// One chunk may fail; when so many do, one after the other, a new link is worth more than a retry.
constexpr int kMaxFailedInARow = 8;
// Of what a lost peer leaves behind, so many are shown in the log.
constexpr int kMaxTimelines = 4;

/// Did the link carry it? A peer that refuses a fragment (it may have given the chunk up) has heard
/// of it.
bool is_carried(const Status& sent) {
  return sent.is_ok() || sent.code() == StatusCode::kFailedPrecondition;
}

}  // namespace

ChunkSender::ChunkSender(EngineContext& context, std::string peer, Outputs outputs)
    : context_(context),
      peer_(std::move(peer)),
      outputs_(std::move(outputs)),
      log_(context.control, "lines_left_out side=source peer=" + peer_,
           [&context](const std::string& line) { context.log(LogLevel::kWarn, line); }) {}

void ChunkSender::on_fetch(FetchMessage fetch) {
  const auto is_planned = [&](const auto& planned) { return planned.contains(fetch.fetch_id); };
  if (std::ranges::any_of(planned_, is_planned)) return ignore("fetch", fetch.fetch_id);
  if (fetch.items.empty()) return;
  if (num_planned_ + fetch.items.size() > kMaxFetchItems) {
    const Status status(StatusCode::kResourceExhausted,
                        "more than " + std::to_string(kMaxFetchItems) +
                            " chunks are asked for at once; fetch in smaller steps");
    for (uint32_t i = 0; i < fetch.items.size(); ++i) {
      refuse({fetch.fetch_id, i, fetch.items[i], fetch.of_memory}, status);
    }
    return;
  }
  num_planned_ += fetch.items.size();
  planned_[static_cast<size_t>(fetch.priority)].emplace(
      fetch.fetch_id, Fetch{std::move(fetch.items), fetch.of_memory});
  context_.pump_soon();
}

void ChunkSender::on_withdraw(const WithdrawMessage& withdraw) {
  for (auto& planned : planned_) {
    const auto found = planned.find(withdraw.fetch_id);
    if (found == planned.end()) continue;
    num_planned_ -= found->second.num_left();
    planned.erase(found);
  }
}

bool ChunkSender::wants_slot(FetchPriority priority) const {
  return !ended_ && !planned_[static_cast<size_t>(priority)].empty();
}

bool ChunkSender::use_slot(FetchPriority priority) {
  auto& planned = planned_[static_cast<size_t>(priority)];
  const auto first = planned.begin();
  Fetch& fetch = first->second;
  if (!offer({first->first, static_cast<uint32_t>(fetch.next), fetch.items[fetch.next],
              fetch.of_memory})) {
    return false;
  }
  ++fetch.next;
  --num_planned_;
  if (fetch.num_left() == 0) planned.erase(first);
  return true;
}

bool ChunkSender::offer(const Planned& planned) {
  if (context_.leases.quarantined() >= context_.options.max_quarantined_chunks) {
    refuse(planned, Status(StatusCode::kResourceExhausted,
                           std::to_string(context_.leases.quarantined()) +
                               " chunks of memory are in quarantine, as many as may be: peers were "
                               "lost that could still read them"));
    return true;
  }
  auto slot = context_.staging.allocate(1);
  if (!slot) return false;
  const TimePoint begin = now();
  auto source = planned.of_memory ? open_object(planned.ref.key) : open_pages(planned.ref, *slot);
  if (source) {
    post(planned, *std::move(source), *std::move(slot), begin);
  } else {
    refuse(planned, source.error());
  }
  return true;
}

Result<ChunkSender::Source> ChunkSender::open_pages(const ChunkRef& ref,
                                                    const MemoryObjPtr& staging) {
  ChunkProvider* const provider = context_.provider;  // open_chunk may change it
  if (provider == nullptr) {
    return make_error(StatusCode::kNotFound, "this engine serves no chunks");
  }
  KVFERRY_ASSIGN_OR_RETURN(const PagedChunk pages, provider->open_chunk(ref));
  auto source = plan_pages(ref, pages, staging);
  if (source) {
    source->release = [provider, ref] { provider->close_chunk(ref); };
  } else {
    provider->close_chunk(ref);
  }
  return source;
}

Result<ChunkSender::Source> ChunkSender::plan_pages(const ChunkRef& ref, const PagedChunk& pages,
                                                    const MemoryObjPtr& staging) const {
  const TimePoint opened_at = now();
  if (pages.layout == nullptr) {
    return make_error(StatusCode::kInternal, "the provider gave no layout");
  }
  if (std::ranges::any_of(pages.slots, [](int64_t slot) { return slot < 0; })) {
    return make_error(StatusCode::kInternal, "the provider gave a chunk that lacks tokens");
  }
  const int64_t fragment_bytes = fit_fragment_bytes(*pages.layout, context_.options.fragment_bytes,
                                                    outputs_.max_header_bytes, ref.num_tokens());
  KVFERRY_ASSIGN_OR_RETURN(ChunkPlan plan,
                           plan_chunk(ref, pages, fragment_bytes, context_.options.device));
  const auto payload_bytes = static_cast<size_t>(plan.layout.size_bytes);
  if (payload_bytes > staging->capacity().size()) {
    return make_error(StatusCode::kInvalidArgument,
                      "a chunk of " + std::to_string(payload_bytes) +
                          " bytes does not fit the staging slots; raise chunk_bytes");
  }
  staging->resize(payload_bytes);
  return Source{.plan = std::move(plan),
                .memory = staging,
                .fragment_bytes = fragment_bytes,
                .release = nullptr,
                .opened_at = opened_at};
}

Result<ChunkSender::Source> ChunkSender::open_object(const CacheEngineKey& key) {
  if (!outputs_.open_object) {
    return make_error(StatusCode::kNotFound, "this engine shares no memory");
  }
  KVFERRY_ASSIGN_OR_RETURN(OpenObject opened, outputs_.open_object(key));
  auto source = plan_source(key, opened.obj);
  if (source) {
    source->release = std::move(opened.release);
    source->keep = std::move(opened.keep);
  } else {
    opened.release();
  }
  return source;
}

Result<ChunkSender::Source> ChunkSender::plan_source(const CacheEngineKey& key,
                                                     const MemoryObjPtr& obj) const {
  const TimePoint opened_at = now();
  KVFERRY_ASSIGN_OR_RETURN(std::vector<std::byte> record,
                           encode_chunk_record_header(make_chunk_record(key, *obj)));
  const int64_t fragment_bytes =
      fit_fragment_bytes(obj->layout, context_.options.fragment_bytes, outputs_.max_header_bytes);
  ChunkPlan plan = plan_object(key, *obj, fragment_bytes);
  for (const Fragment& fragment : plan.fragments) {
    const size_t header = fragment_header_bytes(static_cast<size_t>(plan.num_tiles(fragment)));
    if (header <= outputs_.max_header_bytes) continue;
    return make_error(StatusCode::kUnimplemented,
                      "a chunk in format " + std::string(memory_format_name(obj->layout.format)) +
                          " travels whole, and its digests do not fit the link's header");
  }
  return Source{.plan = std::move(plan),
                .memory = obj,
                .fragment_bytes = fragment_bytes,
                .release = nullptr,
                .opened_at = opened_at,
                .record = std::move(record)};
}

void ChunkSender::post(const Planned& planned, Source source, MemoryObjPtr slot,
                       TimePoint looked_up_at) {
  const uint64_t id = context_.next_transfer_id++;
  const LeaseId lease = context_.leases.grant(source.memory, peer_);
  const OfferMessage message{.transfer_id = id,
                             .fetch_id = planned.fetch_id,
                             .item = planned.item,
                             .layout_digest = source.plan.identity.layout_digest,
                             .payload_bytes = static_cast<uint64_t>(source.plan.layout.size_bytes),
                             .fragment_bytes = static_cast<uint64_t>(source.fragment_bytes),
                             .num_fragments = static_cast<uint32_t>(source.plan.fragments.size()),
                             .source = lease,
                             .record = std::move(source.record)};
  Posted posted;
  posted.ref = planned.ref;
  posted.source = lease;
  posted.slot = std::move(slot);
  posted.release = std::move(source.release);
  posted.offered_at = posted.since = now();
  posted.chunk =
      std::make_shared<OutgoingChunk>(OutgoingChunk{.transfer_id = id,
                                                    .plan = std::move(source.plan),
                                                    .keep = std::move(source.keep),
                                                    .staging = std::move(source.memory)});
  outputs_.record(TransferStage::kLookup, id, looked_up_at, source.opened_at);
  outputs_.record(TransferStage::kPlan, id, source.opened_at, posted.since, -1,
                  outputs_.record.is_on() ? planned.ref.key.to_string() : "");
  posted_.emplace(id, std::move(posted));
  outputs_.send_message(message);
}

void ChunkSender::refuse(const Planned& planned, const Status& status) {
  outputs_.send_message(UnservedMessage{planned.fetch_id, planned.item, status.code(),
                                        std::string(status.message())});
}

void ChunkSender::ignore(const char* message, uint64_t transfer_id) {
  log_.log([&] {
    return std::string(message) + "_ignored peer=" + peer_ +
           " transfer=" + std::to_string(transfer_id) + " cause=unexpected";
  });
}

void ChunkSender::on_grant(const GrantMessage& grant) {
  const auto found = posted_.find(grant.transfer_id);
  if (found == posted_.end() || !(found->second.source == grant.source) ||
      !step(found->second.state, SourceEvent::kGranted)) {
    return ignore("grant", grant.transfer_id);
  }
  Posted& posted = found->second;
  context_.leases.begin_use(posted.source).ignore("granted by this object a moment ago");
  posted.since = now();
  outputs_.record(TransferStage::kOffer, grant.transfer_id, posted.offered_at, posted.since);
  posted.chunk->landing = grant.landing;
  outputs_.send_chunk(posted.chunk);
}

bool ChunkSender::is_stuck(TimePoint now) const {
  const Duration limit = context_.options.transfer_timeout;
  // While others move, an offer may well wait for the memory that they take.
  TimePoint moved_at = last_end_;
  for (const auto& [id, posted] : posted_) {
    if (posted.state == SourceState::kPosted) continue;
    const TimePoint at = std::max(posted.since, posted.chunk->progress->last());
    if (now - at > limit) return true;
    moved_at = std::max(moved_at, at);
  }
  return std::ranges::any_of(posted_, [&](const auto& each) {
    return each.second.state == SourceState::kPosted &&
           now - std::max(each.second.since, moved_at) > kOfferPatience * limit;
  });
}

void ChunkSender::on_sent(uint64_t transfer_id, const Status& status) {
  const auto found = posted_.find(transfer_id);
  if (found == posted_.end() || !step(found->second.state, SourceEvent::kSent)) return;
  Posted& posted = found->second;
  posted.sent_at = now();
  failed_in_a_row_ = is_carried(status) ? 0 : failed_in_a_row_ + 1;
  if (!status.is_ok()) {
    // The peer waits for fragments that will not come; it answers with its acknowledgement.
    outputs_.send_message(AbandonMessage{transfer_id, posted.chunk->landing, status.code(),
                                         std::string(status.message())});
  }
  finish_if_ended(transfer_id, posted);
  if (failed_in_a_row_ >= kMaxFailedInARow) {
    outputs_.give_up_link(status.with_context("the link takes nothing any more"));
  }
}

void ChunkSender::on_ack(const AckMessage& ack) {
  const bool is_verified = ack.outcome == ChunkOutcome::kVerified;
  const auto found = posted_.find(ack.transfer_id);
  if (found == posted_.end() || !(found->second.source == ack.source) ||
      !step(found->second.state,
            is_verified ? SourceEvent::kAckVerified : SourceEvent::kAckNotTaken)) {
    return ignore("ack", ack.transfer_id);
  }
  Posted& posted = found->second;
  const TimePoint acknowledged_at = now();
  outputs_.record(TransferStage::kAcknowledge, ack.transfer_id,
                  posted.sent_at == TimePoint() ? acknowledged_at : posted.sent_at,
                  acknowledged_at);
  if (!is_verified) {
    log_.log([&] {
      return "chunk_not_taken peer=" + peer_ + " key=" + posted.ref.key.to_string() + " reason=\"" +
             ack.reason + "\" timeline=\"" + outputs_.record.timeline(ack.transfer_id) + "\"";
    });
  }
  finish_if_ended(ack.transfer_id, posted);
}

void ChunkSender::note_end(uint64_t transfer_id, const Posted& posted) {
  if (posted.state == SourceState::kCompleted) ++context_.stats.chunks_sent;
  outputs_.record(TransferStage::kChunk, transfer_id, posted.offered_at, now(), -1,
                  std::string(state_name(posted.state)));
}

void ChunkSender::finish_if_ended(uint64_t transfer_id, Posted& posted) {
  if (!is_end(posted.state)) return;
  last_end_ = now();
  note_end(transfer_id, posted);
  const std::function<void()> release = std::move(posted.release);
  context_.leases.fence(posted.source).ignore("held since the offer");
  posted_.erase(transfer_id);  // drops the staging memory; the pool's listener pumps
  release();
}

std::vector<LeaseId> ChunkSender::end(bool peer_cannot_read) {
  ended_ = true;
  for (auto& planned : planned_) planned.clear();
  num_planned_ = 0;
  std::vector<LeaseId> quarantined;
  int num_shown = 0;
  for (auto& [id, posted] : posted_) {
    if (posted.state != SourceState::kPosted && num_shown++ < kMaxTimelines) {
      context_.log(LogLevel::kWarn, "chunk_cut_off peer=" + peer_ +
                                        " key=" + posted.ref.key.to_string() + " timeline=\"" +
                                        outputs_.record.timeline(id) + "\"");
    }
    step(posted.state,
         peer_cannot_read ? SourceEvent::kSessionQuiet : SourceEvent::kSessionUnfenced);
    note_end(id, posted);
    if (posted.state == SourceState::kQuarantined) {
      context_.leases.quarantine(posted.source).ignore("held since the offer");
      quarantined.push_back(posted.source);
    } else {
      context_.leases.fence(posted.source).ignore("held since the offer");
    }
    posted.release();
  }
  posted_.clear();
  return quarantined;
}

}  // namespace kvferry
