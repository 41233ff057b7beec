#include "conformance/transport_contract.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>
#include <utility>

#include "conformance/transport_contract_cases.h"
#include "conformance/transport_contract_pair.h"

namespace kvferry {
namespace {

class HostContractMemory final : public ContractMemory {
 public:
  explicit HostContractMemory(size_t bytes) : bytes_(bytes) {}

  std::span<std::byte> bytes() override { return bytes_; }
  std::vector<std::byte> read() const override { return bytes_; }
  void write(std::span<const std::byte> contents) override {
    std::ranges::copy(contents, bytes_.begin());
  }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace

std::unique_ptr<ContractMemory> TransportContractFixture::allocate(Side /*side*/, size_t bytes) {
  return std::make_unique<HostContractMemory>(bytes);
}

bool TransportContractFixture::run_until(const std::function<bool()>& done, Duration limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (;;) {
    uint64_t seen = 0;
    {
      MutexLock lock(mutex_);
      seen = changes_;
    }
    if (done()) return true;
    MutexLock lock(mutex_);
    while (changes_ == seen) {
      if (!changed_.wait_until(mutex_, deadline)) return false;
    }
  }
}

void TransportContractFixture::notify() {
  {
    MutexLock lock(mutex_);
    ++changes_;
  }
  changed_.notify_all();
}

namespace {

Status check_delivered(LinkPair& pair, const ContractOffer& offer) {
  const OfferOutcome outcome = pair.outcome(offer);
  const std::string name = "offer " + std::to_string(offer.id) + " of " +
                           std::to_string(offer.source->size()) + " bytes";
  KVFERRY_RETURN_IF_ERROR(outcome.sent.with_context(name + ": on_sent"));
  KVFERRY_RETURN_IF_ERROR(outcome.received.with_context(name + ": on_received"));
  KVFERRY_RETURN_IF_ERROR(
      expect(outcome.num_arrivals == 1,
             name + " arrived " + std::to_string(outcome.num_arrivals) + " times"));
  KVFERRY_RETURN_IF_ERROR(expect(outcome.header_intact, name + ": the header arrived changed"));
  return expect_delivered(offer);
}

Status transfer(LinkPair& pair, const std::vector<ContractOffer*>& offers) {
  for (ContractOffer* offer : offers) pair.start(*offer);
  KVFERRY_RETURN_IF_ERROR(pair.wait_received(offers));
  KVFERRY_RETURN_IF_ERROR(pair.wait_sent(offers));
  for (ContractOffer* offer : offers) KVFERRY_RETURN_IF_ERROR(check_delivered(pair, *offer));
  return {};
}

TransportContractCase bytes_arrive_intact(const std::string& size_name, size_t payload_bytes) {
  return {"BytesArriveIntact" + size_name,
          [payload_bytes](TransportContractFixture& fixture) -> Status {
            KVFERRY_ASSIGN_OR_RETURN(const auto pair, LinkPair::open(fixture));
            KVFERRY_RETURN_IF_ERROR(transfer(*pair, {&pair->add(Side::kLeft, payload_bytes)}));
            return transfer(*pair, {&pair->add(Side::kRight, payload_bytes)});
          }};
}

Status largest_header_arrives(TransportContractFixture& fixture) {
  KVFERRY_ASSIGN_OR_RETURN(const auto pair, LinkPair::open(fixture));
  const size_t most = pair->capabilities(Side::kLeft).max_header_bytes;
  KVFERRY_RETURN_IF_ERROR(
      expect(most >= 1024, "max_header_bytes is " + std::to_string(most) + ", below 1024"));
  std::vector<ContractOffer*> offers;
  for (const size_t payload_bytes : {0U, 100U, 5000U, 1U << 18U}) {
    for (const Side side : {Side::kLeft, Side::kRight}) {
      offers.push_back(&pair->add(side, payload_bytes, most));
    }
  }
  return transfer(*pair, offers);
}

Status larger_header_is_refused(TransportContractFixture& fixture) {
  KVFERRY_ASSIGN_OR_RETURN(const auto pair, LinkPair::open(fixture));
  const size_t most = pair->capabilities(Side::kLeft).max_header_bytes;
  ContractOffer& offer = pair->add(Side::kLeft, 4096, most + 1);
  pair->start(offer);
  KVFERRY_RETURN_IF_ERROR(pair->wait_sent({&offer}));
  const Status sent = pair->outcome(offer).sent;
  KVFERRY_RETURN_IF_ERROR(expect(sent.code() == StatusCode::kInvalidArgument,
                                 "a header of max_header_bytes + 1 ended " + sent.to_string()));
  return transfer(*pair, {&pair->add(Side::kLeft, 4096)});  // the link still works
}

Status many_offers_both_ways(TransportContractFixture& fixture) {
  constexpr int kOffersPerSide = 200;
  constexpr std::array<size_t, 6> kSizes = {1, 4096, 256 * 1024, 0, 12345, 65536};
  KVFERRY_ASSIGN_OR_RETURN(const auto pair, LinkPair::open(fixture));
  std::vector<ContractOffer*> offers;
  for (size_t i = 0; i < kOffersPerSide; ++i) {
    for (const Side side : {Side::kLeft, Side::kRight}) {
      offers.push_back(&pair->add(side, kSizes.at(i % kSizes.size())));
    }
  }
  return transfer(*pair, offers);
}

Status refusal_ends_the_offer(TransportContractFixture& fixture) {
  KVFERRY_ASSIGN_OR_RETURN(const auto pair, LinkPair::open(fixture));
  for (const size_t payload_bytes : {0U, 16U, 1U << 18U}) {
    ContractOffer& offer = pair->add(Side::kLeft, payload_bytes);
    offer.answer = Answer::kRefuse;
    pair->start(offer);
    KVFERRY_RETURN_IF_ERROR(pair->wait_sent({&offer}));
    const Status sent = pair->outcome(offer).sent;
    KVFERRY_RETURN_IF_ERROR(expect(sent.is_ok() || sent.code() == StatusCode::kFailedPrecondition,
                                   "a refused offer ended " + sent.to_string()));
    // One more there and back: whatever followed the refusal has been done by then.
    KVFERRY_RETURN_IF_ERROR(transfer(*pair, {&pair->add(Side::kLeft, 70000)}));
    KVFERRY_RETURN_IF_ERROR(transfer(*pair, {&pair->add(Side::kRight, 70000)}));
    KVFERRY_RETURN_IF_ERROR(expect_poison(*offer.destination, "memory of a refused offer"));
    KVFERRY_RETURN_IF_ERROR(expect(pair->outcome(offer).num_received == 0,
                                   "a refused offer was completed for the receiver"));
  }
  return {};
}

Status source_is_free_once_sent(TransportContractFixture& fixture) {
  KVFERRY_ASSIGN_OR_RETURN(const auto pair, LinkPair::open(fixture));
  std::vector<ContractOffer*> offers;
  for (int round = 0; round < 8; ++round) {
    for (const size_t payload_bytes : {100U, 4096U, 4097U, 1U << 18U, 1U << 20U}) {
      ContractOffer& offer = pair->add(Side::kLeft, payload_bytes);
      offer.on_sent = [&offer] { poison(*offer.source); };
      offers.push_back(&offer);
    }
  }
  return transfer(*pair, offers);
}

Status larger_destination_keeps_its_tail(TransportContractFixture& fixture) {
  KVFERRY_ASSIGN_OR_RETURN(const auto pair, LinkPair::open(fixture));
  std::vector<ContractOffer*> offers;
  for (const size_t payload_bytes : {0U, 3U, 4095U, 4096U, 5001U, 262147U}) {
    offers.push_back(&pair->add(Side::kLeft, payload_bytes));
    pair->replace_destination(*offers.back(), payload_bytes + 100000);
  }
  return transfer(*pair, offers);
}

Status smaller_destination_is_an_error(TransportContractFixture& fixture) {
  KVFERRY_ASSIGN_OR_RETURN(const auto pair, LinkPair::open(fixture));
  for (const size_t payload_bytes : {64U, 1U << 18U}) {
    ContractOffer& offer = pair->add(Side::kLeft, payload_bytes);
    pair->replace_destination(offer, payload_bytes - 1);
    pair->start(offer);
    KVFERRY_RETURN_IF_ERROR(pair->wait_received({&offer}));
    KVFERRY_RETURN_IF_ERROR(pair->wait_sent({&offer}));
    const Status received = pair->outcome(offer).received;
    KVFERRY_RETURN_IF_ERROR(expect(received.code() == StatusCode::kInvalidArgument,
                                   "a destination one byte short ended " + received.to_string()));
    KVFERRY_RETURN_IF_ERROR(expect_poison(*offer.destination, "a destination too small"));
  }
  return {};
}

Status callbacks_may_offer(TransportContractFixture& fixture) {
  KVFERRY_ASSIGN_OR_RETURN(const auto pair, LinkPair::open(fixture));
  std::vector<ContractOffer*> offers;
  for (const size_t payload_bytes : {10U, 1U << 17U}) {
    ContractOffer& first = pair->add(Side::kLeft, payload_bytes);
    ContractOffer& from_handler = pair->add(Side::kRight, payload_bytes);
    ContractOffer& from_received = pair->add(Side::kRight, payload_bytes);
    ContractOffer& from_sent = pair->add(Side::kLeft, payload_bytes);
    first.on_arrival = [&] { pair->start_here(from_handler); };
    first.on_received = [&] { pair->start_here(from_received); };
    first.on_sent = [&] { pair->start_here(from_sent); };
    pair->start(first);
    offers = {&first, &from_handler, &from_received, &from_sent};
    KVFERRY_RETURN_IF_ERROR(pair->wait_received(offers));
    KVFERRY_RETURN_IF_ERROR(pair->wait_sent(offers));
    for (ContractOffer* offer : offers) KVFERRY_RETURN_IF_ERROR(check_delivered(*pair, *offer));
  }
  return {};
}

Status idle_link_sleeps(TransportContractFixture& fixture) {
  KVFERRY_ASSIGN_OR_RETURN(const auto pair, LinkPair::open(fixture));
  KVFERRY_RETURN_IF_ERROR(transfer(*pair, {&pair->add(Side::kLeft, 1U << 18U)}));
  const std::clock_t before = std::clock();
  pair->wait_for([] { return false; }, std::chrono::milliseconds(500));
  const double used = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
  return expect(used < 0.05, "a process with two idle links used " + std::to_string(used) +
                                 " s of CPU within 0.5 s");
}

}  // namespace

std::vector<TransportContractCase> transport_contract_cases() {
  std::vector<TransportContractCase> cases = {
      bytes_arrive_intact("0", 0),
      bytes_arrive_intact("1", 1),
      bytes_arrive_intact("4KiB", 4096),
      bytes_arrive_intact("256KiB", size_t{256} * 1024),
      bytes_arrive_intact("1MiB", size_t{1} << 20U),
      bytes_arrive_intact("8MiBAndOne", (size_t{8} << 20U) + 1),
      {"LargestHeaderArrives", largest_header_arrives},
      {"LargerHeaderIsRefused", larger_header_is_refused},
      {"ManyOffersBothWays", many_offers_both_ways},
      {"RefusalEndsTheOffer", refusal_ends_the_offer},
      {"SourceIsFreeOnceSent", source_is_free_once_sent},
      {"LargerDestinationKeepsItsTail", larger_destination_keeps_its_tail},
      {"SmallerDestinationIsAnError", smaller_destination_is_an_error},
      {"CallbacksMayOffer", callbacks_may_offer},
      {"IdleLinkSleeps", idle_link_sleeps, true},
  };
  for (TransportContractCase& lifecycle : transport_lifecycle_cases()) {
    cases.push_back(std::move(lifecycle));
  }
  return cases;
}

}  // namespace kvferry
