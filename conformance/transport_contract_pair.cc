#include "conformance/transport_contract_pair.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace kvferry {
namespace {

constexpr Duration kLimit = std::chrono::seconds(20);
constexpr size_t kDestinationTailBytes = 64;

std::byte pattern_byte(uint64_t seed, size_t index) {
  // A multiplicative hash of position and seed: no shift of the data looks right.
  const uint64_t mixed = (index + 1) * 0x9E3779B97F4A7C15U + seed * 0xD6E8FEB86659FD93U;
  return static_cast<std::byte>(mixed >> 56U);
}

void fill_pattern(std::span<std::byte> bytes, uint64_t seed) {
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = pattern_byte(seed, i);
}

Status expect_poison_in(std::span<const std::byte> bytes, const std::string& what) {
  const auto touched =
      std::find_if(bytes.begin(), bytes.end(), [](std::byte byte) { return byte != kPoison; });
  return expect(touched == bytes.end(),
                what + " was written to at byte " + std::to_string(touched - bytes.begin()));
}

}  // namespace

Status expect_delivered(const ContractOffer& offer) {
  const size_t payload_bytes = offer.source->size();
  const std::vector<std::byte> arrived = offer.destination->read();
  for (size_t i = 0; i < payload_bytes; ++i) {
    if (arrived[i] == pattern_byte(offer.id, i)) continue;
    return contract_broken("offer " + std::to_string(offer.id) + " of " +
                           std::to_string(payload_bytes) + " bytes arrived wrong at byte " +
                           std::to_string(i) + ": " +
                           std::to_string(std::to_integer<int>(arrived[i])) + " instead of " +
                           std::to_string(std::to_integer<int>(pattern_byte(offer.id, i))));
  }
  return expect_poison_in(std::span(arrived).subspan(payload_bytes),
                          "destination behind the payload of offer " + std::to_string(offer.id));
}

Status expect_poison(const ContractMemory& memory, const std::string& what) {
  return expect_poison_in(memory.read(), what);
}

void poison(ContractMemory& memory) {
  memory.write(std::vector<std::byte>(memory.size(), kPoison));
}

Result<std::unique_ptr<LinkPair>> LinkPair::open(TransportContractFixture& fixture, bool connect) {
  std::unique_ptr<LinkPair> pair(new LinkPair(fixture));
  for (const Side side : {Side::kLeft, Side::kRight}) {
    KVFERRY_RETURN_IF_ERROR(pair->open_side(side));
  }
  if (connect) {
    for (const Side side : {Side::kLeft, Side::kRight}) {
      KVFERRY_RETURN_IF_ERROR(pair->connect(side));
    }
  }
  return pair;
}

Status LinkPair::open_side(Side side) {
  bool done = false;
  Status status;
  fixture_.executor(side).post([&] {
    Result<std::unique_ptr<Link>> opened =
        fixture_.transport(side).open_link(fixture_.peer_class(), fixture_.executor(side));
    if (opened) {
      link(side) = std::move(*opened);
      link(side)->set_offer_handler([this, side](std::span<const std::byte> header, size_t bytes) {
        return answer(side, header, bytes);
      });
      addresses_.at(static_cast<size_t>(side)) = link(side)->address();
    }
    MutexLock lock(mutex_);
    if (!opened) status = opened.error().with_context("open_link");
    done = true;
    fixture_.notify();
  });
  const bool ran = wait_for(
      [&] {
        MutexLock lock(mutex_);
        return done;
      },
      kLimit);
  return ran ? status : contract_broken("the executor did not run a task in time");
}

LinkPair::~LinkPair() {
  for (const Side side : {Side::kLeft, Side::kRight}) {
    run(side, [this, side](Link&) {
      if (num_quiet(side) == 0) close_here(side);
      return Status();
    }).ignore("destroyed already");
  }
  for (const Side side : {Side::kLeft, Side::kRight}) {
    bool gone = false;
    {
      MutexLock lock(mutex_);
      gone = destroyed_.at(static_cast<size_t>(side));
    }
    if (!gone) wait_quiet(side).ignore("reported by the case, if it cared");
    destroy(side);
  }
}

