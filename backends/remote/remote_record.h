#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "kvferry/backend_context.h"
#include "kvferry/chunk_record.h"

namespace kvferry {

// A remote value is a chunk record, gap included (docs/formats/chunk_record.md): the same bytes in
// a file and in a server's value.

/// The record of `obj` up to its payload.
/// Errors: those of encode_chunk_record_header().
Result<std::vector<std::byte>> encode_record_head(const CacheEngineKey& key, const MemoryObj& obj);

/// An object for the payload of a record, with all that `header` says of it; the bytes are still to
/// be read, from `payload_offset` of the value on.
struct RecordObject {
  MemoryObjPtr obj;
  size_t payload_offset = 0;
};

/// `header` starts the value, which has `value_bytes` in all, and holds at least its whole header.
///
/// Errors: kDataLoss if the value is not the whole record of `key`; kUnimplemented for a newer
///   record; those of MemoryAllocator::allocate().
Result<RecordObject> begin_record_object(MemoryAllocator& allocator, const CacheEngineKey& key,
                                         std::span<const std::byte> header, size_t value_bytes);

/// The object of a value that is in memory. Errors: as above.
Result<MemoryObjPtr> read_record_object(MemoryAllocator& allocator, const CacheEngineKey& key,
                                        std::span<const std::byte> value);

}  // namespace kvferry
