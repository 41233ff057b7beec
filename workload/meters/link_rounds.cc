#include "workload/meters/link_rounds.h"

#include <utility>

namespace kvferry {

Result<std::unique_ptr<LinkRounds>> LinkRounds::open(Transport& transport, PeerClass peer_class) {
  std::unique_ptr<LinkRounds> rounds(new LinkRounds);
  KVFERRY_ASSIGN_OR_RETURN(rounds->executor_,
                           ThreadExecutor::create("kv-wire-meter", rounds->clock_));
  Status status;
  rounds->run_on_executor([&] {
    Result<std::unique_ptr<Link>> link = transport.open_link(peer_class, *rounds->executor_);
    if (!link) {
      status = link.error();
      return;
    }
    rounds->link_ = std::move(*link);
    rounds->address_ = rounds->link_->address();
    rounds->capabilities_ = rounds->link_->capabilities();
    rounds->link_->set_offer_handler(
        [raw = rounds.get()](std::span<const std::byte> header, size_t payload_bytes) {
          return raw->on_offer(header, payload_bytes);
        });
  });
  KVFERRY_RETURN_IF_ERROR(status);
  return rounds;
}

LinkRounds::~LinkRounds() {
  if (executor_) run_on_executor([this] { link_.reset(); });  // waits for copies under way
}

void LinkRounds::run_on_executor(const std::function<void()>& task) {
  std::promise<void> done;
  executor_->post([&] {
    task();
    done.set_value();
  });
  done.get_future().wait();
}

Status LinkRounds::connect(std::string_view peer_address, const ChunkRing& ring) {
  Status status;
  run_on_executor([&] {
    ring_ = &ring;
    status = link_->connect(peer_address);
  });
  return status;
}

Result<LinkRounds::Moved> LinkRounds::wait(const RoundPtr& round, std::string_view what,
                                           TimePoint deadline) {
  Moved moved;
  Status status;
  const bool in_time = round->done.get_future().wait_until(deadline) == std::future_status::ready;
  run_on_executor([&] {
    status = round->status;
    if (status.is_ok() && !in_time) {
      status =
          Status(StatusCode::kDeadlineExceeded,
                 "the link's peer takes no part; is it alive, and does it run the same round?");
    }
    status = status.with_context(std::to_string(round->finished) + " of " +
                                 std::to_string(round->count) + " pieces " + std::string(what));
    round->status = status;  // offers no more
    moved = {round->bytes, std::chrono::duration<double>(round->last - round->first).count()};
  });
  KVFERRY_RETURN_IF_ERROR(status);
  return moved;
}

void LinkRounds::finish_if_done(Round& round) {
  if (round.is_done || round.count == 0) return;
  if (round.status.is_ok() && round.finished < round.count) return;
  round.last = clock_.now();
  round.is_done = true;
  round.done.set_value();
}

// ---- out

Result<LinkRounds::Moved> LinkRounds::send(int64_t count, int64_t depth, TimePoint deadline) {
  const auto round = std::make_shared<Round>();
  round->count = count;
  round->depth = depth;
  executor_->post([this, round] {
    ++round_number_;
    round->first = clock_.now();
    offer_more(round);
  });
  return wait(round, "sent", deadline);
}

void LinkRounds::offer_more(const RoundPtr& round) {
  while (round->status.is_ok() && round->offered < round->count &&
         round->offered - round->finished < round->depth) {
    const int64_t piece = round->offered++;
    const Fragment& fragment = ring_->fragment_of(piece);
    FragmentHeader header;
    header.transfer_id = round_number_;
    header.landing = {ring_->chunk_of(piece), round_number_};
    header.fragment = static_cast<uint32_t>(piece % ring_->pieces_per_chunk());
    header.tile_digests.resize(static_cast<size_t>((fragment.plane_end - fragment.plane_begin) *
                                                   ring_->walk().layout().tiles_per_plane()));
    link_->offer(encode(header), ring_->piece(piece), [this, round, piece](const Status& status) {
      ++round->finished;
      round->bytes += ring_->fragment_of(piece).size_bytes;
      if (round->status.is_ok()) round->status = status;
      offer_more(round);
      finish_if_done(*round);
    });
  }
}

// ---- in

Result<LinkRounds::Moved> LinkRounds::receive(int64_t count, TimePoint deadline) {
  RoundPtr round;
  run_on_executor([&] {
    round = incoming_;
    round->count = count;
    finish_if_done(*round);
  });
  Result<Moved> moved = wait(round, "received", deadline);
  run_on_executor([&] {
    incoming_ = std::make_shared<Round>();
    ++round_number_;
  });
  return moved;
}

Status LinkRounds::check_offer(const FragmentHeader& header, size_t payload_bytes) const {
  const int64_t piece = incoming_->offered;
  const LeaseId landing{ring_->chunk_of(piece), round_number_ + 1};
  const auto fragment = static_cast<uint32_t>(piece % ring_->pieces_per_chunk());
  if (header.landing == landing && header.fragment == fragment &&
      payload_bytes == static_cast<size_t>(ring_->fragment_of(piece).size_bytes)) {
    return {};
  }
  return {StatusCode::kDataLoss,
          "piece " + std::to_string(piece) + " of round " + std::to_string(landing.generation) +
              " is expected; round " + std::to_string(header.landing.generation) + ", chunk " +
              std::to_string(header.landing.id) + ", fragment " + std::to_string(header.fragment) +
              " of " + std::to_string(payload_bytes) +
              " bytes came: do both sides run the same rounds with the same options?"};
}

OfferReply LinkRounds::on_offer(std::span<const std::byte> header_bytes, size_t payload_bytes) {
  const RoundPtr round = incoming_;
  if (round->offered == 0) round->first = clock_.now();
  const Result<FragmentHeader> header = decode_fragment_header(header_bytes);
  Status status = header ? check_offer(*header, payload_bytes) : header.error();
  if (!status.is_ok()) {
    if (round->status.is_ok()) round->status = status;
    finish_if_done(*round);
    return RefuseOffer{status.code()};
  }
  return AcceptOffer{ring_->piece(round->offered++),
                     [this, round, payload_bytes](const Status& end) {
                       ++round->finished;
                       round->bytes += static_cast<int64_t>(payload_bytes);
                       if (round->status.is_ok()) round->status = end;
                       finish_if_done(*round);
                     }};
}

}  // namespace kvferry
