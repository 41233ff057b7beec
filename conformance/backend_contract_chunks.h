#pragma once

#include <cstddef>
#include <vector>

#include "kvferry/chunk_record.h"

namespace kvferry {

/// No chunk of the cases is larger.
inline constexpr size_t kContractChunkBytes = size_t{1} << 20;

/// A chunk that cases put and expect back: all of it follows from its number and its version. Eight
/// neighbouring numbers have eight shapes: formats, partial tiles, odd row sizes, 128 bytes to 1
/// MiB.
struct ContractChunk {
  int number = 0;
  int version = 0;
  ChunkRecord record;
  std::vector<std::byte> bytes;
};

CacheEngineKey contract_key(int number);
std::vector<CacheEngineKey> contract_keys(const std::vector<int>& numbers);
ContractChunk make_contract_chunk(int number, int version = 0);
size_t contract_chunk_bytes(int number, int version = 0);

/// Gives `obj` the chunk. REQUIRES: obj.capacity() holds it
void fill_object(const ContractChunk& chunk, MemoryObj& obj);
/// The version that an object says it is of.
int version_in(const MemoryObj& obj);
/// OK if `obj` is the chunk in all respects: version, size, layout, tokens, digests and bytes.
Status expect_chunk(const ContractChunk& chunk, const MemoryObj& obj);

}  // namespace kvferry
