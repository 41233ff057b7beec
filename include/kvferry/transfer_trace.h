#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvferry/clock.h"
#include "kvferry/export.h"

namespace kvferry {

enum class TransferSide : uint8_t { kSource, kDestination };

/// What is done to a chunk on its way, in order.
enum class TransferStage : uint8_t {
  kLookup,       ///< source: the provider opens the chunk
  kPlan,         ///< both: its runs are laid out; the destination checks the offer by them
  kOffer,        ///< source: from the offer to the peer's grant
  kGrant,        ///< destination: from the offer's arrival to the grant, which needs memory
  kGather,       ///< source, each fragment: out of the pages, digested on the way
  kSend,         ///< source, each fragment: until the link needs it no more
  kWire,         ///< destination, each fragment: from its header to its last byte
  kScatter,      ///< destination, each fragment: into the pages, digested on the way
  kVerify,       ///< destination, each fragment: the digests are compared
  kAcknowledge,  ///< source: from the last fragment to the peer's word; destination: it is sent
  kChunk,        ///< both: the whole way, and how it ended
};

KVFERRY_EXPORT std::string_view transfer_stage_name(TransferStage stage);

/// One stage of one transfer, on one side.
struct TransferEvent {
  uint64_t session = 0;   ///< equal on both sides, unlike any other of theirs
  uint64_t transfer = 0;  ///< of the session
  TransferSide side = TransferSide::kSource;
  TransferStage stage = TransferStage::kLookup;
  int32_t fragment = -1;  ///< -1: the whole chunk
  TimePoint begin{};
  TimePoint end{};
  std::string note;  ///< kPlan: the chunk's key. kChunk: the state it ended in
};

/// Events as members of the array "traceEvents" of the Chrome trace event format, which Perfetto
/// and chrome://tracing open: objects with commas between them. `pid` and `process` name the track;
/// events of several processes of one host go into one array, since their clock is one.
///
/// Source: the document "Trace Event Format" (Google), phases b, e and X.
KVFERRY_EXPORT std::string chrome_trace_events(std::span<const TransferEvent> events,
                                               std::string_view process, int pid);

}  // namespace kvferry
