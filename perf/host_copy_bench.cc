#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cuda/host/cpu_features.h"
#include "cuda/host/host_memory.h"
#include "cuda/host/streaming_copy.h"
#include "kernels/paged_copy.h"
#include "kvferry/checksum.h"
#include "perf/bare_runs.h"
#include "perf/benchmarks.h"

namespace kvferry {
namespace {

struct Scenario {
  const char* name;
  PagePreset preset;
  int32_t num_heads;
  int32_t block_tokens;
  int64_t num_tokens;  // chunks of 32 MiB, so that all scenarios move the same
};

constexpr Scenario kScenarios[] = {
    {"vllm_nhd/run_bytes:32768", PagePreset::kVllmNhd, 8, 16, 256},
    {"vllm_nhd/run_bytes:4096", PagePreset::kVllmNhd, 1, 16, 2048},
    {"vllm_nhd/run_bytes:2048", PagePreset::kVllmNhd, 8, 1, 256},
    {"vllm_hnd/head_bytes:256", PagePreset::kVllmHnd, 8, 16, 256},
};
constexpr int32_t kLayers = 32;
constexpr int32_t kHeadDim = 128;

double now(clockid_t clock) {
  timespec time;
  ::clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

struct Spread {
  double median;
  double mad;
};

Spread spread_of(std::vector<double> values) {
  const auto middle = [](std::vector<double>* v) {
    std::ranges::nth_element(*v, v->begin() + static_cast<std::ptrdiff_t>(v->size() / 2));
    return (*v)[v->size() / 2];
  };
  const double median = middle(&values);
  for (double& value : values) value = std::abs(value - median);
  return {median, middle(&values)};
}

// One cache, chunks that together fill it, and their copies.
struct Workload {
  KVLayout layout;
  ChunkLayout chunk;
  std::vector<std::vector<int64_t>> slots;
  std::vector<PagedCopy> copies;
  std::vector<uint64_t> digests;
};

Workload make_workload(const Scenario& scenario, std::span<std::byte> pages) {
  const auto block_bytes =
      static_cast<size_t>(scenario.block_tokens * scenario.num_heads) * kHeadDim * 2 * 2 * kLayers;
  const PagedShape shape{.num_layers = kLayers,
                         .num_blocks = static_cast<int64_t>(pages.size() / block_bytes),
                         .block_tokens = scenario.block_tokens,
                         .num_heads = scenario.num_heads,
                         .head_dim = kHeadDim,
                         .dtype = DType::kBF16};
  std::vector<std::byte*> buffers;
  for (size_t i = 0; i < kLayers; ++i)
    buffers.push_back(pages.data() + i * (pages.size() / kLayers));
  Workload work;
  work.layout = make_kv_layout(scenario.preset, shape, buffers).value();
  work.chunk = make_chunk_layout(MemoryFormat::kKvL2TD, work.layout, scenario.num_tokens).value();
  work.digests.resize(static_cast<size_t>(work.chunk.num_tiles()));

  std::vector<int64_t> blocks(static_cast<size_t>(shape.num_blocks));
  std::iota(blocks.begin(), blocks.end(), 0);
  std::mt19937_64 random(1);
  std::ranges::shuffle(blocks, random);
  const int64_t num_chunks = work.layout.groups[0].num_slots() / scenario.num_tokens;
  for (int64_t chunk = 0; chunk < num_chunks; ++chunk) {
    std::vector<int64_t>& slots = work.slots.emplace_back();
    for (int64_t token = 0; token < scenario.num_tokens; ++token) {
      const int64_t at = chunk * scenario.num_tokens + token;
      slots.push_back(blocks[static_cast<size_t>(at / scenario.block_tokens)] *
                          scenario.block_tokens +
                      at % scenario.block_tokens);
    }
    const SlotMapping mapping[] = {slots};
    work.copies.push_back(PagedCopy::create(work.layout, work.chunk, mapping).value());
  }
  return work;
}

/// The runs of one chunk between pages and `chunk`, as copied into `direction`.
/// REQUIRES: tokens of a block lie side by side (NHD)
std::vector<BareRun> bare_runs(const Workload& work, size_t page_chunk, std::span<std::byte> chunk,
                               CopyDirection direction) {
  const KVGroup& group = work.layout.groups[0];
  const std::vector<int64_t>& slots = work.slots[page_chunk];
  std::vector<BareRun> runs;
  for (size_t p = 0; p < group.planes.size(); ++p) {
    const KVPlane& plane = group.planes[p];
    for (size_t token = 0; token < slots.size(); token += static_cast<size_t>(group.block_tokens)) {
      std::byte* const page =
          plane.base + slots[token] / group.block_tokens * plane.block_stride_bytes;
      std::byte* const row = chunk.data() + work.chunk.planes[p].offset_bytes +
                             static_cast<int64_t>(token) * work.chunk.planes[p].token_stride_bytes;
      runs.push_back(direction == CopyDirection::kGather ? BareRun{page, row} : BareRun{row, page});
    }
  }
  return runs;
}

// Plain index loops over the documented formula, sharing nothing with what is timed.
void naive_gather(const Workload& work, const std::vector<int64_t>& slots,
                  std::span<std::byte> chunk) {
  const KVGroup& group = work.layout.groups[0];
  for (size_t p = 0; p < group.planes.size(); ++p) {
    const KVPlane& plane = group.planes[p];
    for (size_t token = 0; token < slots.size(); ++token) {
      const std::byte* page = plane.base +
                              slots[token] / group.block_tokens * plane.block_stride_bytes +
                              slots[token] % group.block_tokens * plane.token_stride_bytes;
      std::byte* row = chunk.data() + work.chunk.planes[p].offset_bytes +
                       static_cast<int64_t>(token) * work.chunk.planes[p].token_stride_bytes;
      for (int64_t head = 0; head < plane.num_heads; ++head) {
        std::memcpy(row + head * plane.content_bytes, page + head * plane.head_stride_bytes,
                    static_cast<size_t>(plane.content_bytes));
      }
    }
  }
}

bool check(Workload* work, std::span<std::byte> chunk) {
  const PagedCopy& copy = work->copies[1];
  const int32_t planes = copy.num_planes();
  std::vector<std::byte> expected(chunk.size());
  naive_gather(*work, work->slots[1], expected);
  std::vector<uint64_t> digests(work->digests.size());
  const bool ran = gather(copy, 0, planes, chunk, work->digests).is_ok() &&
                   compute_tile_digests(work->chunk, expected, 0, planes, digests).is_ok();
  if (!ran || digests != work->digests || !std::ranges::equal(chunk, expected)) return false;
  // Other bytes, so that a scatter that does nothing is seen.
  for (std::byte& byte : chunk) byte = ~byte;
  std::ranges::copy(chunk, expected.begin());
  if (!compute_tile_digests(work->chunk, expected, 0, planes, digests).is_ok() ||
      !scatter(copy, 0, planes, chunk, work->digests).is_ok()) {
    return false;
  }
  naive_gather(*work, work->slots[1], chunk);
  return digests == work->digests && std::ranges::equal(chunk, expected);
}

struct Contender {
  const char* name;
  std::function<void(size_t page_chunk, std::span<std::byte> chunk)> run;
  std::vector<double> wall_gbps;
  std::vector<double> cpu_gbps;
};

std::vector<Contender> make_contenders(Workload* work, std::span<std::byte> pages, bool is_nhd) {
  const auto paged = [work](auto operation, bool digests, StoreHint store) {
    return [=](size_t index, std::span<std::byte> chunk) {
      const PagedCopy& copy = work->copies[index];
      const Status status =
          operation(copy, 0, copy.num_planes(), chunk,
                    digests ? std::span<uint64_t>(work->digests) : std::span<uint64_t>(),
                    HostCopyOptions{.store = store});
      if (!status.is_ok()) std::abort();
    };
  };
  const auto source = [pages](size_t index, size_t bytes) { return pages.data() + index * bytes; };
  constexpr StoreHint kStreaming = StoreHint::kStreaming;
  std::vector<Contender> contenders = {
      {"memcpy",
       [=](size_t i, std::span<std::byte> chunk) {
         std::memcpy(chunk.data(), source(i, chunk.size()), chunk.size());
       },
       {},
       {}},
      {"streaming_copy",
       [=](size_t i, std::span<std::byte> chunk) {
         streaming_copy(chunk.data(), source(i, chunk.size()), chunk.size());
       },
       {},
       {}},
      {"gather", paged(gather, true, kStreaming), {}, {}},
      {"scatter", paged(scatter, true, kStreaming), {}, {}},
      {"gather/digest:off", paged(gather, false, kStreaming), {}, {}},
      {"scatter/digest:off", paged(scatter, false, kStreaming), {}, {}},
      {"gather/store:cached", paged(gather, true, StoreHint::kCached), {}, {}},
  };
  const KVGroup& group = work->layout.groups[0];
  const int64_t run_bytes = group.block_tokens * group.planes[0].token_stride_bytes;
  if (is_nhd && run_bytes % 1024 == 0) {
    const auto bare = [=](CopyDirection direction) {
      return [=](size_t index, std::span<std::byte> chunk) {
        copy_bare_runs(bare_runs(*work, index, chunk, direction), static_cast<size_t>(run_bytes));
      };
    };
    contenders.push_back({"bare_runs/gather", bare(CopyDirection::kGather), {}, {}});
    contenders.push_back({"bare_runs/scatter", bare(CopyDirection::kScatter), {}, {}});
  }
  return contenders;
}

void measure(std::vector<Contender>* contenders, std::span<std::byte> chunks, size_t chunk_bytes,
             int reps) {
  const size_t num_chunks = chunks.size() / chunk_bytes;
  const size_t count = contenders->size();
  for (size_t turn = 0; turn < static_cast<size_t>(reps) * num_chunks; ++turn) {
    for (size_t k = 0; k < count; ++k) {
      // Turns start with another contender each, and none meets the memory of the one before it.
      const size_t which = (k + turn) % count;
      Contender& contender = (*contenders)[which];
      const size_t from = (turn + 5 * which) % num_chunks;
      const size_t to = (turn + 11 * which + 3) % num_chunks;
      const double wall = now(CLOCK_MONOTONIC);
      const double cpu = now(CLOCK_THREAD_CPUTIME_ID);
      contender.run(from, chunks.subspan(to * chunk_bytes, chunk_bytes));
      const auto gigabytes = static_cast<double>(chunk_bytes) / 1e9;
      contender.cpu_gbps.push_back(gigabytes / (now(CLOCK_THREAD_CPUTIME_ID) - cpu));
      contender.wall_gbps.push_back(gigabytes / (now(CLOCK_MONOTONIC) - wall));
    }
  }
}

void report(const Scenario& scenario, const std::vector<Contender>& contenders) {
  const auto ceiling = [&](auto values) {
    return std::max(spread_of(contenders[0].*values).median,
                    spread_of(contenders[1].*values).median);
  };
  const double wall_ceiling = ceiling(&Contender::wall_gbps);
  const double cpu_ceiling = ceiling(&Contender::cpu_gbps);
  for (const Contender& contender : contenders) {
    const Spread wall = spread_of(contender.wall_gbps);
    const Spread cpu = spread_of(contender.cpu_gbps);
    std::printf("%-28s %-22s %7.2f %6.2f %7.3f %9.2f %7.3f %5zu\n", scenario.name, contender.name,
                wall.median, wall.mad, wall.median / wall_ceiling, cpu.median,
                cpu.median / cpu_ceiling, contender.wall_gbps.size());
  }
}

}  // namespace

int run_host_copy_bench(size_t gib, int reps) {
  auto pages = HostBuffer::create(gib << 30);
  auto chunks = HostBuffer::create(gib << 30);
  if (!pages || !chunks) {
    std::fprintf(stderr, "%s\n", (pages ? chunks : pages).error().to_string().c_str());
    return 1;
  }
#if defined(__SANITIZE_ADDRESS__) || !defined(__OPTIMIZE__)
  std::printf("*** sanitizers or no optimisation: these figures mean nothing ***\n");
#endif
  std::printf(
      "host_copy, 1 thread, %s, %zu GiB of pages and of chunks, huge pages %zu and %zu MiB\n",
      std::string(simd_level_name(best_simd_level())).c_str(), gib, pages->huge_page_bytes() >> 20,
      chunks->huge_page_bytes() >> 20);
  std::printf("GB/s are decimal bytes copied; cpu leaves out the time that others had the core\n");
  std::printf("%-28s %-22s %7s %6s %7s %9s %7s %5s\n", "layout", "contender", "GB/s", "MAD",
              "ratio", "cpu GB/s", "ratio", "n");
  std::mt19937_64 random(7);
  for (size_t i = 0; i < pages->size(); i += sizeof(uint64_t)) {
    const uint64_t word = random();
    std::memcpy(pages->data() + i, &word, sizeof(word));
  }
  for (const Scenario& scenario : kScenarios) {
    Workload work = make_workload(scenario, pages->bytes());
    const size_t chunk_bytes = work.copies[0].chunk_bytes();
    if (!check(&work, chunks->bytes().first(chunk_bytes))) {
      std::fprintf(stderr, "%s: wrong bytes, not timed\n", scenario.name);
      return 1;
    }
    std::vector<Contender> contenders =
        make_contenders(&work, pages->bytes(), scenario.preset == PagePreset::kVllmNhd);
    measure(&contenders, chunks->bytes(), chunk_bytes, reps);
    if (!check(&work, chunks->bytes().first(chunk_bytes))) {
      std::fprintf(stderr, "%s: wrong bytes after timing\n", scenario.name);
      return 1;
    }
    report(scenario, contenders);
  }
  return 0;
}

}  // namespace kvferry
