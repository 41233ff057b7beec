#pragma once

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "runtime/control/messages.h"
#include "runtime/telemetry/flight_recorder.h"
#include "runtime/telemetry/log_limit.h"
#include "runtime/transfer/chunk_transfer.h"
#include "runtime/transfer/engine_context.h"
#include "runtime/transfer/slot_sharing.h"
#include "runtime/transfer/transfer_states.h"

namespace kvferry {

/// How chunks are fetched as they lie in a peer's memory.
struct ObjectFetchOptions {
  FetchPriority priority = FetchPriority::kForeground;
  Duration timeout = Duration::zero();   ///< 0: none
  MemoryAllocator* allocator = nullptr;  ///< of their memory here
  /// Once for each: verified, or why not. After a timeout the memory may still be written; the last
  /// reference to `keep` goes when none of it is.
  std::function<void(size_t item, Result<MemoryObjPtr> obj)> on_object;
  std::shared_ptr<void> keep = {};
};

/// The destination side of all transfers with one peer: asks for chunks, owns the landing memory,
/// publishes what is verified, fetches again what is not. The states of an item, and what leads
/// from one to the next, are in transfer_states.h.
///
/// Threads: the control executor.
class ChunkReceiver final : public SlotUser {
 public:
  struct Outputs {
    std::function<void(const ControlMessage&)> send_message;
    std::function<void(std::shared_ptr<IncomingChunk>)> expect_chunk;  ///< to the data path
    std::function<void(uint64_t transfer_id, const Status&)> abandon_chunk;
    TransferRecorder record = {};
  };

  ChunkReceiver(EngineContext& context, std::string peer, Outputs outputs);

  void fetch(FetchId id, std::vector<FetchItem> items, FetchOptions options);
  void fetch_objects(FetchId id, const std::vector<CacheEngineKey>& keys,
                     ObjectFetchOptions options);
  /// Ends what has not arrived of a fetch with `status`: at once what was not granted, the rest
  /// when its pages are quiet.
  void end_fetch(FetchId id, const Status& status);

  void on_offer(const OfferMessage& offer);
  void on_unserved(const UnservedMessage& unserved);
  void on_abandon(const AbandonMessage& abandon);
  /// The pages of a chunk that was given up are quiet.
  void on_abandoned(uint64_t transfer_id);
  /// The landing memory of a granted chunk is quiet.
  void on_received(uint64_t transfer_id, const Status& status);

  bool wants_slot(FetchPriority priority) const override;
  /// Grants the next offer, or refuses it.
  bool use_slot(FetchPriority priority) override;
  size_t slots_held() const override { return granted_.size(); }

  /// Something was granted, and has not moved for transfer_timeout, or the peer has answered
  /// nothing for as long, and nothing that it sends has moved either.
  bool is_stuck(TimePoint now) const;

  /// Ends everything with `status`, after the data path is quiet.
  void end(const Status& status);

 private:
  /// Where the answer to a request is expected: item `item` of message `fetch_id`.
  struct Place {
    uint64_t fetch_id = 0;
    uint32_t item = 0;
  };
  struct Item {
    FetchItem want;
    MemoryObjPtr object = {};  ///< of a fetch of objects, once it is granted
    int refetches = 0;
    DestinationState state = DestinationState::kPlanned;
    Place place = {};          ///< while it is requested or offered
    uint64_t transfer_id = 0;  ///< while it is offered or granted
  };
  struct Fetch {
    FetchId id = 0;
    FetchOptions options;
    MemoryAllocator* allocator = nullptr;  ///< of a fetch of objects
    std::shared_ptr<void> keep;            ///< goes after the objects
    Status end_status;                     ///< once it was ended before all had arrived
    std::vector<Item> items;
    size_t open_items = 0;
    size_t num_verified = 0;
    TimePoint deadline = TimePoint::max();
  };
  /// Item `index` of a fetch.
  struct Wanted {
    std::shared_ptr<Fetch> fetch;
    size_t index = 0;

