#include <algorithm>
#include <atomic>
#include <chrono>
#include <iterator>

#include "conformance/transport_contract_cases.h"
#include "conformance/transport_contract_pair.h"

namespace kvferry {
namespace {

// How long a case watches that nothing happens any more.
constexpr Duration kSilence = std::chrono::milliseconds(50);

std::vector<ContractOffer*> add_both_ways(LinkPair& pair, int offers_per_side,
                                          size_t payload_bytes) {
  std::vector<ContractOffer*> offers;
  for (int i = 0; i < offers_per_side; ++i) {
    // Every fourth is small enough to travel along with its header.
    const size_t bytes = i % 4 == 3 ? 100 : payload_bytes;
    offers.push_back(&pair.add(Side::kLeft, bytes));
    offers.push_back(&pair.add(Side::kRight, bytes));
  }
  return offers;
}

std::vector<ContractOffer*> from(Side side, const std::vector<ContractOffer*>& offers) {
  std::vector<ContractOffer*> chosen;
  std::ranges::copy_if(offers, std::back_inserter(chosen),
                       [side](const ContractOffer* offer) { return offer->from == side; });
  return chosen;
}

/// All that `side` began has ended, once: what it offered and what it accepted.
Status expect_ended(LinkPair& pair, Side side, const std::vector<ContractOffer*>& offers) {
  for (const ContractOffer* offer : offers) {
    const OfferOutcome outcome = pair.outcome(*offer);
    const std::string name = std::string(side_name(side)) + " side, offer " +
                             std::to_string(offer->id) + ", after on_quiet: ";
    if (outcome.was_late) continue;
    if (offer->from == side) {
      KVFERRY_RETURN_IF_ERROR(
          expect(outcome.num_sent == 1,
                 name + "on_sent was called " + std::to_string(outcome.num_sent) + " times"));
    } else {
      KVFERRY_RETURN_IF_ERROR(expect(outcome.num_received == outcome.num_arrivals,
                                     name + "accepted " + std::to_string(outcome.num_arrivals) +
                                         " times, completed " +
                                         std::to_string(outcome.num_received)));
    }
  }
  return pair.verdict();
}

/// Poisons all memory that `side` gave to its link. Returns what may be looked at afterwards: the
/// destinations that had arrived whole by then are checked before.
Status poison_memory_of(LinkPair& pair, Side side, const std::vector<ContractOffer*>& offers) {
  for (ContractOffer* offer : offers) {
    if (offer->from == side) {
      poison(*offer->source);
      continue;
    }
    const OfferOutcome outcome = pair.outcome(*offer);
    if (outcome.num_received == 1 && outcome.received.is_ok()) {
      KVFERRY_RETURN_IF_ERROR(expect_delivered(*offer));
    }
    poison(*offer->destination);
  }
  return {};
}

Status expect_memory_untouched(Side side, const std::vector<ContractOffer*>& offers) {
  for (const ContractOffer* offer : offers) {
    const std::string whose = "memory of the quiet " + std::string(side_name(side)) + " side";
    KVFERRY_RETURN_IF_ERROR(offer->from == side ? expect_poison(*offer->source, whose)
                                                : expect_poison(*offer->destination, whose));
  }
  return {};
}

/// What reached `side` whole is right, though the other side has reused its sources since its
/// on_quiet: for links that promise so.
Status expect_no_torn_delivery(LinkPair& pair, Side side,
                               const std::vector<ContractOffer*>& offers) {
  if (!pair.capabilities(side).fences_sources) return {};
  for (const ContractOffer* offer : from(other(side), offers)) {
    const OfferOutcome outcome = pair.outcome(*offer);
    if (outcome.num_received == 0 || !outcome.received.is_ok()) continue;
    KVFERRY_RETURN_IF_ERROR(
        expect_delivered(*offer).with_context("a source was read after its side's on_quiet"));
  }
  return {};
}

/// Closes left while offers of all stages are under way, `num_before` of them ended; then right.
Status close_with_work_in_flight(TransportContractFixture& fixture, int num_before) {
  KVFERRY_ASSIGN_OR_RETURN(const auto pair, LinkPair::open(fixture));
  const std::vector<ContractOffer*> offers = add_both_ways(*pair, 24, size_t{1} << 20U);
  for (ContractOffer* offer : offers) pair->start(*offer);
  const auto num_ended = [&] {
    return std::ranges::count_if(
        offers, [&](const ContractOffer* offer) { return pair->outcome(*offer).num_received > 0; });
  };
  pair->wait_for([&] { return num_ended() >= num_before; }, std::chrono::seconds(20));

  pair->close(Side::kLeft);
  KVFERRY_RETURN_IF_ERROR(pair->wait_quiet(Side::kLeft));
  KVFERRY_RETURN_IF_ERROR(expect_ended(*pair, Side::kLeft, offers));
  KVFERRY_RETURN_IF_ERROR(poison_memory_of(*pair, Side::kLeft, offers));

  pair->wait_for([] { return false; }, kSilence);  // the right side works on meanwhile
  pair->close(Side::kRight);
  KVFERRY_RETURN_IF_ERROR(pair->wait_quiet(Side::kRight));
  KVFERRY_RETURN_IF_ERROR(expect_ended(*pair, Side::kRight, offers));
  KVFERRY_RETURN_IF_ERROR(expect_memory_untouched(Side::kLeft, offers));
  KVFERRY_RETURN_IF_ERROR(expect_no_torn_delivery(*pair, Side::kRight, offers));

  pair->wait_for([] { return false; }, kSilence);
  KVFERRY_RETURN_IF_ERROR(expect_memory_untouched(Side::kLeft, offers));
  return pair->verdict();
}

Status both_close_at_once(TransportContractFixture& fixture) {
  KVFERRY_ASSIGN_OR_RETURN(const auto pair, LinkPair::open(fixture));
  const std::vector<ContractOffer*> offers = add_both_ways(*pair, 16, size_t{1} << 19U);
  for (ContractOffer* offer : offers) pair->start(*offer);
  pair->close(Side::kLeft);
  pair->close(Side::kRight);
  for (const Side side : {Side::kLeft, Side::kRight}) {
    KVFERRY_RETURN_IF_ERROR(pair->wait_quiet(side));
    KVFERRY_RETURN_IF_ERROR(expect_ended(*pair, side, offers));
  }
  return {};
}

Status close_is_idempotent(TransportContractFixture& fixture) {
  KVFERRY_ASSIGN_OR_RETURN(const auto pair, LinkPair::open(fixture));
  pair->start(pair->add(Side::kLeft, 1U << 18U));
  KVFERRY_RETURN_IF_ERROR(pair->run(Side::kLeft, [&](Link&) {
    pair->close_here(Side::kLeft);
    pair->close_here(Side::kLeft);
    return Status();
  }));
  KVFERRY_RETURN_IF_ERROR(pair->wait_quiet(Side::kLeft, 2));
  pair->close(Side::kLeft);
  return pair->wait_quiet(Side::kLeft, 3);
}

Status close_without_connect(TransportContractFixture& fixture) {
  KVFERRY_ASSIGN_OR_RETURN(const auto pair, LinkPair::open(fixture, false));
  pair->close(Side::kLeft);
  KVFERRY_RETURN_IF_ERROR(pair->wait_quiet(Side::kLeft));
  const Status late = pair->connect(Side::kLeft);
  return expect(!late.is_ok(), "a closed link could be connected");
}

Status closed_link_cancels_offers(TransportContractFixture& fixture) {
  KVFERRY_ASSIGN_OR_RETURN(const auto pair, LinkPair::open(fixture));
  ContractOffer& offer = pair->add(Side::kLeft, 4096);
  KVFERRY_RETURN_IF_ERROR(pair->run(Side::kLeft, [&](Link&) {
    pair->close_here(Side::kLeft);
    pair->start_here(offer);
    return Status();
  }));
  KVFERRY_RETURN_IF_ERROR(pair->wait_quiet(Side::kLeft));
  const OfferOutcome outcome = pair->outcome(offer);
  return expect(outcome.num_sent == 1 && outcome.sent.code() == StatusCode::kCancelled,
                "an offer after close() ended " + std::to_string(outcome.num_sent) + " times, " +
                    outcome.sent.to_string());
}

Status peer_close_ends_or_leaves_offers(TransportContractFixture& fixture) {
  KVFERRY_ASSIGN_OR_RETURN(const auto pair, LinkPair::open(fixture));
  std::vector<ContractOffer*> offers;
  while (offers.size() < 8) offers.push_back(&pair->add(Side::kLeft, size_t{1} << 20U));
  for (ContractOffer* offer : offers) pair->start(*offer);
  pair->close(Side::kRight);
  KVFERRY_RETURN_IF_ERROR(pair->wait_quiet(Side::kRight));
  ContractOffer& late = pair->add(Side::kLeft, 4096);
  offers.push_back(&late);
  pair->start(late);
  pair->wait_for([&] { return pair->outcome(late).num_sent > 0; }, kSilence);
  pair->close(Side::kLeft);
  KVFERRY_RETURN_IF_ERROR(pair->wait_quiet(Side::kLeft));
  return expect_ended(*pair, Side::kLeft, offers);
}

Status callbacks_may_close(TransportContractFixture& fixture) {
  for (const bool in_handler : {true, false}) {
    KVFERRY_ASSIGN_OR_RETURN(const auto pair, LinkPair::open(fixture));
    const std::vector<ContractOffer*> offers = add_both_ways(*pair, 4, 1U << 18U);
    for (ContractOffer* offer : from(Side::kRight, offers)) {
      (in_handler ? offer->on_arrival : offer->on_received) = [&pair] {
        if (pair->num_quiet(Side::kLeft) == 0) pair->close_here(Side::kLeft);
      };
    }
    for (ContractOffer* offer : offers) pair->start(*offer);
    const auto is_quiet = [&] { return pair->num_quiet(Side::kLeft) > 0; };
    KVFERRY_RETURN_IF_ERROR(expect(pair->wait_for(is_quiet, std::chrono::seconds(20)),
                                   "close() from a callback never became quiet"));
    KVFERRY_RETURN_IF_ERROR(pair->wait_sent(from(Side::kLeft, offers)));  // some are late
    KVFERRY_RETURN_IF_ERROR(expect_ended(*pair, Side::kLeft, offers));
  }
  return {};
}

Status on_quiet_may_destroy(TransportContractFixture& fixture) {
  KVFERRY_ASSIGN_OR_RETURN(const auto pair, LinkPair::open(fixture));
  const std::vector<ContractOffer*> offers = add_both_ways(*pair, 8, size_t{1} << 19U);
  for (ContractOffer* offer : offers) pair->start(*offer);
  std::atomic<bool> destroyed = false;
  KVFERRY_RETURN_IF_ERROR(pair->run(Side::kLeft, [&](Link& own) {
    own.close([&] {
      pair->destroy_here(Side::kLeft);
      destroyed = true;
      fixture.notify();
    });
    return Status();
  }));
  KVFERRY_RETURN_IF_ERROR(
      expect(pair->wait_for([&] { return destroyed.load(); }, std::chrono::seconds(20)),
             "on_quiet never came"));
  return expect_ended(*pair, Side::kLeft, offers);
}

Status destroyed_link_touches_nothing(TransportContractFixture& fixture) {
  KVFERRY_ASSIGN_OR_RETURN(const auto pair, LinkPair::open(fixture));
  const std::vector<ContractOffer*> offers = add_both_ways(*pair, 16, size_t{1} << 20U);
  for (ContractOffer* offer : offers) pair->start(*offer);
  pair->destroy(Side::kLeft);
  KVFERRY_RETURN_IF_ERROR(poison_memory_of(*pair, Side::kLeft, offers));
  pair->wait_for([] { return false; }, kSilence);
  pair->close(Side::kRight);
  KVFERRY_RETURN_IF_ERROR(pair->wait_quiet(Side::kRight));
  KVFERRY_RETURN_IF_ERROR(expect_ended(*pair, Side::kRight, offers));
  KVFERRY_RETURN_IF_ERROR(expect_no_torn_delivery(*pair, Side::kRight, offers));
  return expect_memory_untouched(Side::kLeft, offers);
}

Status connect_refuses_garbage(TransportContractFixture& fixture) {
  KVFERRY_ASSIGN_OR_RETURN(const auto pair, LinkPair::open(fixture, false));
  std::string right;
  KVFERRY_RETURN_IF_ERROR(pair->run(Side::kRight, [&](Link& link) {
    right = link.address();
    return Status();
  }));
  std::string bent = right;
  bent.front() = static_cast<char>(bent.front() + 1);
  for (const std::string& garbage :
       {std::string(), std::string("garbage"), right + "x", bent, std::string(70000, 'x')}) {
    const Status status = pair->run(Side::kLeft, [&](Link& link) { return link.connect(garbage); });
    KVFERRY_RETURN_IF_ERROR(expect(status.code() == StatusCode::kInvalidArgument,
                                   "connect to a wrong address of " +
                                       std::to_string(garbage.size()) + " bytes returned " +
                                       status.to_string()));
  }
  KVFERRY_RETURN_IF_ERROR(pair->connect(Side::kLeft));  // no harm done
  const Status again = pair->connect(Side::kLeft);
  return expect(again.code() == StatusCode::kFailedPrecondition,
                "a second connect returned " + again.to_string());
}

Status offer_needs_connect(TransportContractFixture& fixture) {
  KVFERRY_ASSIGN_OR_RETURN(const auto pair, LinkPair::open(fixture, false));
  ContractOffer& offer = pair->add(Side::kLeft, 4096);
  pair->start(offer);
  KVFERRY_RETURN_IF_ERROR(pair->wait_sent({&offer}));
  const Status sent = pair->outcome(offer).sent;
  return expect(sent.code() == StatusCode::kFailedPrecondition,
                "an offer on a link not connected ended " + sent.to_string());
}

Status offers_wait_for_connect(TransportContractFixture& fixture) {
  KVFERRY_ASSIGN_OR_RETURN(const auto pair, LinkPair::open(fixture, false));
  KVFERRY_RETURN_IF_ERROR(pair->connect(Side::kLeft));
  std::vector<ContractOffer*> offers;
  for (const size_t payload_bytes : {0U, 100U, 1U << 18U}) {
    offers.push_back(&pair->add(Side::kLeft, payload_bytes));
    pair->start(*offers.back());
  }
  pair->wait_for([] { return false; }, kSilence);
  for (const ContractOffer* offer : offers) {
    KVFERRY_RETURN_IF_ERROR(expect(pair->outcome(*offer).num_arrivals == 0,
                                   "an offer arrived before its receiver called connect()"));
  }
  KVFERRY_RETURN_IF_ERROR(pair->connect(Side::kRight));
  KVFERRY_RETURN_IF_ERROR(pair->wait_received(offers));
  KVFERRY_RETURN_IF_ERROR(pair->wait_sent(offers));
  for (const ContractOffer* offer : offers) KVFERRY_RETURN_IF_ERROR(expect_delivered(*offer));
  return {};
}

}  // namespace

std::vector<TransportContractCase> transport_lifecycle_cases() {
  return {
      {"CloseAtOnce", [](auto& fixture) { return close_with_work_in_flight(fixture, 0); }},
      {"CloseInMidFlight", [](auto& fixture) { return close_with_work_in_flight(fixture, 5); }},
      {"BothCloseAtOnce", both_close_at_once},
      {"CloseIsIdempotent", close_is_idempotent},
      {"CloseWithoutConnect", close_without_connect},
      {"ClosedLinkCancelsOffers", closed_link_cancels_offers},
      {"PeerCloseEndsOrLeavesOffers", peer_close_ends_or_leaves_offers},
      {"CallbacksMayClose", callbacks_may_close},
      {"OnQuietMayDestroy", on_quiet_may_destroy},
      {"DestroyedLinkTouchesNothing", destroyed_link_touches_nothing},
      {"ConnectRefusesGarbage", connect_refuses_garbage},
      {"OfferNeedsConnect", offer_needs_connect},
      {"OffersWaitForConnect", offers_wait_for_connect},
  };
}

}  // namespace kvferry