ContractOffer& LinkPair::add(Side from, size_t payload_bytes, size_t header_bytes) {
  auto owned = std::make_unique<ContractOffer>();
  ContractOffer& offer = *owned;
  offer.from = from;
  offer.id = ++offers_made_;
  offer.header.resize(std::max(header_bytes, sizeof(offer.id)));
  fill_pattern(offer.header, ~offer.id);
  std::memcpy(offer.header.data(), &offer.id, sizeof(offer.id));
  std::vector<std::byte> payload(payload_bytes);
  fill_pattern(payload, offer.id);
  offer.source = fixture_.allocate(from, payload_bytes);
  offer.source->write(payload);
  replace_destination(offer, payload_bytes + kDestinationTailBytes);
  MutexLock lock(mutex_);
  outcomes_[offer.id] = {};
  offers_.emplace(offer.id, std::move(owned));
  return offer;
}

void LinkPair::replace_destination(ContractOffer& offer, size_t bytes) {
  offer.destination = fixture_.allocate(other(offer.from), bytes);
  poison(*offer.destination);
}

void LinkPair::start(ContractOffer& offer) {
  fixture_.executor(offer.from).post([this, &offer] { start_here(offer); });
}

void LinkPair::start_here(ContractOffer& offer) {
  const Side side = offer.from;
  if (link(side) == nullptr) return;
  {
    MutexLock lock(mutex_);
    outcomes_[offer.id].was_late = num_quiet_.at(static_cast<size_t>(side)) > 0;
  }
  // A header of its own, gone after the call: links must copy it.
  const std::vector<std::byte> header = offer.header;
  bool& inside = inside_call_.at(static_cast<size_t>(side));
  const bool was_inside = std::exchange(inside, true);
  link(side)->offer(header, offer.source->bytes(), [this, &offer, side](const Status& status) {
    note_completion(offer, side, status, true);
  });
  inside = was_inside;
}

OfferReply LinkPair::answer(Side side, std::span<const std::byte> header, size_t payload_bytes) {
  uint64_t id = 0;
  if (header.size() >= sizeof(id)) std::memcpy(&id, header.data(), sizeof(id));
  ContractOffer* offer = nullptr;
  {
    MutexLock lock(mutex_);
    if (const auto found = offers_.find(id); found != offers_.end()) offer = found->second.get();
  }
  if (offer == nullptr || offer->from == side || payload_bytes != offer->source->size()) {
    note_violation("an offer arrived that nobody made: " + std::to_string(header.size()) +
                   " bytes of header, " + std::to_string(payload_bytes) + " of payload");
    return RefuseOffer{};
  }
  {
    MutexLock lock(mutex_);
    OfferOutcome& outcome = outcomes_[id];
    ++outcome.num_arrivals;
    outcome.header_intact = std::ranges::equal(header, offer->header);
  }
  if (!fixture_.executor(side).is_current()) note_violation("offer handler off its executor");
  if (num_quiet(side) > 0) note_violation("offer handler called after on_quiet");
  if (offer->on_arrival) offer->on_arrival();
  fixture_.notify();
  if (offer->answer == Answer::kRefuse) return RefuseOffer{StatusCode::kResourceExhausted};
  return AcceptOffer{offer->destination->bytes(), [this, offer, side](const Status& status) {
                       note_completion(*offer, side, status, false);
                     }};
}

void LinkPair::note_completion(const ContractOffer& offer, Side side, const Status& status,
                               bool is_send) {
  const std::string name = std::string(side_name(side)) + (is_send ? " on_sent" : " on_received") +
                           " of offer " + std::to_string(offer.id) + " (" + status.to_string() +
                           ")";
  if (!fixture_.executor(side).is_current()) note_violation(name + " came off its executor");
  if (inside_call_.at(static_cast<size_t>(side))) {
    note_violation(name + " came from within offer() or close()");
  }
  {
    MutexLock lock(mutex_);
    OfferOutcome& outcome = outcomes_[offer.id];
    if (num_quiet_.at(static_cast<size_t>(side)) > 0 && !(is_send && outcome.was_late)) {
      violations_.push_back(name + " came after on_quiet");
    }
    if (destroyed_.at(static_cast<size_t>(side))) {
      violations_.push_back(name + " came after the link's destruction");
    }
    const int times = is_send ? ++outcome.num_sent : ++outcome.num_received;
    if (times > 1) violations_.push_back(name + " came " + std::to_string(times) + " times");
    (is_send ? outcome.sent : outcome.received) = status;
  }
  const auto& hook = is_send ? offer.on_sent : offer.on_received;
  if (hook) hook();
  fixture_.notify();
}

void LinkPair::note_violation(const std::string& what) {
  MutexLock lock(mutex_);
  violations_.push_back(what);
}

