#include "runtime/transfer/chunk_sender.h"

#include <algorithm>
#include <utility>

namespace kvferry {
namespace {

// An offer may wait for the peer's memory, which others use: so much longer than a granted chunk.
constexpr int kOfferPatience = 4;

}  // namespace

ChunkSender::ChunkSender(EngineContext& context, std::string peer, Outputs outputs)
    : context_(context), peer_(std::move(peer)), outputs_(std::move(outputs)) {}

void ChunkSender::on_fetch(FetchMessage fetch) {
  const bool too_many = planned_.size() + fetch.items.size() > kMaxFetchItems;
  for (size_t i = 0; i < fetch.items.size(); ++i) {
    Planned planned{fetch.fetch_id, static_cast<uint32_t>(i), std::move(fetch.items[i])};
    if (too_many) {
      refuse(planned, Status(StatusCode::kResourceExhausted,
                             "more than " + std::to_string(kMaxFetchItems) +
                                 " chunks are asked for at once; fetch in smaller steps"));
    } else {
      planned_.push_back(std::move(planned));
    }
  }
  context_.pump_soon();
}

bool ChunkSender::pump_one() {
  if (ended_ || planned_.empty() || !offer(planned_.front())) return false;
  planned_.pop_front();
  return true;
}

bool ChunkSender::offer(const Planned& planned) {
  ChunkProvider* const provider = context_.provider;  // open_chunk may change it
  if (provider == nullptr) {
    refuse(planned, Status(StatusCode::kNotFound, "this engine serves no chunks"));
    return true;
  }
  if (context_.leases.quarantined() >= context_.options.max_quarantined_chunks) {
    refuse(planned, Status(StatusCode::kResourceExhausted,
                           std::to_string(context_.leases.quarantined()) +
                               " chunks of memory are in quarantine, as many as may be: peers were "
                               "lost that could still read them"));
    return true;
  }
  auto staging = context_.staging.allocate(1);
  if (!staging) return false;
  auto pages = provider->open_chunk(planned.ref);
  if (!pages) {
    refuse(planned, pages.error());
    return true;
  }
  const Status posted = post(planned, *provider, *pages, std::move(staging).value());
  if (!posted.is_ok()) {
    provider->close_chunk(planned.ref);
    refuse(planned, posted);
  }
  return true;
}

Status ChunkSender::post(const Planned& planned, ChunkProvider& provider, const PagedChunk& pages,
                         MemoryObjPtr staging) {
  if (pages.layout == nullptr) return Status(StatusCode::kInternal, "the provider gave no layout");
  if (std::ranges::any_of(pages.slots, [](int64_t slot) { return slot < 0; })) {
    return Status(StatusCode::kInternal, "the provider gave a chunk that lacks tokens");
  }
  const int64_t fragment_bytes =
      fit_fragment_bytes(*pages.layout, context_.options.fragment_bytes, outputs_.max_header_bytes,
                         planned.ref.num_tokens());
  KVFERRY_ASSIGN_OR_RETURN(ChunkPlan plan, plan_chunk(planned.ref, pages, fragment_bytes));
  const auto payload_bytes = static_cast<size_t>(plan.layout.size_bytes);
  if (payload_bytes > staging->capacity().size()) {
    return Status(StatusCode::kInvalidArgument,
                  "a chunk of " + std::to_string(payload_bytes) +
                      " bytes does not fit the staging slots; raise chunk_bytes");
  }
  staging->resize(payload_bytes);
  const uint64_t id = context_.next_transfer_id++;
  const LeaseId source = context_.leases.grant(staging, peer_);
  const OfferMessage message{.transfer_id = id,
                             .fetch_id = planned.fetch_id,
                             .item = planned.item,
                             .layout_digest = plan.identity.layout_digest,
                             .payload_bytes = payload_bytes,
                             .fragment_bytes = static_cast<uint64_t>(fragment_bytes),
                             .num_fragments = static_cast<uint32_t>(plan.fragments.size()),
                             .source = source};
  Posted posted;
  posted.planned = planned;
  posted.source = source;
  posted.provider = &provider;
  posted.since = context_.control.clock().now();
  posted.chunk = std::make_shared<OutgoingChunk>(
      OutgoingChunk{.transfer_id = id, .plan = std::move(plan), .staging = std::move(staging)});
  posted_.emplace(id, std::move(posted));
  outputs_.send_message(message);
  return {};
}

void ChunkSender::refuse(const Planned& planned, const Status& status) {
  outputs_.send_message(UnservedMessage{planned.fetch_id, planned.item, status.code(),
                                        std::string(status.message())});
}

void ChunkSender::on_grant(const GrantMessage& grant) {
  const auto found = posted_.find(grant.transfer_id);
  if (found == posted_.end() || !(found->second.source == grant.source) ||
      found->second.state != TransferState::kPosted) {
    context_.log(LogLevel::kWarn, "grant_ignored peer=" + peer_ + " transfer=" +
                                      std::to_string(grant.transfer_id) + " cause=unknown");
    return;
  }
  Posted& posted = found->second;
  context_.leases.begin_use(posted.source).ignore("granted by this object a moment ago");
  posted.state = TransferState::kDraining;
  posted.since = context_.control.clock().now();
  posted.chunk->landing = grant.landing;
  outputs_.send_chunk(posted.chunk);
}

bool ChunkSender::is_stuck(TimePoint now) const {
  const Duration limit = context_.options.transfer_timeout;
  return std::ranges::any_of(posted_, [&](const auto& each) {
    const bool is_granted = each.second.state == TransferState::kDraining;
    return now - each.second.since > (is_granted ? limit : kOfferPatience * limit);
  });
}

void ChunkSender::on_sent(uint64_t transfer_id, const Status& status) {
  const auto found = posted_.find(transfer_id);
  if (found == posted_.end()) return;
  Posted& posted = found->second;
  posted.sent = true;
  if (!status.is_ok()) {
    // The peer waits for fragments that will not come; it answers with its acknowledgement.
    outputs_.send_message(AbandonMessage{transfer_id, posted.chunk->landing, status.code(),
                                         std::string(status.message())});
  }
  finish_if_quiet(transfer_id, posted);
}

void ChunkSender::on_ack(const AckMessage& ack) {
  const auto found = posted_.find(ack.transfer_id);
  if (found == posted_.end() || !(found->second.source == ack.source)) {
    context_.log(LogLevel::kWarn, "ack_ignored peer=" + peer_ + " transfer=" +
                                      std::to_string(ack.transfer_id) + " cause=unknown");
    return;
  }
  Posted& posted = found->second;
  posted.acknowledged = true;
  posted.outcome = ack.outcome;
  if (posted.state == TransferState::kPosted) posted.sent = true;  // refused: nothing was sent
  if (ack.outcome != ChunkOutcome::kVerified) {
    context_.log(LogLevel::kWarn, "chunk_not_taken peer=" + peer_ +
                                      " key=" + posted.planned.ref.key.to_string() + " reason=\"" +
                                      ack.reason + "\"");
  }
  finish_if_quiet(ack.transfer_id, posted);
}

void ChunkSender::finish_if_quiet(uint64_t transfer_id, Posted& posted) {
  if (!posted.sent || !posted.acknowledged) return;
  if (posted.outcome == ChunkOutcome::kVerified) ++context_.stats.chunks_sent;
  const ChunkRef ref = std::move(posted.planned.ref);
  ChunkProvider* const provider = posted.provider;
  context_.leases.fence(posted.source).ignore("held since the offer");
  posted_.erase(transfer_id);  // drops the staging memory; the pool's listener pumps
  provider->close_chunk(ref);
}

std::vector<LeaseId> ChunkSender::end(bool peer_cannot_read) {
  ended_ = true;
  planned_.clear();
  std::vector<LeaseId> quarantined;
  for (auto& [id, posted] : posted_) {
    const bool never_sent = posted.state == TransferState::kPosted;
    if (never_sent || posted.acknowledged || peer_cannot_read) {
      context_.leases.fence(posted.source).ignore("held since the offer");
    } else {
      context_.leases.quarantine(posted.source).ignore("held since the offer");
      quarantined.push_back(posted.source);
    }
    posted.provider->close_chunk(posted.planned.ref);
  }
  posted_.clear();
  return quarantined;
}

}  // namespace kvferry
