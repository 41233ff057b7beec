// Moves one chunk of a paged KV cache from one engine to another, over loopback in one process.
// Between processes the same code runs with make_transport("ucx") and one engine on each side.

#include <kvferry/cache_engine_key.h>
#include <kvferry/chunk_hash.h>
#include <kvferry/kv_layout.h>
#include <kvferry/make_transport.h>
#include <kvferry/transfer_engine.h>
#include <kvferry/version.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr int64_t kChunkTokens = 256;

template <typename T>
T value_or_exit(kvferry::Result<T> result) {
  if (result) return std::move(result).value();
  std::fprintf(stderr, "move_a_chunk: %s\n", result.error().to_string().c_str());
  std::exit(1);
}

// A paged cache as vLLM lays it out: per layer [2, blocks, 16 tokens, heads, head size].
struct PagedCache {
  PagedCache() {
    shape.num_layers = 4;
    shape.num_blocks = 64;
    shape.block_tokens = 16;
    shape.num_heads = 2;
    shape.head_dim = 64;
    const auto preset = kvferry::PagePreset::kVllmNhd;
    const auto bytes = static_cast<size_t>(kvferry::buffer_bytes(preset, shape));
    buffers.assign(static_cast<size_t>(kvferry::num_buffers(preset, shape)),
                   std::vector<std::byte>(bytes));
    std::vector<std::byte*> pointers;
    for (auto& buffer : buffers) pointers.push_back(buffer.data());
    layout = value_or_exit(kvferry::make_kv_layout(preset, shape, pointers));
  }

  kvferry::PagedShape shape;
  std::vector<std::vector<std::byte>> buffers;
  kvferry::KVLayout layout;
};

// The engine's side of serving: where a chunk lies.
class OneChunkProvider final : public kvferry::ChunkProvider {
 public:
  OneChunkProvider(const PagedCache& cache, std::vector<int64_t> slots)
      : cache_(cache), slots_(std::move(slots)) {}

  kvferry::Result<kvferry::PagedChunk> open_chunk(const kvferry::ChunkRef&) override {
    return kvferry::PagedChunk{&cache_.layout, slots_};
  }
  void close_chunk(const kvferry::ChunkRef&) override {}

 private:
  const PagedCache& cache_;
  std::vector<int64_t> slots_;
};

kvferry::TransferEngineOptions options_for(const std::string& name, const PagedCache& cache,
                                           std::shared_ptr<kvferry::Transport> transport) {
  kvferry::TransferEngineOptions options;
  options.name = name;
  options.token = "a secret that both sides know";
  options.chunk_bytes = static_cast<size_t>(kChunkTokens * cache.layout.token_bytes());
  options.transport = std::move(transport);
  return options;
}

kvferry::ChunkRef name_chunk() {
  std::vector<uint32_t> tokens(kChunkTokens);
  std::iota(tokens.begin(), tokens.end(), 1000U);
  kvferry::ChunkRef ref;
  ref.key.model = "example";
  ref.key.chunk_hash = value_or_exit(kvferry::ChunkHasher::create({})).hash(tokens).front();
  ref.token_end = kChunkTokens;
  return ref;
}

}  // namespace

int main() {
  PagedCache prefill;
  PagedCache decode;
  for (auto& buffer : prefill.buffers) std::memset(buffer.data(), 0x5a, buffer.size());

  // The same tokens lie in other slots on each side, as in two engines that have run for a while.
  std::vector<int64_t> source_slots(kChunkTokens);
  std::vector<int64_t> target_slots(kChunkTokens);
  for (int64_t token = 0; token < kChunkTokens; ++token) {
    source_slots[static_cast<size_t>(token)] = 1023 - token;
    target_slots[static_cast<size_t>(token)] = 300 + token;
  }

  const auto transport = value_or_exit(kvferry::make_transport("loopback"));
  OneChunkProvider provider(prefill, source_slots);
  auto source =
      value_or_exit(kvferry::TransferEngine::create(options_for("prefill", prefill, transport)));
  auto target =
      value_or_exit(kvferry::TransferEngine::create(options_for("decode", decode, transport)));
  source->serve(&provider);
  const uint16_t port = value_or_exit(source->listen("127.0.0.1", 0));
  const std::string peer = value_or_exit(target->connect("127.0.0.1", port));

  std::promise<kvferry::Status> ended;
  kvferry::FetchOptions fetch;
  fetch.on_chunk = [&ended](size_t, const kvferry::Status& status) { ended.set_value(status); };
  target->fetch(peer, {{name_chunk(), {&decode.layout, target_slots}}}, fetch);
  const kvferry::Status status = ended.get_future().get();
  if (!status.is_ok()) {
    std::fprintf(stderr, "move_a_chunk: %s\n", status.to_string().c_str());
    return 1;
  }
  // Block 20 holds tokens 20 to 35 of the chunk; K of layer 0 comes first in its buffer.
  const std::byte moved = decode.buffers[0][20 * 16 * 2 * 64 * 2];
  std::printf("kvferry %s moved a chunk of %lld tokens from %s, verified: byte 0x%02x\n",
              KVFERRY_VERSION_STRING, static_cast<long long>(kChunkTokens), peer.c_str(),
              static_cast<unsigned>(moved));
  return moved == std::byte{0x5a} ? 0 : 1;
}
