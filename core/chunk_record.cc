#include "kvferry/chunk_record.h"

#include <limits>
#include <string>
#include <utility>

#include "core/checked_math.h"
#include "core/layout_fields.h"
#include "core/wire.h"
#include "core/xxh3.h"

namespace kvferry {
namespace {

constexpr std::string_view kMagic = "KVFCHUNK";
constexpr uint32_t kVersion = 1;
constexpr size_t kFixedBytes = 92;
constexpr size_t kPlaneBytes = 20;
constexpr size_t kDigestBytes = sizeof(uint64_t);
constexpr size_t kChecksumBytes = sizeof(uint64_t);
constexpr size_t kMinHeaderBytes = kFixedBytes + kChecksumBytes;
constexpr uint64_t kMaxInt32 = std::numeric_limits<int32_t>::max();

size_t header_size(size_t num_planes, size_t key_bytes, size_t num_tiles) {
  return kMinHeaderBytes + num_planes * kPlaneBytes + key_bytes + num_tiles * kDigestBytes;
}

Status refuse(const std::string& what) {
  return Status(StatusCode::kDataLoss, "chunk record: " + what);
}

/// Everything that a record must satisfy, whether it is to be written or was just read.
Status check_record(const ChunkRecord& record) {
  const auto invalid = [](const std::string& what) {
    return Status(StatusCode::kInvalidArgument, "chunk record: " + what);
  };
  KVFERRY_RETURN_IF_ERROR(record.key.validate());
  const bool tokens_fit = record.token_begin >= 0 && record.token_end > record.token_begin &&
                          record.token_end <= detail::kMaxExtent &&
                          record.token_end - record.token_begin == record.layout.num_tokens;
  if (!tokens_fit) {
    return invalid("tokens [" + std::to_string(record.token_begin) + ", " +
                   std::to_string(record.token_end) + ") do not fit a layout of " +
                   std::to_string(record.layout.num_tokens));
  }
  KVFERRY_ASSIGN_OR_RETURN(const ChunkLayout placed, place_planes(record.layout));
  if (placed != record.layout) {
    return invalid("offsets, strides or size of the layout are not those of its format");
  }
  if (record.tile_digests.size() != static_cast<size_t>(record.layout.num_tiles())) {
    return invalid(std::to_string(record.tile_digests.size()) + " tile digests for " +
                   std::to_string(record.layout.num_tiles()) + " tiles");
  }
  if (record.chunk_digest != bound_chunk_digest(record)) {
    return invalid("chunk_digest is not bound from the tile digests, key, tokens and layout");
  }
  return Status();
}

void write_fixed(WireWriter& out, const ChunkRecord& record, size_t header_bytes,
                 size_t key_bytes) {
  const ChunkLayout& layout = record.layout;
  out.raw(kMagic);
  out.u32(kVersion);
  out.u32(static_cast<uint32_t>(header_bytes));
  out.u64(record.generation);
  out.u64(static_cast<uint64_t>(record.token_begin));
  out.u64(static_cast<uint64_t>(record.token_end));
  out.u64(static_cast<uint64_t>(layout.size_bytes));
  out.u64(record.chunk_digest);
  detail::write_layout_head(out, layout);
  out.u32(static_cast<uint32_t>(record.tile_digests.size()));
  out.u32(static_cast<uint32_t>(key_bytes));
  out.u32(0);
}

/// Takes header fields, and remembers the first that is outside its bounds.
class FieldReader {
 public:
  explicit FieldReader(std::span<const std::byte> bytes) : in_(bytes) {}

  uint64_t bounded_u8(const char* name, uint64_t low, uint64_t high) {
    return check(name, in_.read_u8(), low, high);
  }
  uint64_t bounded_u16(const char* name, uint64_t low, uint64_t high) {
    return check(name, in_.read_u16(), low, high);
  }
  uint64_t bounded_u32(const char* name, uint64_t low, uint64_t high) {
    return check(name, in_.read_u32(), low, high);
  }
  uint64_t bounded_u64(const char* name, uint64_t low, uint64_t high) {
    return check(name, in_.read_u64(), low, high);
  }
  int32_t index(const char* name) { return static_cast<int32_t>(bounded_u32(name, 0, kMaxInt32)); }
  int64_t size(const char* name) {
    return static_cast<int64_t>(bounded_u64(name, 0, detail::kMaxExtent));
  }
  uint64_t any_u64() { return in_.read_u64(); }
  std::span<const std::byte> bytes(size_t count) { return in_.read_bytes(count); }