    Item& item() const { return fetch->items[index]; }
    size_t priority() const { return static_cast<size_t>(fetch->options.priority); }
  };
  /// What one FetchMessage asked for, all of one fetch. The peer answers for each item once, by an
  /// offer or a refusal; a place is empty when its item is granted or has ended.
  struct Request {
    std::vector<std::optional<Wanted>> items;
    size_t open_items = 0;
  };
  struct WaitingOffer {
    OfferMessage offer;
    TimePoint since{};
  };
  struct Granted {
    Wanted wanted;
    MemoryObjPtr slot;  ///< of the landing pool: one for each chunk that is granted
    LeaseId landing;
    OfferMessage offer;
    TimePoint granted_at{};
    std::shared_ptr<const ChunkProgress> progress;
  };

  /// What an offered chunk lands in, and how.
  struct Landing {
    ChunkPlan plan;
    MemoryObjPtr memory;
  };

  void begin(const std::shared_ptr<Fetch>& fetch);
  /// Asks for what is planned, as far as the peer is to know of it at a time.
  void request_planned();
  void request(const std::vector<Wanted>& wanted);
  bool is_taken_up(const OfferMessage& offer);
  /// False when the landing pool has nothing left.
  bool grant(WaitingOffer waiting);
  void refuse(const OfferMessage& offer, const Wanted& wanted, const Status& status);
  size_t waiting_record_bytes() const;
  Result<Landing> prepare(const OfferMessage& offer, const Wanted& wanted,
                          const MemoryObjPtr& slot) const;
  Result<Landing> prepare_pages(const OfferMessage& offer, const FetchItem& want,
                                const MemoryObjPtr& slot) const;
  Result<Landing> prepare_object(const OfferMessage& offer, const CacheEngineKey& key,
                                 MemoryAllocator& allocator) const;
  Status compare(const OfferMessage& offer, const ChunkPlan& plan) const;
  /// The item that an answer is for; null if none is expected there (any more).
  Wanted* find_requested(uint64_t fetch_id, uint32_t item);
  Wanted take_requested(const Place& place);
  void refuse_unasked(const OfferMessage& offer);
  void refuse_unwanted_offers();
  /// Takes `event` to an item, and tells its owner if that was its end. False: it changed nothing.
  bool advance(const Wanted& wanted, DestinationEvent event, const Status& status);
  Status said_by_peer(StatusCode code, const std::string& reason) const;
  /// A timer is set for a deadline that is earlier than all that are set: fetches that end in time
  /// leave nothing behind, and a timer that was set for later is used, not set again.
  void set_timer();
  void end_late_fetches();
  void on_failed(const Wanted& wanted, uint64_t transfer_id, const Status& status);
  /// Asks for it again: before all others, or after a pause.
  void plan_first(const Wanted& wanted);
  void plan_later(const Wanted& wanted, Duration delay);
  TimePoint now() const { return context_.control.clock().now(); }

  EngineContext& context_;
  const std::string peer_;
  Outputs outputs_;
  std::map<FetchId, std::shared_ptr<Fetch>> fetches_;  // with open items
  std::set<std::pair<TimePoint, FetchId>> deadlines_;  // of those that have one
  std::set<TimePoint> timers_;                         // that are set
  std::array<std::deque<Wanted>, kNumPriorities> planned_;
  std::array<size_t, kNumPriorities> num_requested_{};  // and not granted or ended
  std::unordered_map<uint64_t, Request> requested_;     // by the id of the message
  uint64_t next_request_id_ = 1;
  std::array<std::deque<WaitingOffer>, kNumPriorities> waiting_offers_;
  std::unordered_map<uint64_t, Granted> granted_;  // by transfer id
  TimePoint last_progress_{};
  bool ended_ = false;
  Status end_status_;
  LogLimit log_;  // of what the peer provokes
  // Timers hold it weakly: they do nothing once this is gone.
  const std::shared_ptr<ChunkReceiver*> self_ = std::make_shared<ChunkReceiver*>(this);
};

}  // namespace kvferry
