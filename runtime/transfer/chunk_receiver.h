#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "runtime/control/messages.h"
#include "runtime/transfer/chunk_transfer.h"
#include "runtime/transfer/engine_context.h"

namespace kvferry {

/// The destination side of all transfers with one peer: asks for chunks, owns the landing memory,
/// publishes what is verified, fetches again what is not.
///
/// Threads: the control executor.
class ChunkReceiver {
 public:
  struct Outputs {
    std::function<void(const ControlMessage&)> send_message;
    std::function<void(std::shared_ptr<IncomingChunk>)> expect_chunk;  ///< to the data path
    std::function<void(uint64_t transfer_id, const Status&)> abandon_chunk;
  };

  ChunkReceiver(EngineContext& context, std::string peer, Outputs outputs);

  void fetch(FetchId id, std::vector<FetchItem> items, FetchOptions options);
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

  /// Grants one offer, if one waits and the landing pool has room. False: neither.
  bool pump_one();

  /// Something was granted longer ago than transfer_timeout, or the peer has answered nothing for
  /// as long.
  bool is_stuck(TimePoint now) const;

  /// Ends everything with `status`, after the data path is quiet.
  void end(const Status& status);

 private:
  struct Item {
    FetchItem want;
    int refetches = 0;
  };
  struct Fetch {
    FetchId id = 0;
    Status end_status;  ///< once it was ended before all had arrived
    std::vector<Item> items;
    size_t open_items = 0;
    FetchOptions options;
  };
  /// Item `index` of a fetch.
  struct Wanted {
    std::shared_ptr<Fetch> fetch;
    size_t index = 0;
    bool is_offered = false;  ///< by the peer, once

    Item& item() const { return fetch->items[index]; }
  };
  /// What one FetchMessage asked for. The peer answers for each item once, by an offer or a
  /// refusal, and the answer empties its place: a second one finds nothing.
  struct Request {
    std::vector<std::optional<Wanted>> items;
    size_t open_items = 0;
  };
  struct Granted {
    Wanted wanted;
    LeaseId landing;
    OfferMessage offer;
    TimePoint granted_at{};
    bool is_finished = false;  ///< its item has ended; only the memory is waited for
  };

  void request(const std::vector<Wanted>& wanted);
  bool is_taken_up(const OfferMessage& offer) const;
  /// False when the landing pool has nothing left.
  bool grant(const OfferMessage& offer);
  Result<ChunkPlan> check_offer(const OfferMessage& offer, const Wanted& wanted) const;
  /// The place of an item that the peer has not answered for; null if there is none.
  Wanted* find_requested(uint64_t fetch_id, uint32_t item);
  Wanted take_requested(uint64_t fetch_id, uint32_t item);
  void refuse_unasked(const OfferMessage& offer);
  void refuse_unwanted_offers();
  void finish(const Wanted& wanted, const Status& status);
  void refetch_or_finish(const Wanted& wanted, const Status& status);
  /// Asks again after `delay`.
  void request_later(const Wanted& wanted, Duration delay);

  EngineContext& context_;
  const std::string peer_;
  Outputs outputs_;
  uint64_t next_fetch_id_ = 1;
  std::unordered_map<uint64_t, Request> requested_;  // by fetch id
  std::deque<OfferMessage> waiting_offers_;
  std::unordered_map<uint64_t, Granted> granted_;
  std::unordered_map<uint64_t, Wanted> pausing_;  // before they are asked for again
  uint64_t next_pause_ = 1;
  TimePoint last_progress_{};
  bool ended_ = false;
  Status end_status_;
  // Timers hold it weakly: they do nothing once this is gone.
  const std::shared_ptr<ChunkReceiver*> self_ = std::make_shared<ChunkReceiver*>(this);
};

}  // namespace kvferry
