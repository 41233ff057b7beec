#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
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

/// The source side of all transfers with one peer: serves its fetches, chunk by chunk. The states
/// of a chunk, and what leads from one to the next, are in transfer_states.h.
///
/// A source is released when the peer has acknowledged *and* the own link needs it no more. The
/// number of chunks that are posted or draining is bounded by the staging pool: that is the credit.
///
/// Threads: the control executor.
class ChunkSender final : public SlotUser {
 public:
  struct Outputs {
    std::function<void(const ControlMessage&)> send_message;
    std::function<void(std::shared_ptr<OutgoingChunk>)> send_chunk;  ///< to the data path
    /// kNotFound: it is not in memory.
    std::function<Result<OpenObject>(const CacheEngineKey&)> open_object = nullptr;
    /// Nothing gets through any more.
    std::function<void(const Status&)> give_up_link;
    size_t max_header_bytes = 0;  ///< of the data path
    TransferRecorder record = {};
  };

  ChunkSender(EngineContext& context, std::string peer, Outputs outputs);

  void on_fetch(FetchMessage fetch);
  void on_withdraw(const WithdrawMessage& withdraw);
  void on_grant(const GrantMessage& grant);
  void on_ack(const AckMessage& ack);
  /// The data path is done with the staging memory.
  void on_sent(uint64_t transfer_id, const Status& status);

  bool wants_slot(FetchPriority priority) const override;
  /// Offers the next chunk, or says that it cannot be served.
  bool use_slot(FetchPriority priority) override;
  size_t slots_held() const override { return posted_.size(); }

  /// Something was granted, and has not moved for transfer_timeout, or waits as an offer for four
  /// times as long while nothing moves.
  bool is_stuck(TimePoint now) const;

  /// Ends everything after the data path is quiet. Sources that the peer was granted are fenced if
  /// `peer_cannot_read`, else quarantined; returns the quarantined.
  std::vector<LeaseId> end(bool peer_cannot_read);

 private:
  /// What is left to do of a FetchMessage.
  struct Fetch {
    std::vector<ChunkRef> items;
    bool of_memory = false;
    size_t next = 0;

    size_t num_left() const { return items.size() - next; }
  };
  struct Planned {
    uint64_t fetch_id = 0;
    uint32_t item = 0;
    const ChunkRef& ref;
    bool of_memory = false;
  };
  /// A chunk that is open, and how it goes.
  struct Source {
    ChunkPlan plan;
    MemoryObjPtr memory;  ///< what the peer reads: staging, or the object
    int64_t fragment_bytes = 0;
    std::function<void()> release;  ///< nobody reads pages or object any more
    TimePoint opened_at{};
    std::vector<std::byte> record = {};
    std::shared_ptr<void> keep = {};
  };
  struct Posted {
    ChunkRef ref;
    SourceState state = SourceState::kPosted;
    LeaseId source;
    MemoryObjPtr slot;  ///< of the staging pool: one for each chunk that is offered
    std::function<void()> release;
    std::shared_ptr<OutgoingChunk> chunk;
    TimePoint offered_at{};
    TimePoint since{};    ///< offered, then granted
    TimePoint sent_at{};  ///< once it is
  };

  /// False when the staging pool has nothing left.
  bool offer(const Planned& planned);
  Result<Source> open_pages(const ChunkRef& ref, const MemoryObjPtr& staging);
  Result<Source> plan_pages(const ChunkRef& ref, const PagedChunk& pages,
                            const MemoryObjPtr& staging) const;
  Result<Source> open_object(const CacheEngineKey& key);
  Result<Source> plan_source(const CacheEngineKey& key, const MemoryObjPtr& obj) const;
  void post(const Planned& planned, Source source, MemoryObjPtr slot, TimePoint looked_up_at);
  void refuse(const Planned& planned, const Status& status);
  /// Counts and records the end of a chunk.
  void note_end(uint64_t transfer_id, const Posted& posted);
  void finish_if_ended(uint64_t transfer_id, Posted& posted);
  void ignore(const char* message, uint64_t transfer_id);
  TimePoint now() const { return context_.control.clock().now(); }

  EngineContext& context_;
  const std::string peer_;
  Outputs outputs_;
  std::array<std::map<uint64_t, Fetch>, kNumPriorities> planned_;  // by their ids, which grow
  size_t num_planned_ = 0;                                         // items of all
  std::unordered_map<uint64_t, Posted> posted_;
  TimePoint last_end_{};
  int failed_in_a_row_ = 0;  // chunks that the link did not take
  bool ended_ = false;
  LogLimit log_;  // of what the peer provokes
};

}  // namespace kvferry
