#include "backends/remote/remote_record.h"

#include <cstring>
#include <string>
#include <utility>

namespace kvferry {

Result<std::vector<std::byte>> encode_record_head(const CacheEngineKey& key, const MemoryObj& obj) {
  KVFERRY_ASSIGN_OR_RETURN(std::vector<std::byte> head,
                           encode_chunk_record_header(make_chunk_record(key, obj)));
  if (obj.bytes().size() != static_cast<size_t>(obj.layout.size_bytes)) {
    return make_error(StatusCode::kInvalidArgument,
                      "chunk " + key.to_string() + " has " + std::to_string(obj.bytes().size()) +
                          " bytes, but a layout of " + std::to_string(obj.layout.size_bytes));
  }
  head.resize(chunk_payload_offset(head.size()));
  return head;
}

Result<RecordObject> begin_record_object(MemoryAllocator& allocator, const CacheEngineKey& key,
                                         std::span<const std::byte> header, size_t value_bytes) {
  KVFERRY_ASSIGN_OR_RETURN(const size_t header_bytes, chunk_record_header_bytes(header));
  KVFERRY_ASSIGN_OR_RETURN(ChunkRecord record, decode_chunk_record_header(header));
  const size_t payload_offset = chunk_payload_offset(header_bytes);
  const auto payload_bytes = static_cast<size_t>(record.layout.size_bytes);
  if (record.key != key) {
    return make_error(StatusCode::kDataLoss, "the record found for chunk " + key.to_string() +
                                                 " is of " + record.key.to_string());
  }
  if (value_bytes < payload_offset || value_bytes - payload_offset < payload_bytes) {
    return make_error(StatusCode::kDataLoss,
                      "the record of chunk " + key.to_string() + " ends after " +
                          std::to_string(value_bytes) + " of " +
                          std::to_string(payload_offset + payload_bytes) + " bytes");
  }
  KVFERRY_ASSIGN_OR_RETURN(MemoryObjPtr obj, allocator.allocate(payload_bytes));
  KVFERRY_RETURN_IF_ERROR(apply_chunk_record(std::move(record), key, *obj));
  return RecordObject{std::move(obj), payload_offset};
}

Result<MemoryObjPtr> read_record_object(MemoryAllocator& allocator, const CacheEngineKey& key,
                                        std::span<const std::byte> value) {
  KVFERRY_ASSIGN_OR_RETURN(RecordObject record,
                           begin_record_object(allocator, key, value, value.size()));
  const auto payload = value.subspan(record.payload_offset, record.obj->bytes().size());
  // Not std::ranges::copy: GCC 12 makes a loop over single bytes of it.
  std::memcpy(record.obj->bytes().data(), payload.data(), payload.size());
  return std::move(record.obj);
}

}  // namespace kvferry
