#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kvferry/make_transport.h"
#include "kvferry/slot_mapping.h"
#include "kvferry/transfer_engine.h"
#include "perf/benchmarks.h"
#include "runtime/steady_clock.h"
#include "workload/engine/paged_kv_cache.h"
#include "workload/oracle/kv_content.h"

namespace kvferry {
namespace {

constexpr ModelShape kModel = {.name = "small",
                               .num_layers = 4,
                               .num_heads = 1,
                               .head_dim = 64,
                               .dtype = DType::kBF16,
                               .preset = PagePreset::kVllmNhd,
                               .block_tokens = 16};
constexpr int64_t kBlocks = 1024;
constexpr Duration kIdleTime = std::chrono::seconds(3);

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

ChunkRef ref_of(uint8_t number, int64_t tokens) {
  ChunkRef ref;
  ref.key.model = kModel.name;
  ref.key.dtype = kModel.dtype;
  ref.key.chunk_hash.bytes = {number, 1};
  ref.token_end = tokens;
  return ref;
}

/// Chunks of equal size in fragmented pages, all of them filled.
class FilledCache final : public ChunkProvider {
 public:
  FilledCache(uint64_t seed, int64_t chunk_tokens, size_t num_chunks)
      : cache_(PagedKVCache::create(kModel, kModel.preset, kBlocks, seed).value()) {
    for (size_t i = 0; i < num_chunks; ++i) {
      refs_.push_back(ref_of(static_cast<uint8_t>(i), chunk_tokens));
      const auto blocks = cache_.allocate(cache_.blocks_for(chunk_tokens)).value();
      const std::vector<int64_t>& slots = slots_.emplace_back(
          slots_from_block_table(blocks, kModel.block_tokens, 0, chunk_tokens).value());
      fill_chunk(cache_.layout(), slots, refs_[i].key.chunk_hash).ignore("slots are the cache's");
    }
  }

  Result<PagedChunk> open_chunk(const ChunkRef& ref) override {
    return PagedChunk{&cache_.layout(), slots_[ref.key.chunk_hash.bytes[0]]};
  }
  void close_chunk(const ChunkRef& /*ref*/) override {}

  void poison() {
    for (const auto& slots : slots_) poison_slots(cache_.layout(), slots).ignore("as above");
  }
  bool is_right() const {
    for (size_t i = 0; i < refs_.size(); ++i) {
      const auto mismatch = verify_chunk(cache_.layout(), slots_[i], refs_[i].key.chunk_hash);
      if (!mismatch || *mismatch) return false;
    }
    return true;
  }
  std::vector<FetchItem> items() const {
    std::vector<FetchItem> items;
    for (size_t i = 0; i < refs_.size(); ++i) {
      items.push_back({refs_[i], {&cache_.layout(), slots_[i]}});
    }
    return items;
  }

 private:
  PagedKVCache cache_;
  std::vector<ChunkRef> refs_;
  std::vector<std::vector<int64_t>> slots_;
};

/// Two engines of this process, connected.
struct Pair {
  static Result<std::unique_ptr<Pair>> create(const std::string& transport_name,
                                              int64_t chunk_tokens, size_t num_chunks) {
    auto pair = std::make_unique<Pair>();
    pair->source = std::make_unique<FilledCache>(1, chunk_tokens, num_chunks);
    pair->target = std::make_unique<FilledCache>(2, chunk_tokens, num_chunks);
    pair->target->poison();
    KVFERRY_ASSIGN_OR_RETURN(const auto transport, make_transport(transport_name));
    const auto make = [&](const char* name) {
      TransferEngineOptions options;
      options.name = name;
      options.token = "bench";
      options.chunk_bytes = static_cast<size_t>(chunk_tokens * kModel.token_bytes());
      options.staging_chunks = options.landing_chunks = 16;
      options.transport = transport;
      return TransferEngine::create(std::move(options));
    };
    KVFERRY_ASSIGN_OR_RETURN(pair->prefill, make("prefill"));
    KVFERRY_ASSIGN_OR_RETURN(pair->decode, make("decode"));
    pair->prefill->serve(pair->source.get());
    KVFERRY_ASSIGN_OR_RETURN(const uint16_t port, pair->prefill->listen("127.0.0.1", 0));
    KVFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const std::string peer,
                             pair->decode->connect("127.0.0.1", port));
    return pair;
  }

