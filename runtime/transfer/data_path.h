#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "kvferry/executor.h"
#include "kvferry/mutex.h"
#include "kvferry/transport.h"
#include "runtime/control/messages.h"
#include "runtime/telemetry/flight_recorder.h"
#include "runtime/transfer/chunk_transfer.h"

namespace kvferry {

/// How to gather into a staging pool of that size: what stays in cache the peer pulls faster; a
/// large pool would only drive other data out.
StoreHint staging_store(size_t staging_bytes);

/// The data link to one peer, and all work per fragment: gather and digest on the way out; pull,
/// verify and scatter on the way in. The control side hears of a chunk once, when it has ended
/// here.
///
/// Threads: the data executor only, but for expect(); the events are called on it too.
class DataPath {
 public:
  struct Events {
    /// The link needs the staging memory no more (OK: everything was offered and taken; that is not
    /// delivery).
    std::function<void(uint64_t transfer_id, Status)> on_sent;
    /// OK: all fragments are verified and scattered. The landing memory is quiet either way.
    std::function<void(uint64_t transfer_id, Status)> on_received;
    /// Nothing of the chunk is scattered (any more): its pages are quiet. May be empty.
    std::function<void(uint64_t transfer_id)> on_abandoned = nullptr;
  };

  struct Recorders {
    TransferRecorder out;
    TransferRecorder in;
  };

  /// `staging_store`: what the gather leaves in cache for the peer to pull.
  DataPath(std::unique_ptr<Link> link, Executor& executor, Events events, StoreHint staging_store,
           StagedFragmentHook hook, Recorders recorders = {});

  std::string address() const { return link_->address(); }
  const LinkCapabilities& capabilities() const { return link_->capabilities(); }
  Status connect(std::string_view peer_address);

  /// Gathers and offers the fragments of a granted chunk, one a turn of the executor.
  void send(const std::shared_ptr<OutgoingChunk>& chunk);

  /// Lets the fragments of a granted chunk in. Call before the peer hears of the grant, from any
  /// thread: as a task it could wait behind the very progress that brings the first fragment.
  void expect(std::shared_ptr<IncomingChunk> chunk);

  /// No more fragments of this chunk come, or are wanted: its pages are quiet from here on, and it
  /// ends as failed once its open receives have.
  void abandon(uint64_t transfer_id, const Status& status);

  /// After `on_quiet` nothing here touches any chunk's memory; chunks not ended by then get no
  /// event. The DataPath must live until it.
  void close(std::function<void()> on_quiet);

 private:
  void send_next(const std::shared_ptr<OutgoingChunk>& chunk);
  Status gather_fragment(OutgoingChunk& chunk, size_t index, FragmentHeader& header);
  void finish_if_sent(const std::shared_ptr<OutgoingChunk>& chunk);

  OfferReply on_offer(std::span<const std::byte> header, size_t payload_bytes);
  Result<std::shared_ptr<IncomingChunk>> admit(const FragmentHeader& header, size_t payload_bytes);
  void on_fragment(const std::shared_ptr<IncomingChunk>& chunk, const FragmentHeader& header,
                   const Status& received, TimePoint let_in_at);
  Status verify_and_scatter(IncomingChunk& chunk, const FragmentHeader& header);
  void finish_if_received(const std::shared_ptr<IncomingChunk>& chunk);
  /// Null when it is not expected (any more).
  std::shared_ptr<IncomingChunk> find_incoming(uint64_t transfer_id) const KVFERRY_EXCLUDES(mutex_);

  TimePoint now() const { return executor_.clock().now(); }

  std::unique_ptr<Link> link_;
  Executor& executor_;
  Events events_;
  const StoreHint staging_store_;
  StagedFragmentHook hook_;
  const Recorders recorders_;
  bool closed_ = false;

  mutable Mutex mutex_;
  bool takes_more_ KVFERRY_GUARDED_BY(mutex_) = true;
  std::unordered_map<uint64_t, std::shared_ptr<IncomingChunk>> incoming_ KVFERRY_GUARDED_BY(mutex_);
};

}  // namespace kvferry
