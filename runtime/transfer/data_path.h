#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "kernels/paged_copier.h"
#include "kvferry/executor.h"
#include "kvferry/mutex.h"
#include "kvferry/transport.h"
#include "runtime/control/messages.h"
#include "runtime/telemetry/flight_recorder.h"
#include "runtime/transfer/chunk_transfer.h"

namespace kvferry {

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

  /// Borrowed; others may use them too, on the same executor.
  struct Copiers {
    PagedCopier& gather;
    PagedCopier& scatter;
  };

  DataPath(std::unique_ptr<Link> link, Executor& executor, Events events, Copiers copiers,
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
  void gather_fragment(const std::shared_ptr<OutgoingChunk>& chunk,
                       std::shared_ptr<FragmentHeader> header);
  void on_gathered(const std::shared_ptr<OutgoingChunk>& chunk, FragmentHeader& header,
                   const Status& gathered, TimePoint begin);
  void offer(const std::shared_ptr<OutgoingChunk>& chunk, const FragmentHeader& header);
  void finish_if_sent(const std::shared_ptr<OutgoingChunk>& chunk);

  OfferReply on_offer(std::span<const std::byte> header, size_t payload_bytes);
  Result<std::shared_ptr<IncomingChunk>> admit(const FragmentHeader& header, size_t payload_bytes);
  void on_fragment(const std::shared_ptr<IncomingChunk>& chunk, FragmentHeader header,
                   const Status& received, TimePoint let_in_at);
  void scatter_fragment(const std::shared_ptr<IncomingChunk>& chunk, FragmentHeader header);
  Status verify_object(IncomingChunk& chunk, const FragmentHeader& header);
  Status verify(IncomingChunk& chunk, const FragmentHeader& header, std::span<const uint64_t> found,
                TimePoint begin);
  void end_fragment(const std::shared_ptr<IncomingChunk>& chunk, const Status& status);
  void tell_if_abandoned(IncomingChunk& chunk);
  void finish_if_received(const std::shared_ptr<IncomingChunk>& chunk);
  /// Null when it is not expected (any more).
  std::shared_ptr<IncomingChunk> find_incoming(uint64_t transfer_id) const KVFERRY_EXCLUDES(mutex_);

  /// Runs `copy`, which keeps a chunk's memory in use until `on_done`.
  void enqueue(PagedCopier& copier, PagedCopyRequest copy,
               std::function<void(const Status&)> on_done);
  void tell_if_quiet();

  TimePoint now() const { return executor_.clock().now(); }

  std::unique_ptr<Link> link_;
  Executor& executor_;
  Events events_;
  const Copiers copiers_;
  StagedFragmentHook hook_;
  const Recorders recorders_;
  bool closed_ = false;
  bool link_is_quiet_ = false;
  size_t open_copies_ = 0;
  std::function<void()> on_quiet_;

  mutable Mutex mutex_;
  bool takes_more_ KVFERRY_GUARDED_BY(mutex_) = true;
  std::unordered_map<uint64_t, std::shared_ptr<IncomingChunk>> incoming_ KVFERRY_GUARDED_BY(mutex_);
};

}  // namespace kvferry