  /// Fetches all chunks once; false if any failed.
  bool fetch_all() {
    bool ok = true;
    std::promise<void> done;
    decode->fetch("prefill", target->items(),
                  {.on_chunk = [&ok](size_t, const Status& status) { ok = ok && status.is_ok(); },
                   .on_done = [&done](const FetchSummary&) { done.set_value(); }});
    done.get_future().wait();
    return ok;
  }

  std::unique_ptr<FilledCache> source;
  std::unique_ptr<FilledCache> target;
  std::unique_ptr<TransferEngine> prefill;
  std::unique_ptr<TransferEngine> decode;
};

bool wrong(const char* what) {
  std::fprintf(stderr, "kvferry-bench: %s: wrong bytes or failed chunks; nothing is reported\n",
               what);
  return false;
}

bool small_transfers(int rounds) {
  constexpr size_t kChunks = 64;
  auto pair = Pair::create("loopback", 16, kChunks);
  if (!pair) return wrong(pair.error().to_string().c_str());
  const SteadyClock clock;
  if (!(*pair)->fetch_all()) return wrong("small transfers");
  const TimePoint start = clock.now();
  const double cpu = cpu_seconds();
  for (int i = 0; i < rounds; ++i) {
    if (!(*pair)->fetch_all()) return wrong("small transfers");
  }
  const double wall = std::chrono::duration<double>(clock.now() - start).count();
  const double used = cpu_seconds() - cpu;
  if (!(*pair)->target->is_right()) return wrong("small transfers");
  const double transfers = static_cast<double>(kChunks) * rounds;
  std::printf(
      "small transfers, loopback    %8.0f a second and core of CPU time, %8.0f a second of "
      "wall time (%" PRId64 " bytes each, %zu at once, both engines)\n",
      transfers / used, transfers / wall, 16 * kModel.token_bytes(), kChunks);
  return true;
}

bool one_chunk(const char* transport, int64_t tokens, int rounds) {
  auto pair = Pair::create(transport, tokens, 1);
  if (!pair) return wrong(pair.error().to_string().c_str());
  const SteadyClock clock;
  std::vector<double> micros;
  for (int i = 0; i < rounds; ++i) {
    const TimePoint start = clock.now();
    if (!(*pair)->fetch_all()) return wrong("one chunk");
    micros.push_back(std::chrono::duration<double, std::micro>(clock.now() - start).count());
  }
  if (!(*pair)->target->is_right()) return wrong("one chunk");
  std::ranges::sort(micros);
  const auto at = [&](double part) {
    return micros[static_cast<size_t>(part * static_cast<double>(micros.size() - 1))];
  };
  std::printf("one chunk, %-8s          %8.0f us p50, %8.0f us p99 (%" PRId64 " bytes, %s)\n",
              transport, at(0.5), at(0.99), tokens * kModel.token_bytes(),
              (*pair)->decode->peers().at(0).path.c_str());
  return true;
}

bool idle(const char* transport) {
  auto pair = Pair::create(transport, 16, 1);
  if (!pair) return wrong(pair.error().to_string().c_str());
  if (!(*pair)->fetch_all()) return wrong("idle pair");
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const double cpu = cpu_seconds();
  std::this_thread::sleep_for(kIdleTime);
  std::printf("idle pair, %-8s          %8.3f %% of a core\n", transport,
              (cpu_seconds() - cpu) / std::chrono::duration<double>(kIdleTime).count() * 100);
  return true;
}

}  // namespace

int run_transfer_bench(int rounds) {
  std::printf("transfer: two engines of one process, digests on\n");
  bool ok = small_transfers(rounds / 4) && one_chunk("loopback", 16, rounds);
  for (const std::string& name : transport_names()) {
    if (name == "host_offload") continue;  // moves no pageable memory, which this bench's is
    if (name == "ucx") ok = ok && one_chunk("ucx", 16, rounds) && one_chunk("ucx", 256, rounds);
    ok = ok && idle(name.c_str());
  }
  return ok ? 0 : 1;
}

}  // namespace kvferry
