#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <unordered_map>

#include "runtime/control/messages.h"
#include "runtime/transfer/chunk_transfer.h"
#include "runtime/transfer/engine_context.h"

namespace kvferry {

/// The source side of all transfers with one peer: serves its fetches, chunk by chunk.
///
///   fetch item -> planned -> (staging, offer) posted -> (grant) draining -> (ack) completed
///
/// A source is released when the peer has acknowledged *and* the own link needs it no more. The
/// number of chunks that are posted or draining is bounded by the staging pool: that is the credit.
///
/// Threads: the control executor.
class ChunkSender {
 public:
  struct Outputs {
    std::function<void(const ControlMessage&)> send_message;
    std::function<void(std::shared_ptr<OutgoingChunk>)> send_chunk;  ///< to the data path
    size_t max_header_bytes = 0;                                     ///< of the data path
  };

  ChunkSender(EngineContext& context, std::string peer, Outputs outputs);

  void on_fetch(FetchMessage fetch);
  void on_grant(const GrantMessage& grant);
  void on_ack(const AckMessage& ack);
  /// The data path is done with the staging memory.
  void on_sent(uint64_t transfer_id, const Status& status);

  /// Offers one chunk, if one is planned and the staging pool has room. False: neither.
  bool pump_one();

  /// Something was granted longer ago than transfer_timeout, or offered four times as long ago.
  bool is_stuck(TimePoint now) const;

  /// Ends everything after the data path is quiet. Sources that the peer was granted are fenced if
  /// `peer_cannot_read`, else quarantined; returns the quarantined.
  std::vector<LeaseId> end(bool peer_cannot_read);

 private:
  struct Planned {
    uint64_t fetch_id = 0;
    uint32_t item = 0;
    ChunkRef ref;
  };
  struct Posted {
    Planned planned;
    TransferState state = TransferState::kPosted;
    LeaseId source;
    ChunkProvider* provider = nullptr;  ///< whose pages are open
    std::shared_ptr<OutgoingChunk> chunk;
    TimePoint since{};  ///< offered, then granted
    bool sent = false;
    bool acknowledged = false;
    ChunkOutcome outcome = ChunkOutcome::kFailed;
  };

  /// False when the staging pool has nothing left.
  bool offer(const Planned& planned);
  Status post(const Planned& planned, ChunkProvider& provider, const PagedChunk& pages,
              MemoryObjPtr staging);
  void refuse(const Planned& planned, const Status& status);
  void finish_if_quiet(uint64_t transfer_id, Posted& posted);

  EngineContext& context_;
  const std::string peer_;
  Outputs outputs_;
  std::deque<Planned> planned_;
  std::unordered_map<uint64_t, Posted> posted_;
  bool ended_ = false;
};

}  // namespace kvferry
