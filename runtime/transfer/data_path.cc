#include "runtime/transfer/data_path.h"

#include <algorithm>
#include <utility>

namespace kvferry {
namespace {

std::string fragment_name(const ChunkPlan& plan, size_t fragment) {
  return "fragment " + std::to_string(fragment) + " of chunk " + plan.ref.key.to_string();
}

/// Of an object, the digests of one fragment's tiles.
std::span<const uint64_t> digests_of(const MemoryObj& obj, const ChunkPlan& plan,
                                     const Fragment& fragment) {
  return std::span(obj.tile_digests)
      .subspan(static_cast<size_t>(plan.first_tile(fragment)),
               static_cast<size_t>(plan.num_tiles(fragment)));
}

/// Where the first wrong tile is, so that a fault has an address.
Status mismatch(const ChunkPlan& plan, const FragmentHeader& header,
                std::span<const uint64_t> found) {
  const Fragment& fragment = plan.fragments[header.fragment];
  const auto [wrong, expected] =
      std::mismatch(found.begin(), found.end(), header.tile_digests.begin());
  const std::string where = fragment_name(plan, header.fragment);
  if (wrong == found.end()) {
    return Status(StatusCode::kDataLoss,
                  where + ": its bytes agree with its tile digests, but belong to another chunk");
  }
  const int64_t tile = wrong - found.begin();
  const int64_t tiles = plan.layout.tiles_per_plane();
  const ChunkPlane& plane =
      plan.layout.planes[static_cast<size_t>(fragment.plane_begin + tile / tiles)];
  return Status(StatusCode::kDataLoss,
                where + ": layer " + std::to_string(plane.layer) + ", tokens from " +
                    std::to_string(tile % tiles * kTileTokens) + " have a wrong digest");
}

}  // namespace

DataPath::DataPath(std::unique_ptr<Link> link, Executor& executor, Events events, Copiers copiers,
                   StagedFragmentHook hook, Recorders recorders)
    : link_(std::move(link)),
      executor_(executor),
      events_(std::move(events)),
      copiers_(copiers),
      hook_(std::move(hook)),
      recorders_(recorders) {
  link_->set_offer_handler([this](std::span<const std::byte> header, size_t payload_bytes) {
    return on_offer(header, payload_bytes);
  });
}

Status DataPath::connect(std::string_view peer_address) { return link_->connect(peer_address); }

void DataPath::close(std::function<void()> on_quiet) {
  closed_ = true;
  {
    MutexLock lock(mutex_);
    takes_more_ = false;
  }
  on_quiet_ = std::move(on_quiet);
  link_->close([this] {
    link_is_quiet_ = true;
    tell_if_quiet();
  });
}

void DataPath::tell_if_quiet() {
  if (!link_is_quiet_ || open_copies_ > 0 || !on_quiet_) return;
  std::unordered_map<uint64_t, std::shared_ptr<IncomingChunk>> dropped;
  {
    MutexLock lock(mutex_);
    dropped.swap(incoming_);
  }
  dropped.clear();
  std::exchange(on_quiet_, nullptr)();
}

void DataPath::enqueue(PagedCopier& copier, PagedCopyRequest copy,
                       std::function<void(const Status&)> on_done) {
  ++open_copies_;
  copy.on_done = [this, on_done = std::move(on_done)](const Status& status) {
    --open_copies_;
    on_done(status);
    tell_if_quiet();
  };
  copier.enqueue(std::move(copy));
}

// ---- out

void DataPath::send(const std::shared_ptr<OutgoingChunk>& chunk) { send_next(chunk); }

void DataPath::send_next(const std::shared_ptr<OutgoingChunk>& chunk) {
  if (closed_) return;
  const size_t index = chunk->next_fragment++;
  const ChunkPlan& plan = chunk->plan;
  auto header = std::make_shared<FragmentHeader>();
  header->transfer_id = chunk->transfer_id;
  header->landing = chunk->landing;
  header->fragment = static_cast<uint32_t>(index);
  header->tile_digests.resize(static_cast<size_t>(plan.num_tiles(plan.fragments[index])));
  gather_fragment(chunk, std::move(header));
  if (chunk->status.is_ok() && chunk->next_fragment < plan.fragments.size()) {
    executor_.post([this, chunk] {
      if (chunk->status.is_ok()) send_next(chunk);
    });
  }
}

void DataPath::gather_fragment(const std::shared_ptr<OutgoingChunk>& chunk,
                               std::shared_ptr<FragmentHeader> header) {
  const ChunkPlan& plan = chunk->plan;
  const Fragment& fragment = plan.fragments[header->fragment];
  const TimePoint begin = now();
  ++chunk->open_gathers;
  if (!plan.copy) {
    std::ranges::copy(digests_of(*chunk->staging, plan, fragment), header->tile_digests.begin());
    on_gathered(chunk, *header, {}, begin);
    return;
  }
  PagedCopyRequest copy{.direction = CopyDirection::kGather,
                        .copy = &*plan.copy,
                        .plane_begin = fragment.plane_begin,
                        .plane_end = fragment.plane_end,
                        .chunk = chunk->staging->bytes(),
                        .tile_digests = header->tile_digests,
                        .after = plan.after};
  enqueue(copiers_.gather, std::move(copy),
          [this, chunk, header = std::move(header), begin](const Status& gathered) {
            on_gathered(chunk, *header, gathered, begin);
          });
}

void DataPath::on_gathered(const std::shared_ptr<OutgoingChunk>& chunk, FragmentHeader& header,
                           const Status& gathered, TimePoint begin) {
  --chunk->open_gathers;
  if (closed_) return;
  if (chunk->status.is_ok()) chunk->status = gathered;
  if (!chunk->status.is_ok()) {
    finish_if_sent(chunk);
    return;
  }
  const ChunkPlan& plan = chunk->plan;
  const Fragment& fragment = plan.fragments[header.fragment];
  const int64_t first_tile = plan.first_tile(fragment);
  const uint64_t sum = tile_sum(first_tile, header.tile_digests);
  chunk->tile_sum += sum;
  header.fragment_digest =
      bind_digest(plan.identity, first_tile, plan.num_tiles(fragment), sum, fragment.size_bytes);
  if (header.fragment + 1 == plan.fragments.size()) {  // copies end in their order
    header.chunk_digest = bind_digest(plan.identity, 0, plan.layout.num_tiles(), chunk->tile_sum,
                                      plan.layout.size_bytes);
  }
  recorders_.out(TransferStage::kGather, chunk->transfer_id, begin, now(),
                 static_cast<int32_t>(header.fragment));
  offer(chunk, header);
}

void DataPath::offer(const std::shared_ptr<OutgoingChunk>& chunk, const FragmentHeader& header) {
  const ChunkPlan& plan = chunk->plan;
  const Fragment& fragment = plan.fragments[header.fragment];
  const auto bytes = chunk->staging->bytes().subspan(static_cast<size_t>(fragment.offset_bytes),
                                                     static_cast<size_t>(fragment.size_bytes));
  const auto number = static_cast<int32_t>(header.fragment);
  if (hook_) hook_({plan.ref, number, static_cast<int32_t>(plan.fragments.size()), bytes});
  ++chunk->open_offers;
  link_->offer(
      encode(header), bytes, [this, chunk, number, gathered_at = now()](const Status& status) {
        chunk->progress->note(now());
        recorders_.out(TransferStage::kSend, chunk->transfer_id, gathered_at, now(), number);
        --chunk->open_offers;
        if (chunk->status.is_ok()) chunk->status = status;
        finish_if_sent(chunk);
      });
}

void DataPath::finish_if_sent(const std::shared_ptr<OutgoingChunk>& chunk) {
  if (closed_ || chunk->open_offers + chunk->open_gathers > 0) return;
  const bool all_offered = chunk->next_fragment == chunk->plan.fragments.size();
  if (all_offered || !chunk->status.is_ok()) events_.on_sent(chunk->transfer_id, chunk->status);
}

// ---- in

void DataPath::expect(std::shared_ptr<IncomingChunk> chunk) {
  chunk->accepted.assign(chunk->plan.fragments.size(), false);
  MutexLock lock(mutex_);
  if (takes_more_) incoming_.emplace(chunk->transfer_id, std::move(chunk));
}

std::shared_ptr<IncomingChunk> DataPath::find_incoming(uint64_t transfer_id) const {
  MutexLock lock(mutex_);
  const auto found = incoming_.find(transfer_id);
  return found == incoming_.end() ? nullptr : found->second;
}

void DataPath::abandon(uint64_t transfer_id, const Status& status) {
  const std::shared_ptr<IncomingChunk> chunk = find_incoming(transfer_id);
  if (!chunk) return;
  chunk->abandoned = true;
  chunk->tells_abandoned = true;
  if (chunk->status.is_ok()) chunk->status = status;
  tell_if_abandoned(*chunk);
  finish_if_received(chunk);
}

void DataPath::tell_if_abandoned(IncomingChunk& chunk) {
  if (!chunk.tells_abandoned || chunk.open_scatters > 0) return;
  chunk.tells_abandoned = false;
  if (events_.on_abandoned) events_.on_abandoned(chunk.transfer_id);
}

Result<std::shared_ptr<IncomingChunk>> DataPath::admit(const FragmentHeader& header,
                                                       size_t payload_bytes) {
  const std::shared_ptr<IncomingChunk> found = find_incoming(header.transfer_id);
  if (!found || !(found->landing == header.landing)) {
    return make_error(StatusCode::kFailedPrecondition,
                      "a fragment came for a lease that is not held (any more)");
  }
  IncomingChunk& chunk = *found;
  if (chunk.abandoned) {
    return make_error(StatusCode::kCancelled, "a fragment came for a chunk that was given up");
  }
  if (header.fragment >= chunk.plan.fragments.size() || chunk.accepted[header.fragment]) {
    return make_error(StatusCode::kInvalidArgument,
                      fragment_name(chunk.plan, header.fragment) + " came twice or does not exist");
  }
  const Fragment& fragment = chunk.plan.fragments[header.fragment];
  if (payload_bytes != static_cast<size_t>(fragment.size_bytes) ||
      header.tile_digests.size() != static_cast<size_t>(chunk.plan.num_tiles(fragment))) {
    return make_error(StatusCode::kInvalidArgument,
                      fragment_name(chunk.plan, header.fragment) + " has a wrong size");
  }
  return found;
}

OfferReply DataPath::on_offer(std::span<const std::byte> header_bytes, size_t payload_bytes) {
  auto header = decode_fragment_header(header_bytes);
  if (!header) return RefuseOffer{header.error().code()};
  auto admitted = admit(*header, payload_bytes);
  if (!admitted) return RefuseOffer{admitted.error().code()};
  const std::shared_ptr<IncomingChunk> chunk = std::move(admitted).value();
  chunk->accepted[header->fragment] = true;
  ++chunk->open_receives;
  const Fragment& fragment = chunk->plan.fragments[header->fragment];
  return AcceptOffer{
      chunk->landing_memory->bytes().subspan(static_cast<size_t>(fragment.offset_bytes),
                                             static_cast<size_t>(fragment.size_bytes)),
      [this, chunk, header = std::move(header).value(),
       let_in_at = now()](const Status& received) mutable {
        on_fragment(chunk, std::move(header), received, let_in_at);
      }};
}

void DataPath::on_fragment(const std::shared_ptr<IncomingChunk>& chunk, FragmentHeader header,
                           const Status& received, TimePoint let_in_at) {
  chunk->progress->note(now());
  recorders_.in(TransferStage::kWire, chunk->transfer_id, let_in_at, now(),
                static_cast<int32_t>(header.fragment));
  --chunk->open_receives;
  // After the first fault the chunk is lost: the rest is let in, so that the source comes to rest,
  // and not scattered.
  if (!chunk->status.is_ok() || !received.is_ok() || closed_) {
    end_fragment(chunk, received);
  } else if (chunk->plan.copy) {
    scatter_fragment(chunk, std::move(header));
  } else {
    end_fragment(chunk, verify_object(*chunk, header));
  }
}

void DataPath::scatter_fragment(const std::shared_ptr<IncomingChunk>& chunk,
                                FragmentHeader header) {
  const Fragment& fragment = chunk->plan.fragments[header.fragment];
  struct Scatter {
    FragmentHeader header;
    std::vector<uint64_t> found;
  };
  auto scatter = std::make_shared<Scatter>(Scatter{std::move(header), {}});
  scatter->found.resize(scatter->header.tile_digests.size());
  ++chunk->open_scatters;
  PagedCopyRequest copy{.direction = CopyDirection::kScatter,
                        .copy = &*chunk->plan.copy,
                        .plane_begin = fragment.plane_begin,
                        .plane_end = fragment.plane_end,
                        .chunk = chunk->landing_memory->bytes(),
                        .tile_digests = scatter->found,
                        .after = chunk->plan.after};
  enqueue(copiers_.scatter, std::move(copy),
          [this, chunk, scatter, begin = now()](const Status& scattered) {
            --chunk->open_scatters;
            const bool is_whole = scattered.is_ok() && chunk->status.is_ok();
            end_fragment(chunk, is_whole ? verify(*chunk, scatter->header, scatter->found, begin)
                                         : scattered);
          });
}

Status DataPath::verify_object(IncomingChunk& chunk, const FragmentHeader& header) {
  const ChunkPlan& plan = chunk.plan;
  const Fragment& fragment = plan.fragments[header.fragment];
  std::vector<uint64_t> found(header.tile_digests.size());
  const TimePoint begin = now();
  KVFERRY_RETURN_IF_ERROR(compute_tile_digests(plan.layout, chunk.landing_memory->bytes(),
                                               fragment.plane_begin, fragment.plane_end, found));
  KVFERRY_RETURN_IF_ERROR(verify(chunk, header, found, begin));
  if (std::ranges::equal(found, digests_of(*chunk.landing_memory, plan, fragment))) return {};
  return {StatusCode::kDataLoss, fragment_name(plan, header.fragment) +
                                     ": its bytes agree with its tile digests, but not with those "
                                     "that the chunk was offered with"};
}

/// Compares what was computed over the landed bytes with what the sender gathered.
Status DataPath::verify(IncomingChunk& chunk, const FragmentHeader& header,
                        std::span<const uint64_t> found, TimePoint begin) {
  const ChunkPlan& plan = chunk.plan;
  const Fragment& fragment = plan.fragments[header.fragment];
  const int64_t first_tile = plan.first_tile(fragment);
  const TimePoint scattered_at = now();
  const uint64_t sum = tile_sum(first_tile, found);
  const uint64_t digest =
      bind_digest(plan.identity, first_tile, plan.num_tiles(fragment), sum, fragment.size_bytes);
  const auto number = static_cast<int32_t>(header.fragment);
  recorders_.in(TransferStage::kScatter, chunk.transfer_id, begin, scattered_at, number);
  recorders_.in(TransferStage::kVerify, chunk.transfer_id, scattered_at, now(), number);
  if (digest != header.fragment_digest || !std::ranges::equal(found, header.tile_digests)) {
    return mismatch(plan, header, found);
  }
  chunk.tile_sum += sum;
  const bool is_last = header.fragment + 1 == plan.fragments.size();
  if (is_last) chunk.landing_memory->chunk_digest = header.chunk_digest;
  return {};
}

void DataPath::end_fragment(const std::shared_ptr<IncomingChunk>& chunk, const Status& status) {
  ++chunk->finished;
  if (chunk->status.is_ok()) chunk->status = status;
  tell_if_abandoned(*chunk);
  finish_if_received(chunk);
}

void DataPath::finish_if_received(const std::shared_ptr<IncomingChunk>& chunk) {
  if (closed_ || chunk->open_receives + chunk->open_scatters > 0) return;
  if (chunk->finished < chunk->plan.fragments.size() && !chunk->abandoned) return;
  {
    MutexLock lock(mutex_);
    if (incoming_.erase(chunk->transfer_id) == 0) return;  // `chunk` keeps it
  }
  const ChunkPlan& plan = chunk->plan;
  if (chunk->status.is_ok() &&
      bind_digest(plan.identity, 0, plan.layout.num_tiles(), chunk->tile_sum,
                  plan.layout.size_bytes) != chunk->landing_memory->chunk_digest) {
    chunk->status =
        Status(StatusCode::kDataLoss, "chunk " + plan.ref.key.to_string() + " has a wrong digest");
  }
  if (chunk->status.is_ok() && !plan.copy) chunk->landing_memory->set_verified(true);
  events_.on_received(chunk->transfer_id, chunk->status);
}

}  // namespace kvferry
