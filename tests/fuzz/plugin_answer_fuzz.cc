#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "backends/external/plugin_calls.h"
#include "core/printable.h"
#include "kvferry/chunk_record.h"
#include "runtime/memory/memory_pool.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/small_chunk.h"

namespace kvferry {
namespace {

constexpr size_t kPayloadBytes = 4096;

/// The chunk that was put.
ChunkRecord put_record() {
  CacheEngineKey key;
  key.model = "m";
  key.dtype = DType::kU8;
  ChunkRecord record = small_chunk_record(std::move(key));
  record.chunk_digest = bound_chunk_digest(record);
  return record;
}

/// A get that the plugin answers: with the header that was put, bent by the input, or with the
/// input for a header; and with a payload of some size.
void try_answer(std::span<const std::byte> input) {
  static const ChunkRecord record = put_record();
  static const auto header = encode_chunk_record_header(record).value();
  static const auto pool =
      MemoryPool::create({.slot_bytes = 2 * kPayloadBytes, .num_slots = 2}).value();
  if (input.size() < 4) return;
  const auto flags = std::to_integer<unsigned>(input[0]);
  const auto payload_bytes =
      kPayloadBytes + std::to_integer<size_t>(input[1]) - std::to_integer<size_t>(input[2]);
  const int outcome = std::to_integer<int>(input[3]) - 2;
  input = input.subspan(4);

  auto group = std::make_shared<ItemGroup>();
  group->kind = (flags & 16U) != 0 ? PluginCall::kPut : PluginCall::kGet;
  OpenItem item;
  item.group = group;
  item.key = record.key;
  if ((flags & 1U) != 0) {
    item.header = header;
    for (size_t i = 0; i + 1 < input.size() && i < 64; i += 2) {
      const size_t at = std::to_integer<size_t>(input[i]) % item.header.size();
      item.header[at] ^= input[i + 1];
    }
  } else {
    item.header.assign(input.begin(), input.end());
  }
  if ((flags & 2U) != 0) item.obj = pool->allocate(payload_bytes).value();
  std::string message(reinterpret_cast<const char*>(input.data()), input.size());

  const JudgedAnswer judged =
      judge_answer(item, outcome, (flags & 4U) != 0 ? message.c_str() : nullptr);
  const Status& status = judged.outcome.status;
  if (judged.outcome.obj) {
    // Only the chunk itself, in the size that it had.
    if (outcome != KVFERRY_OK || !status.is_ok()) std::abort();
    if (judged.outcome.obj->bytes().size() != kPayloadBytes) std::abort();
    if (!(judged.outcome.obj->layout == record.layout)) std::abort();
  }
  if (!status.is_ok()) {
    const std::string text(status.message());
    if (text.empty() || text.find('\n') != std::string::npos || text.size() > 4096) std::abort();
  }
}

}  // namespace
}  // namespace kvferry

// Whatever a plugin answers is the chunk that was asked for, a no, or an error on one line.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  kvferry::try_answer(kvferry::fuzz_bytes(data, size));
  return 0;
}
