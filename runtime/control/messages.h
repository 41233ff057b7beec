#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "kvferry/peer_exchange.h"
#include "kvferry/status.h"
#include "kvferry/transfer.h"
#include "kvferry/transfer_engine.h"
#include "runtime/control/proof.h"

namespace kvferry {

// What two engines say to one another over the control connection. docs/transfer-protocol.md says
// in which order and why; encode() and decode_message() are the format.

inline constexpr uint32_t kProtocolVersion = 3;
inline constexpr size_t kMaxMessageBytes = 4U << 20;
inline constexpr uint32_t kMaxReportBytes = 1U << 20;
inline constexpr uint32_t kMaxReasonBytes = 4096;
inline constexpr uint32_t kMaxNameBytes = 256;  ///< of each string of a hello
inline constexpr size_t kMaxFetchItems = 16384;
inline constexpr size_t kMaxAskedKeys = 2048;  ///< of one question, and of one push
inline constexpr size_t kMaxQuietSessions = 64;
inline constexpr int64_t kMaxTokenEnd = int64_t{1} << 40;

/// First message of both sides, which know nothing of one another yet.
struct GreetingMessage {
  uint32_t version = kProtocolVersion;
  Nonce nonce{};
};

/// Who the sender is. The connector's comes first; the listener's only when that was proven.
struct HelloMessage {
  Proof proof{};  ///< over everything below: hello_statement()
  std::string name;
  std::string transport;
  std::string host_id;  ///< equal on processes that share a kernel
  int32_t pid = 0;
  /// Where the peer may try to read `probe_value` in this process, to learn whether it can pull.
  uint64_t probe_address = 0;
  uint64_t probe_value = 0;
};

/// What the sender found out: may it read the peer's memory?
struct PathMessage {
  bool same_host = false;
  bool can_pull = false;
};

/// The sender's end of the data link.
struct LinkMessage {
  PeerClass peer_class = PeerClass::kNetwork;
  std::string address;
};

/// The sender's data link is connected.
struct ReadyMessage {};

/// "I want these chunks"; item numbers are their positions here.
struct FetchMessage {
  uint64_t fetch_id = 0;  ///< above that of each fetch before: they are served in this order
  std::vector<ChunkRef> items;
  FetchPriority priority = FetchPriority::kForeground;
  /// As they lie in the provider's memory: tokens and layout are for its offers to say, the ranges
  /// of the items are 0 to 0.
  bool of_memory = false;
};

/// "What you have not offered of that fetch I want no more." Nothing answers it.
struct WithdrawMessage {
  uint64_t fetch_id = 0;
};

/// An item of a fetch that the provider cannot serve.
struct UnservedMessage {
  uint64_t fetch_id = 0;
  uint32_t item = 0;
  StatusCode code = StatusCode::kNotFound;
  std::string reason;
};

/// "I hold that chunk for you." Promises memory on the sender's side only.
struct OfferMessage {
  uint64_t transfer_id = 0;
  uint64_t fetch_id = 0;
  uint32_t item = 0;
  uint64_t layout_digest = 0;
  uint64_t payload_bytes = 0;
  uint64_t fragment_bytes = 0;  ///< the target that the sender split the chunk by
  uint32_t num_fragments = 0;
  LeaseId source;
  /// Of a chunk of memory: the header of its chunk record, which says all but its bytes. Else
  /// empty.
  std::vector<std::byte> record = {};
};

/// "Send it": the landing memory is leased.
struct GrantMessage {
  uint64_t transfer_id = 0;
  LeaseId source;
  LeaseId landing;
};

/// No more fragments of a granted chunk come; the receiver still acknowledges.
struct AbandonMessage {
  uint64_t transfer_id = 0;
  LeaseId landing;
  StatusCode code = StatusCode::kInternal;
  std::string reason;
};

/// The end of a transfer, as the receiver sees it; frees the source.
struct AckMessage {
  uint64_t transfer_id = 0;
  LeaseId source;
  ChunkOutcome outcome = ChunkOutcome::kFailed;
  std::string reason;
};

/// The last message of an orderly end: the sender's data link is closed and reads nothing more.
struct GoodbyeMessage {};

/// "I am here." Sent when nothing else was for a while.
struct PingMessage {};

/// Ended sessions with the receiver of this, by the nonces of their connectors: the sender's data
/// links of them are gone, so that it reads and writes nothing of theirs any more.
struct QuietMessage {
  std::vector<Nonce> sessions;
};

/// In place of a hello: "how are you?" of one who is no peer, and knows the token.
struct InspectMessage {
  Proof proof{};  ///< over nothing else
};

/// The answer to an inspection.
struct ReportMessage {
  std::string json;
};

/// "Which of these do you hold in memory?", or "take these out of it".
struct AskMessage {
  uint64_t ask_id = 0;
  PeerQuestion question = PeerQuestion::kHolds;
  std::vector<CacheEngineKey> keys;
};

/// The answer to it, one for each key.
struct AnswerMessage {
  uint64_t ask_id = 0;
  std::vector<bool> answers;
};

/// "Fetch these from my memory, and keep them"; item numbers are their positions here.
struct PushMessage {
  struct Item {
    CacheEngineKey key;
    uint64_t chunk_digest = 0;  ///< who holds a chunk of that digest need not fetch it
  };
  uint64_t push_id = 0;
  std::vector<Item> items;
};

/// What became of one item of a push.
struct KeptMessage {
  uint64_t push_id = 0;
  uint32_t item = 0;
  StatusCode code = StatusCode::kOk;
  std::string reason;
};

/// The handshake ends here, and why.
struct RefusalMessage {
  StatusCode code = StatusCode::kInternal;
  std::string reason;
};

using ControlMessage =
    std::variant<GreetingMessage, HelloMessage, PathMessage, LinkMessage, ReadyMessage,
                 FetchMessage, UnservedMessage, OfferMessage, GrantMessage, AbandonMessage,
                 AckMessage, GoodbyeMessage, RefusalMessage, PingMessage, QuietMessage,
                 WithdrawMessage, InspectMessage, ReportMessage, AskMessage, AnswerMessage,
                 PushMessage, KeptMessage>;

/// What a hello's proof is over: its other fields as they travel.
std::vector<std::byte> hello_statement(const HelloMessage& hello);

/// Errors: kInvalidArgument if the message is larger than kMaxMessageBytes.
Result<std::vector<std::byte>> encode(const ControlMessage& message);

/// Errors: kInvalidArgument saying which message and field are wrong; nothing is trusted.
Result<ControlMessage> decode_message(std::span<const std::byte> bytes);

/// Travels with each fragment on the data link.
struct FragmentHeader {
  uint64_t transfer_id = 0;
  LeaseId landing;
  uint32_t fragment = 0;
  uint64_t fragment_digest = 0;  ///< bind_digest over the fragment's tiles
  uint64_t chunk_digest = 0;     ///< on the last fragment; else 0
  std::vector<uint64_t> tile_digests;
};

/// Bytes of an encoded header with that many tiles.
size_t fragment_header_bytes(size_t num_tiles);
std::vector<std::byte> encode(const FragmentHeader& header);
Result<FragmentHeader> decode_fragment_header(std::span<const std::byte> bytes);

}  // namespace kvferry