  /// The first fault; the fields read so far are within their bounds if it is OK.
  Status status() const {
    if (!status_.is_ok()) return status_;
    return in_.is_ok() ? Status() : refuse(std::string(in_.status().message()));
  }

 private:
  uint64_t check(const char* name, uint64_t value, uint64_t low, uint64_t high) {
    if (value >= low && value <= high) return value;
    if (status_.is_ok()) {
      status_ = refuse(std::string(name) + " is " + std::to_string(value) + "; must be " +
                       std::to_string(low) + " to " + std::to_string(high));
    }
    return low;
  }

  WireReader in_;
  Status status_;
};

/// Counts that say how long the rest of the header is.
struct Counts {
  size_t planes = 0;
  size_t tiles = 0;
  size_t key_bytes = 0;
};

/// Reads the fields after header_bytes. Enumerators that do not exist are place_planes()' to find.
Counts read_fixed(FieldReader& in, ChunkRecord& record) {
  ChunkLayout& layout = record.layout;
  record.generation = in.any_u64();
  record.token_begin = in.size("token_begin");
  record.token_end = in.size("token_end");
  layout.num_tokens = record.token_end - record.token_begin;
  layout.size_bytes = in.size("payload_bytes");
  record.chunk_digest = in.any_u64();
  layout.dtype = static_cast<DType>(in.bounded_u8("dtype", 1, 6));
  layout.format = static_cast<MemoryFormat>(in.bounded_u8("format", 1, 16));
  in.bounded_u16("the zero at byte 58", 0, 0);
  in.bounded_u32("tile_tokens", kTileTokens, kTileTokens);
  layout.heads.global_heads = in.index("global_heads");
  layout.heads.begin = in.index("head_begin");
  layout.heads.count = in.index("head_count");
  Counts counts;
  counts.planes = in.bounded_u32("num_planes", 1, kMaxChunkPlanes);
  counts.tiles = in.bounded_u32("num_tiles", 1, kMaxChunkRecordHeaderBytes / kDigestBytes);
  counts.key_bytes = in.bounded_u32("key_bytes", 1, kMaxKeyBytes);
  in.bounded_u32("the zero at byte 88", 0, 0);
  return counts;
}

void read_planes(FieldReader& in, size_t count, std::vector<ChunkPlane>& planes) {
  planes.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    ChunkPlane& plane = planes.emplace_back();
    plane.group = in.index("group of a plane");
    plane.layer = in.index("layer of a plane");
    plane.role = static_cast<KVRole>(in.bounded_u32("role of a plane", 0, 2));
    plane.row_bytes = in.size("row_bytes of a plane");
  }
}

/// The offsets that the format gives to the planes just read; they must add up to the payload.
Status place(ChunkRecord& record) {
  const int64_t payload_bytes = record.layout.size_bytes;
  auto placed = place_planes(std::move(record.layout));
  if (!placed) return refuse(std::string(placed.error().message()));
  record.layout = *std::move(placed);
  if (record.layout.size_bytes == payload_bytes) return Status();
  return refuse("payload_bytes is " + std::to_string(payload_bytes) + "; its planes take " +
                std::to_string(record.layout.size_bytes));
}

Status check_checksum(std::span<const std::byte> header) {
  const auto body = header.first(header.size() - kChecksumBytes);
  WireReader tail(header.last(kChecksumBytes));
  return tail.read_u64() == detail::xxh3_64(body) ? Status() : refuse("header checksum is wrong");
}

/// Decodes a header of exactly the right length whose checksum holds.
Result<ChunkRecord> decode_body(std::span<const std::byte> header) {
  FieldReader in(header.first(header.size() - kChecksumBytes));
  in.bytes(kChunkRecordPrefixBytes);
  ChunkRecord record;
  const Counts counts = read_fixed(in, record);
  KVFERRY_RETURN_IF_ERROR(in.status());
  if (header.size() != header_size(counts.planes, counts.key_bytes, counts.tiles)) {
    return make_error(refuse("header_bytes is " + std::to_string(header.size()) +
                             ", which its planes, tiles and key do not fill"));
  }
  read_planes(in, counts.planes, record.layout.planes);
  const auto key = in.bytes(counts.key_bytes);
  record.tile_digests.resize(counts.tiles);
  for (uint64_t& digest : record.tile_digests) digest = in.any_u64();
  KVFERRY_RETURN_IF_ERROR(in.status());
  KVFERRY_RETURN_IF_ERROR(place(record));
  auto parsed = CacheEngineKey::parse({reinterpret_cast<const char*>(key.data()), key.size()});
  if (!parsed) return make_error(refuse(std::string(parsed.error().message())));
  record.key = *std::move(parsed);
  if (Status status = check_record(record); !status.is_ok()) {
    return make_error(Status(StatusCode::kDataLoss, std::string(status.message())));
  }
  return record;
}

}  // namespace

