#include "runtime/control/messages.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "core/wire.h"
#include "kvferry/chunk_record.h"

namespace kvferry {
namespace {

constexpr uint32_t kMaxAddressBytes = 64U << 10;
constexpr uint32_t kMaxKeyBytes = 1024;
constexpr uint8_t kLastStatusCode = static_cast<uint8_t>(StatusCode::kDeviceLost);
constexpr uint32_t kMaxFragmentTiles = 1U << 16;

std::string text(WireReader& in, uint32_t max) { return std::string(in.read_string(max)); }

std::string clipped(const std::string& reason) { return reason.substr(0, kMaxReasonBytes); }

Status out_of_range(std::string_view field, uint64_t value) {
  return Status(StatusCode::kInvalidArgument,
                std::string(field) + " has no meaning for " + std::to_string(value));
}

void put(WireWriter& out, const LeaseId& lease) {
  out.u64(lease.id);
  out.u64(lease.generation);
}

LeaseId get_lease(WireReader& in) {
  LeaseId lease;
  lease.id = in.read_u64();
  lease.generation = in.read_u64();
  return lease;
}

bool get_bool(WireReader& in, Status& status) {
  const uint8_t raw = in.read_u8();
  if (raw > 1) status = out_of_range("flag", raw);
  return raw == 1;
}

template <size_t kSize>
void get_array(WireReader& in, std::array<std::byte, kSize>& out) {
  const std::span<const std::byte> bytes = in.read_bytes(kSize);
  if (bytes.size() == kSize) std::copy(bytes.begin(), bytes.end(), out.begin());
}

/// What follows is refused by itself: no list is longer than what came of it.
Status get_key(WireReader& in, CacheEngineKey& key) {
  const std::string text_of_key = text(in, kMaxKeyBytes);
  if (!in.is_ok()) return in.status();
  KVFERRY_ASSIGN_OR_RETURN(key, CacheEngineKey::parse(text_of_key));
  return {};
}

Status get_error_code(WireReader& in, StatusCode& code) {
  const uint8_t raw = in.read_u8();
  if (in.is_ok() && (raw == 0 || raw > kLastStatusCode)) return out_of_range("status code", raw);
  code = static_cast<StatusCode>(raw);
  return {};
}

// One overload pair per message: put writes the fields, get reads and checks them.

void put(WireWriter& out, const GreetingMessage& m) {
  out.u32(m.version);
  out.bytes(m.nonce);
}

Status get(WireReader& in, GreetingMessage& m) {
  m.version = in.read_u32();
  if (in.is_ok() && m.version != kProtocolVersion) {
    return Status(StatusCode::kFailedPrecondition,
                  "the peer speaks protocol version " + std::to_string(m.version) +
                      ", this build speaks " + std::to_string(kProtocolVersion));
  }
  get_array(in, m.nonce);
  return {};
}

void put_statement(WireWriter& out, const HelloMessage& m) {
  out.string(m.name);
  out.string(m.transport);
  out.string(m.host_id);
  out.u32(static_cast<uint32_t>(m.pid));
  out.u64(m.probe_address);
  out.u64(m.probe_value);
}

void put(WireWriter& out, const HelloMessage& m) {
  out.bytes(m.proof);
  put_statement(out, m);
}

Status get(WireReader& in, HelloMessage& m) {
  get_array(in, m.proof);
  m.name = text(in, kMaxNameBytes);
  m.transport = text(in, kMaxNameBytes);
  m.host_id = text(in, kMaxNameBytes);
  m.pid = static_cast<int32_t>(in.read_u32());
  m.probe_address = in.read_u64();
  m.probe_value = in.read_u64();
  return {};
}

void put(WireWriter& out, const PathMessage& m) {
  out.u8(m.same_host ? 1 : 0);
  out.u8(m.can_pull ? 1 : 0);
}

Status get(WireReader& in, PathMessage& m) {
  Status status;
  m.same_host = get_bool(in, status);
  m.can_pull = get_bool(in, status);
  return status;
}

void put(WireWriter& out, const LinkMessage& m) {
  out.u8(static_cast<uint8_t>(m.peer_class));
  out.string(m.address);
}

Status get(WireReader& in, LinkMessage& m) {
  const uint8_t peer_class = in.read_u8();
  if (peer_class > static_cast<uint8_t>(PeerClass::kNetwork)) {
    return out_of_range("peer_class", peer_class);
  }
  m.peer_class = static_cast<PeerClass>(peer_class);
  m.address = text(in, kMaxAddressBytes);
  return {};
}

void put(WireWriter&, const ReadyMessage&) {}
Status get(WireReader&, ReadyMessage&) { return {}; }

void put(WireWriter& out, const FetchMessage& m) {
  out.u64(m.fetch_id);
  out.u32(static_cast<uint32_t>(m.items.size()));
  for (const ChunkRef& item : m.items) {
    out.string(item.key.to_string());
    out.u64(static_cast<uint64_t>(item.token_begin));
    out.u64(static_cast<uint64_t>(item.token_end));
  }
  out.u8(static_cast<uint8_t>(m.priority));
  out.u8(m.of_memory ? 1 : 0);
}

/// A chunk of pages has tokens; one of memory leaves them open.
bool is_token_range(const ChunkRef& ref, bool of_memory) {
  if (of_memory) return ref.token_begin == 0 && ref.token_end == 0;
  return ref.token_begin >= 0 && ref.token_begin < ref.token_end && ref.token_end <= kMaxTokenEnd;
}

Status get(WireReader& in, FetchMessage& m) {
  m.fetch_id = in.read_u64();
  const uint32_t count = in.read_u32();
  if (count > kMaxFetchItems) return out_of_range("number of items", count);
  for (uint32_t i = 0; i < count && in.is_ok(); ++i) {
    ChunkRef item;
    KVFERRY_RETURN_IF_ERROR(get_key(in, item.key));
    item.token_begin = static_cast<int64_t>(in.read_u64());
    item.token_end = static_cast<int64_t>(in.read_u64());
    m.items.push_back(std::move(item));
  }
  const uint8_t priority = in.read_u8();
  if (priority > static_cast<uint8_t>(FetchPriority::kBackground)) {
    return out_of_range("priority", priority);
  }
  m.priority = static_cast<FetchPriority>(priority);
  Status status;
  m.of_memory = get_bool(in, status);
  KVFERRY_RETURN_IF_ERROR(status);
  if (!in.is_ok()) return {};
  for (const ChunkRef& item : m.items) {
    if (is_token_range(item, m.of_memory)) continue;
    return out_of_range("token range end", static_cast<uint64_t>(item.token_end));
  }
  return {};
}

void put(WireWriter& out, const WithdrawMessage& m) { out.u64(m.fetch_id); }

Status get(WireReader& in, WithdrawMessage& m) {
  m.fetch_id = in.read_u64();
  return {};
}

void put(WireWriter& out, const InspectMessage& m) { out.bytes(m.proof); }

Status get(WireReader& in, InspectMessage& m) {
  get_array(in, m.proof);
  return {};
}

void put(WireWriter& out, const ReportMessage& m) { out.string(m.json); }

Status get(WireReader& in, ReportMessage& m) {
  m.json = text(in, kMaxReportBytes);
  return {};
}

void put(WireWriter& out, const UnservedMessage& m) {
  out.u64(m.fetch_id);
  out.u32(m.item);
  out.u8(static_cast<uint8_t>(m.code));
  out.string(clipped(m.reason));
}

Status get(WireReader& in, UnservedMessage& m) {
  m.fetch_id = in.read_u64();
  m.item = in.read_u32();
  KVFERRY_RETURN_IF_ERROR(get_error_code(in, m.code));
  m.reason = text(in, kMaxReasonBytes);
  return {};
}

void put(WireWriter& out, const OfferMessage& m) {
  out.u64(m.transfer_id);
  out.u64(m.fetch_id);
  out.u32(m.item);
  out.u64(m.layout_digest);
  out.u64(m.payload_bytes);
  out.u64(m.fragment_bytes);
  out.u32(m.num_fragments);
  put(out, m.source);
  out.u32(static_cast<uint32_t>(m.record.size()));
  out.bytes(m.record);
}

Status get(WireReader& in, OfferMessage& m) {
  m.transfer_id = in.read_u64();
  m.fetch_id = in.read_u64();
  m.item = in.read_u32();
  m.layout_digest = in.read_u64();
  m.payload_bytes = in.read_u64();
  m.fragment_bytes = in.read_u64();
  m.num_fragments = in.read_u32();
  m.source = get_lease(in);
  const uint32_t record_bytes = in.read_u32();
  if (record_bytes > kMaxChunkRecordHeaderBytes) return out_of_range("record size", record_bytes);
  const auto record = in.read_bytes(record_bytes);
  m.record.assign(record.begin(), record.end());
  return {};
}

void put(WireWriter& out, const GrantMessage& m) {
  out.u64(m.transfer_id);
  put(out, m.source);
  put(out, m.landing);
}

Status get(WireReader& in, GrantMessage& m) {
  m.transfer_id = in.read_u64();
  m.source = get_lease(in);
  m.landing = get_lease(in);
  return {};
}

void put(WireWriter& out, const AbandonMessage& m) {
  out.u64(m.transfer_id);
  put(out, m.landing);
  out.u8(static_cast<uint8_t>(m.code));
  out.string(clipped(m.reason));
}

Status get(WireReader& in, AbandonMessage& m) {
  m.transfer_id = in.read_u64();
  m.landing = get_lease(in);
  KVFERRY_RETURN_IF_ERROR(get_error_code(in, m.code));
  m.reason = text(in, kMaxReasonBytes);
  return {};
}

void put(WireWriter&, const GoodbyeMessage&) {}
Status get(WireReader&, GoodbyeMessage&) { return {}; }

void put(WireWriter& out, const AckMessage& m) {
  out.u64(m.transfer_id);
  put(out, m.source);
  out.u8(static_cast<uint8_t>(m.outcome));
  out.string(clipped(m.reason));
}

Status get(WireReader& in, AckMessage& m) {
  m.transfer_id = in.read_u64();
  m.source = get_lease(in);
  const uint8_t outcome = in.read_u8();
  if (outcome > static_cast<uint8_t>(ChunkOutcome::kFailed))
    return out_of_range("outcome", outcome);
  m.outcome = static_cast<ChunkOutcome>(outcome);
  m.reason = text(in, kMaxReasonBytes);
  return {};
}

void put(WireWriter& out, const RefusalMessage& m) {
  out.u8(static_cast<uint8_t>(m.code));
  out.string(clipped(m.reason));
}

Status get(WireReader& in, RefusalMessage& m) {
  KVFERRY_RETURN_IF_ERROR(get_error_code(in, m.code));
  m.reason = text(in, kMaxReasonBytes);
  return {};
}

void put(WireWriter&, const PingMessage&) {}
Status get(WireReader&, PingMessage&) { return {}; }

void put(WireWriter& out, const QuietMessage& m) {
  out.u32(static_cast<uint32_t>(m.sessions.size()));
  for (const Nonce& session : m.sessions) out.bytes(session);
}

Status get(WireReader& in, QuietMessage& m) {
  const uint32_t count = in.read_u32();
  if (count > kMaxQuietSessions) return out_of_range("number of sessions", count);
  for (uint32_t i = 0; i < count && in.is_ok(); ++i) get_array(in, m.sessions.emplace_back());
  return {};
}

void put(WireWriter& out, const AskMessage& m) {
  out.u64(m.ask_id);
  out.u8(static_cast<uint8_t>(m.question));
  out.u32(static_cast<uint32_t>(m.keys.size()));
  for (const CacheEngineKey& key : m.keys) out.string(key.to_string());
}

Status get(WireReader& in, AskMessage& m) {
  m.ask_id = in.read_u64();
  const uint8_t question = in.read_u8();
  if (question > static_cast<uint8_t>(PeerQuestion::kRemoveForced)) {
    return out_of_range("question", question);
  }
  m.question = static_cast<PeerQuestion>(question);
  const uint32_t count = in.read_u32();
  if (count > kMaxAskedKeys) return out_of_range("number of keys", count);
  for (uint32_t i = 0; i < count && in.is_ok(); ++i) {
    KVFERRY_RETURN_IF_ERROR(get_key(in, m.keys.emplace_back()));
  }
  return {};
}

void put(WireWriter& out, const AnswerMessage& m) {
  out.u64(m.ask_id);
  out.u32(static_cast<uint32_t>(m.answers.size()));
  for (const bool answer : m.answers) out.u8(answer ? 1 : 0);
}

Status get(WireReader& in, AnswerMessage& m) {
  m.ask_id = in.read_u64();
  const uint32_t count = in.read_u32();
  if (count > kMaxAskedKeys) return out_of_range("number of answers", count);
  Status status;
  for (uint32_t i = 0; i < count && in.is_ok(); ++i) m.answers.push_back(get_bool(in, status));
  return status;
}

void put(WireWriter& out, const PushMessage& m) {
  out.u64(m.push_id);
  out.u32(static_cast<uint32_t>(m.items.size()));
  for (const PushMessage::Item& item : m.items) {
    out.string(item.key.to_string());
    out.u64(item.chunk_digest);
  }
}

Status get(WireReader& in, PushMessage& m) {
  m.push_id = in.read_u64();
  const uint32_t count = in.read_u32();
  if (count > kMaxAskedKeys) return out_of_range("number of items", count);
  for (uint32_t i = 0; i < count && in.is_ok(); ++i) {
    PushMessage::Item& item = m.items.emplace_back();
    KVFERRY_RETURN_IF_ERROR(get_key(in, item.key));
    item.chunk_digest = in.read_u64();
  }
  return {};
}

void put(WireWriter& out, const KeptMessage& m) {
  out.u64(m.push_id);
  out.u32(m.item);
  out.u8(static_cast<uint8_t>(m.code));
  out.string(clipped(m.reason));
}

Status get(WireReader& in, KeptMessage& m) {
  m.push_id = in.read_u64();
  m.item = in.read_u32();
  const uint8_t code = in.read_u8();
  if (code > kLastStatusCode) return out_of_range("status code", code);
  m.code = static_cast<StatusCode>(code);
  m.reason = text(in, kMaxReasonBytes);
  return {};
}

template <size_t Index = 0>
Result<ControlMessage> decode_alternative(uint8_t type, WireReader& in) {
  if constexpr (Index < std::variant_size_v<ControlMessage>) {
    if (type != Index) return decode_alternative<Index + 1>(type, in);
    std::variant_alternative_t<Index, ControlMessage> message;
    KVFERRY_RETURN_IF_ERROR(get(in, message));
    KVFERRY_RETURN_IF_ERROR(in.finish());
    return ControlMessage(std::move(message));
  } else {
    return tl::unexpected(out_of_range("message type", type));
  }
}

}  // namespace

std::vector<std::byte> hello_statement(const HelloMessage& hello) {
  WireWriter out;
  put_statement(out, hello);
  return out.take();
}

Result<std::vector<std::byte>> encode(const ControlMessage& message) {
  WireWriter out;
  out.u8(static_cast<uint8_t>(message.index()));
  std::visit([&out](const auto& m) { put(out, m); }, message);
  if (out.size() > kMaxMessageBytes) {
    return make_error(StatusCode::kInvalidArgument,
                      "a control message of " + std::to_string(out.size()) +
                          " bytes is over the limit of " + std::to_string(kMaxMessageBytes));
  }
  return out.take();
}

Result<ControlMessage> decode_message(std::span<const std::byte> bytes) {
  WireReader in(bytes);
  const uint8_t type = in.read_u8();
  KVFERRY_RETURN_IF_ERROR(in.status().with_context("control message"));
  auto message = decode_alternative(type, in);
  if (message) return message;
  return tl::unexpected(
      message.error().with_context("control message of type " + std::to_string(type)));
}

size_t fragment_header_bytes(size_t num_tiles) {
  constexpr size_t kFixedBytes = 8 + 16 + 4 + 8 + 8 + 4;
  return kFixedBytes + 8 * num_tiles;
}

std::vector<std::byte> encode(const FragmentHeader& header) {
  WireWriter out;
  out.u64(header.transfer_id);
  put(out, header.landing);
  out.u32(header.fragment);
  out.u64(header.fragment_digest);
  out.u64(header.chunk_digest);
  out.u32(static_cast<uint32_t>(header.tile_digests.size()));
  for (const uint64_t digest : header.tile_digests) out.u64(digest);
  return out.take();
}

Result<FragmentHeader> decode_fragment_header(std::span<const std::byte> bytes) {
  WireReader in(bytes);
  FragmentHeader header;
  header.transfer_id = in.read_u64();
  header.landing = get_lease(in);
  header.fragment = in.read_u32();
  header.fragment_digest = in.read_u64();
  header.chunk_digest = in.read_u64();
  const uint32_t num_tiles = in.read_u32();
  if (num_tiles > kMaxFragmentTiles) return tl::unexpected(out_of_range("tile count", num_tiles));
  for (uint32_t i = 0; i < num_tiles && in.is_ok(); ++i) {
    header.tile_digests.push_back(in.read_u64());
  }
  KVFERRY_RETURN_IF_ERROR(in.finish().with_context("fragment header"));
  return header;
}

}  // namespace kvferry