void LinkPair::close(Side side) {
  fixture_.executor(side).post([this, side] { close_here(side); });
}

void LinkPair::close_here(Side side) {
  if (link(side) == nullptr) return;
  bool& inside = inside_call_.at(static_cast<size_t>(side));
  const bool was_inside = std::exchange(inside, true);
  link(side)->close([this, side] {
    if (inside_call_.at(static_cast<size_t>(side))) {
      note_violation(std::string(side_name(side)) + " on_quiet came from within a call");
    }
    {
      MutexLock lock(mutex_);
      ++num_quiet_.at(static_cast<size_t>(side));
    }
    fixture_.notify();
  });
  inside = was_inside;
}

void LinkPair::destroy(Side side) {
  run(side, [this, side](Link&) {
    destroy_here(side);
    return Status();
  }).ignore("destroyed already");
}

void LinkPair::destroy_here(Side side) {
  link(side).reset();
  MutexLock lock(mutex_);
  destroyed_.at(static_cast<size_t>(side)) = true;
}

Status LinkPair::connect(Side side) {
  return run(side, [this, side](Link& own) {
    return own.connect(addresses_.at(static_cast<size_t>(other(side))));
  });
}

Status LinkPair::run(Side side, const std::function<Status(Link&)>& task) {
  struct Call {
    Mutex mutex;
    bool done = false;
    Status status;
  };
  const auto call = std::make_shared<Call>();  // the task may outlive a wait in vain
  fixture_.executor(side).post([this, side, task, call] {
    Status status = link(side) == nullptr
                        ? Status(StatusCode::kFailedPrecondition, "the link is destroyed")
                        : task(*link(side));
    MutexLock lock(call->mutex);
    call->status = std::move(status);
    call->done = true;
    fixture_.notify();
  });
  const auto is_done = [&] {
    MutexLock lock(call->mutex);
    return call->done;
  };
  if (!wait_for(is_done, kLimit)) {
    return contract_broken("the executor did not run a task in time");
  }
  MutexLock lock(call->mutex);
  return call->status;
}

Status LinkPair::wait_sent(const std::vector<ContractOffer*>& offers) {
  const auto pending = [&] {
    return std::ranges::count_if(
        offers, [&](const ContractOffer* offer) { return outcome(*offer).num_sent == 0; });
  };
  wait_for([&] { return pending() == 0; }, kLimit);
  KVFERRY_RETURN_IF_ERROR(expect(pending() == 0, std::to_string(pending()) + " of " +
                                                     std::to_string(offers.size()) +
                                                     " offers never ended for their sender"));
  return verdict();
}

Status LinkPair::wait_received(const std::vector<ContractOffer*>& offers) {
  const auto pending = [&] {
    return std::ranges::count_if(
        offers, [&](const ContractOffer* offer) { return outcome(*offer).num_received == 0; });
  };
  wait_for([&] { return pending() == 0; }, kLimit);
  KVFERRY_RETURN_IF_ERROR(expect(pending() == 0, std::to_string(pending()) + " of " +
                                                     std::to_string(offers.size()) +
                                                     " offers never ended for their receiver"));
  return verdict();
}

Status LinkPair::wait_quiet(Side side, int times) {
  wait_for([&] { return num_quiet(side) >= times; }, kLimit);
  KVFERRY_RETURN_IF_ERROR(
      expect(num_quiet(side) == times, "on_quiet of the " + std::string(side_name(side)) +
                                           " side came " + std::to_string(num_quiet(side)) +
                                           " times instead of " + std::to_string(times)));
  return verdict();
}

bool LinkPair::wait_for(const std::function<bool()>& done, Duration limit) {
  return fixture_.run_until(done, limit);
}

OfferOutcome LinkPair::outcome(const ContractOffer& offer) const {
  MutexLock lock(mutex_);
  return outcomes_.at(offer.id);
}

int LinkPair::num_quiet(Side side) const {
  MutexLock lock(mutex_);
  return num_quiet_.at(static_cast<size_t>(side));
}

LinkCapabilities LinkPair::capabilities(Side side) {
  LinkCapabilities capabilities;
  run(side, [&](Link& own) {
    capabilities = own.capabilities();
    return Status();
  }).ignore("then there are none");
  return capabilities;
}

Status LinkPair::verdict() const {
  MutexLock lock(mutex_);
  if (violations_.empty()) return {};
  return contract_broken(violations_.front() + " (" + std::to_string(violations_.size()) +
                         " breaches in all)");
}

}  // namespace kvferry
