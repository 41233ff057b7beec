#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "conformance/expect.h"
#include "conformance/transport_contract.h"

namespace kvferry {

/// How the receiving side answers an offer.
enum class Answer : uint8_t { kAccept, kRefuse };

/// One offer of a case: its memory on both sides, and what is to happen at its steps.
struct ContractOffer {
  uint64_t id = 0;
  Side from = Side::kLeft;
  Answer answer = Answer::kAccept;
  std::vector<std::byte> header;  // begins with the id
  std::unique_ptr<ContractMemory> source;
  std::unique_ptr<ContractMemory> destination;
  // Called on the executor of the side concerned; may be empty.
  std::function<void()> on_arrival;  // from within the offer handler
  std::function<void()> on_sent;
  std::function<void()> on_received;
};

/// What has become of an offer.
struct OfferOutcome {
  int num_arrivals = 0;
  int num_sent = 0;      // times that on_sent was called
  int num_received = 0;  // times that on_received was called
  bool header_intact = false;
  bool was_late = false;  // made after its side's on_quiet
  Status sent;
  Status received;
};

/// Two connected links and a record of all that happens on them.
///
/// It notes by itself what no case may see: a callback off its executor, from within offer() or
/// close(), twice, or after on_quiet. verdict() says so.
///
/// Threads: the case's thread, save for what says otherwise
class LinkPair {
 public:
  /// `connect` false: handlers are set, connecting is left to the case.
  static Result<std::unique_ptr<LinkPair>> open(TransportContractFixture& fixture,
                                                bool connect = true);
  /// Closes what is open, waits for quiet, destroys the links on their executors.
  ~LinkPair();
  LinkPair(const LinkPair&) = delete;
  LinkPair& operator=(const LinkPair&) = delete;

  /// A new offer: the source filled with a pattern, the destination with poison.
  ContractOffer& add(Side from, size_t payload_bytes, size_t header_bytes = 16);
  /// Another one of that size, filled with poison.
  void replace_destination(ContractOffer& offer, size_t bytes);
  /// Posts the offer to its side's executor.
  void start(ContractOffer& offer);
  /// The same from that executor.
  void start_here(ContractOffer& offer);
  void close(Side side);
  /// The same from that side's executor.
  void close_here(Side side);
  void destroy(Side side);
  /// The same from that side's executor.
  void destroy_here(Side side);
  Status connect(Side side);

  /// Runs `task` on the side's executor and waits for its end.
  Status run(Side side, const std::function<Status(Link&)>& task);

  Status wait_sent(const std::vector<ContractOffer*>& offers);
  Status wait_received(const std::vector<ContractOffer*>& offers);
  /// Waits for the `times`-th on_quiet.
  Status wait_quiet(Side side, int times = 1);
  bool wait_for(const std::function<bool()>& done, Duration limit);

  OfferOutcome outcome(const ContractOffer& offer) const KVFERRY_EXCLUDES(mutex_);
  int num_quiet(Side side) const KVFERRY_EXCLUDES(mutex_);
  LinkCapabilities capabilities(Side side);
  /// Everything noted so far that must not happen.
  Status verdict() const KVFERRY_EXCLUDES(mutex_);

 private:
  explicit LinkPair(TransportContractFixture& fixture) : fixture_(fixture) {}

  Status open_side(Side side);
  OfferReply answer(Side side, std::span<const std::byte> header, size_t payload_bytes);
  void note_completion(const ContractOffer& offer, Side side, const Status& status, bool is_send);
  void note_violation(const std::string& what) KVFERRY_EXCLUDES(mutex_);
  std::unique_ptr<Link>& link(Side side) { return links_.at(static_cast<size_t>(side)); }

  TransportContractFixture& fixture_;
  // Each link, and the flag beside it, on its executor only.
  std::array<std::unique_ptr<Link>, 2> links_;
  std::array<bool, 2> inside_call_{};

  std::array<std::string, 2> addresses_;
  uint64_t offers_made_ = 0;

  mutable Mutex mutex_;
  std::unordered_map<uint64_t, std::unique_ptr<ContractOffer>> offers_ KVFERRY_GUARDED_BY(mutex_);
  std::unordered_map<uint64_t, OfferOutcome> outcomes_ KVFERRY_GUARDED_BY(mutex_);
  std::array<int, 2> num_quiet_ KVFERRY_GUARDED_BY(mutex_) = {};
  std::array<bool, 2> destroyed_ KVFERRY_GUARDED_BY(mutex_) = {};
  std::vector<std::string> violations_ KVFERRY_GUARDED_BY(mutex_);
};

constexpr std::byte kPoison{0xDB};

/// OK if the destination holds exactly the payload that the offer was made with, and poison after.
Status expect_delivered(const ContractOffer& offer);
/// OK if every byte is poison.
Status expect_poison(const ContractMemory& memory, const std::string& what);
/// Makes every byte poison.
void poison(ContractMemory& memory);

}  // namespace kvferry
