#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kvferry/cache_engine_key.h"
#include "kvferry/checksum.h"
#include "kvferry/chunk_layout.h"
#include "kvferry/memory_obj.h"
#include "kvferry/status.h"

namespace kvferry {

// The form in which chunks are kept on disk and by remote stores: docs/formats/chunk_record.md.

/// Enough of a record to learn how long its header is.
inline constexpr size_t kChunkRecordPrefixBytes = 16;
inline constexpr size_t kMaxChunkRecordHeaderBytes = size_t{1} << 20;
/// On disk the payload starts at a multiple of this.
inline constexpr size_t kChunkPayloadAlignment = 4096;

/// What a record's header says of its chunk.
struct ChunkRecord {
  CacheEngineKey key;
  int64_t token_begin = 0;
  int64_t token_end = 0;
  uint64_t generation = 0;  ///< of the write: a rewrite of the same key has another one
  ChunkLayout layout;
  std::vector<uint64_t> tile_digests;
  uint64_t chunk_digest = 0;

  ChunkIdentity identity() const {
    return {key.digest(), token_begin, token_end, layout_digest(layout)};
  }

  friend bool operator==(const ChunkRecord&, const ChunkRecord&) = default;
};

/// The digest of the whole chunk, from the other fields of `record`.
KVFERRY_EXPORT uint64_t bound_chunk_digest(const ChunkRecord& record);

/// Where the payload starts on disk, after a header of `header_bytes`.
constexpr size_t chunk_payload_offset(size_t header_bytes) {
  return (header_bytes + kChunkPayloadAlignment - 1) / kChunkPayloadAlignment *
         kChunkPayloadAlignment;
}

/// Errors: kInvalidArgument if the record is not one that decode_chunk_record_header() accepts
///   (bad key, layout not of place_planes(), tokens and digests that do not fit it, a chunk_digest
///   that is not bound_chunk_digest()); kOutOfRange if the header passes its limit of 1 MiB.
KVFERRY_EXPORT Result<std::vector<std::byte>> encode_chunk_record_header(const ChunkRecord& record);

/// Length of the header that `prefix` starts; at most kMaxChunkRecordHeaderBytes.
///
/// Errors: those of decode_chunk_record_header() that the first bytes can show.
KVFERRY_EXPORT Result<size_t> chunk_record_header_bytes(std::span<const std::byte> prefix);

/// Reads a header from the front of `bytes`, which may go on after it and may be anything.
///
/// Errors: kUnimplemented for another version; kDataLoss for all else that the format's document
///   tells readers to refuse, naming the field.
/// Cost: memory of the size of the header.
KVFERRY_EXPORT Result<ChunkRecord> decode_chunk_record_header(std::span<const std::byte> bytes);

/// The record of an object that is kept under `key`.
KVFERRY_EXPORT ChunkRecord make_chunk_record(const CacheEngineKey& key, const MemoryObj& obj,
                                             uint64_t generation = 0);

/// Gives `obj` what a record that was read says of its bytes; they are not looked at, so it is not
/// verified afterwards.
///
/// Errors: kDataLoss if the record is of another key than `expected`, or of another size than
///   obj.bytes(); `obj` is not changed then.
KVFERRY_EXPORT Status apply_chunk_record(ChunkRecord record, const CacheEngineKey& expected,
                                         MemoryObj& obj);

/// Compares the bytes of `obj` with its digests, unless that was done since they were read.
///
/// Errors: kDataLoss naming the chunk and the first wrong tile, or what does not fit.
/// Cost:   reads the bytes once
KVFERRY_EXPORT Status verify_chunk(const CacheEngineKey& key, MemoryObj& obj);

}  // namespace kvferry