uint64_t bound_chunk_digest(const ChunkRecord& record) {
  return bind_digest(record.identity(), 0, static_cast<int64_t>(record.tile_digests.size()),
                     tile_sum(0, record.tile_digests), record.layout.size_bytes);
}

Result<std::vector<std::byte>> encode_chunk_record_header(const ChunkRecord& record) {
  KVFERRY_RETURN_IF_ERROR(check_record(record));
  const std::string key = record.key.to_string();
  const ChunkLayout& layout = record.layout;
  const size_t header_bytes =
      header_size(layout.planes.size(), key.size(), record.tile_digests.size());
  if (header_bytes > kMaxChunkRecordHeaderBytes) {
    return make_error(StatusCode::kOutOfRange,
                      "chunk record: header of " + std::to_string(header_bytes) +
                          " bytes passes 1 MiB; store fewer tokens or planes in a chunk");
  }
  WireWriter out;
  write_fixed(out, record, header_bytes, key.size());
  detail::write_layout_planes(out, layout);
  out.raw(key);
  for (uint64_t digest : record.tile_digests) out.u64(digest);
  out.u64(detail::xxh3_64(out.view()));
  return out.take();
}

Result<size_t> chunk_record_header_bytes(std::span<const std::byte> prefix) {
  WireReader in(prefix);
  const auto magic = in.read_bytes(kMagic.size());
  const uint32_t version = in.read_u32();
  const size_t header_bytes = in.read_u32();
  if (!in.is_ok()) {
    return make_error(refuse("only " + std::to_string(prefix.size()) + " bytes; a header has " +
                             std::to_string(kMinHeaderBytes) + " or more"));
  }
  if (std::string_view(reinterpret_cast<const char*>(magic.data()), magic.size()) != kMagic) {
    return make_error(refuse("does not start with KVFCHUNK"));
  }
  if (version != kVersion) {
    return make_error(
        StatusCode::kUnimplemented,
        "chunk record: version is " + std::to_string(version) + "; this build reads version 1");
  }
  if (header_bytes < kMinHeaderBytes || header_bytes > kMaxChunkRecordHeaderBytes) {
    return make_error(refuse("header_bytes is " + std::to_string(header_bytes) + "; must be " +
                             std::to_string(kMinHeaderBytes) + " to " +
                             std::to_string(kMaxChunkRecordHeaderBytes)));
  }
  return header_bytes;
}

Result<ChunkRecord> decode_chunk_record_header(std::span<const std::byte> bytes) {
  KVFERRY_ASSIGN_OR_RETURN(const size_t header_bytes, chunk_record_header_bytes(bytes));
  if (header_bytes > bytes.size()) {
    return make_error(refuse("cut short: " + std::to_string(bytes.size()) + " of " +
                             std::to_string(header_bytes) + " header bytes"));
  }
  const auto header = bytes.first(header_bytes);
  KVFERRY_RETURN_IF_ERROR(check_checksum(header));
  return decode_body(header);
}

}  // namespace kvferry
