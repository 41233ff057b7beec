#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <ostream>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/paged_copy.h"
#include "kvferry/checksum.h"
#include "tests/support/naive_paged_copy.h"

namespace kvferry::test {

enum class Fragmentation { kContiguous, kBlocks, kSlots, kBlocksAndSkips, kSlotsAndSkips };

/// One point of the property tests' space.
struct PagedCase {
  PagePreset preset;
  DType dtype;
  int32_t head_dim;
  int32_t block_tokens;
  int64_t num_tokens;
  Fragmentation fragmentation;
  MemoryFormat format;
  size_t misalignment;  ///< bytes, of every buffer

  friend std::ostream& operator<<(std::ostream& out, const PagedCase& c) {
    return out << page_preset_name(c.preset) << " " << dtype_name(c.dtype) << " head_dim "
               << c.head_dim << " block_tokens " << c.block_tokens << " tokens " << c.num_tokens
               << " fragmentation " << static_cast<int>(c.fragmentation) << " "
               << memory_format_name(c.format) << " misalignment " << c.misalignment;
  }
};

/// Bytes with a canary on either side, `misalignment` past a 64-byte border.
class GuardedBuffer {
 public:
  static constexpr size_t kGuard = 192;

  GuardedBuffer(size_t bytes, size_t misalignment) : bytes_(bytes) {
    storage_.resize(bytes + 2 * kGuard + 64 + misalignment, std::byte{0xC5});
    const size_t border = reinterpret_cast<uintptr_t>(storage_.data()) % 64;
    begin_ = kGuard + (64 - border) % 64 + misalignment;
  }
  std::byte* data() { return storage_.data() + begin_; }
  std::span<std::byte> bytes() { return {data(), bytes_}; }
  /// Content and canaries.
  std::span<std::byte> all() { return {data() - kGuard, bytes_ + 2 * kGuard}; }
  void fill(std::byte value) { std::ranges::fill(bytes(), value); }

 private:
  std::vector<std::byte> storage_;
  size_t bytes_;
  size_t begin_;
};

/// Pages, chunk and slots of a case, filled with random bytes.
class PagedWorld {
 public:
  PagedWorld(const PagedCase& c, uint64_t seed)
      : random_(seed), layout_(make_layout(c)), chunk_(make_chunk(c)), slots_(make_slots(c)) {
    for (GuardedBuffer& buffer : pages_) randomise(buffer.bytes());
  }

  KVLayout& layout() { return layout_; }
  const ChunkLayout& chunk() const { return chunk_; }
  std::vector<GuardedBuffer>& pages() { return pages_; }
  std::span<const SlotMapping> slots() const { return mappings_; }
  std::vector<int64_t>& slot_values() { return slots_; }
  int32_t num_planes() const { return static_cast<int32_t>(chunk_.planes.size()); }
  Result<PagedCopy> copy() const { return PagedCopy::create(layout_, chunk_, slots()); }

  void randomise(std::span<std::byte> bytes) {
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random_());
  }
  /// All page bytes and canaries, to compare before and after.
  std::vector<std::byte> snapshot() {
    std::vector<std::byte> all;
    for (GuardedBuffer& buffer : pages_) {
      all.insert(all.end(), buffer.all().begin(), buffer.all().end());
    }
    return all;
  }
  void fill_pages(std::byte value) {
    for (GuardedBuffer& buffer : pages_) buffer.fill(value);
  }

 private:
  KVLayout make_layout(const PagedCase& c) {
    const bool one_layer = c.format == MemoryFormat::kKvT2D || c.format == MemoryFormat::kKv2TD;
    const PagedShape shape{.num_layers = one_layer ? 1 : 2,
                           .num_blocks = c.num_tokens / c.block_tokens + 3,
                           .block_tokens = c.block_tokens,
                           .num_heads = c.preset == PagePreset::kMla ? 1 : 3,
                           .head_dim = c.head_dim,
                           .dtype = c.dtype};
    std::vector<std::byte*> bases;
    for (int32_t i = 0; i < num_buffers(c.preset, shape); ++i) {
      pages_.emplace_back(static_cast<size_t>(buffer_bytes(c.preset, shape)), c.misalignment);
    }
    for (GuardedBuffer& buffer : pages_) bases.push_back(buffer.data());
    return make_kv_layout(c.preset, shape, bases).value();
  }

  ChunkLayout make_chunk(const PagedCase& c) {
    return make_chunk_layout(c.format, layout_, c.num_tokens).value();
  }

  std::vector<int64_t> make_slots(const PagedCase& c) {
    const KVGroup& group = layout_.groups.front();
    const bool by_slot = c.fragmentation == Fragmentation::kSlots ||
                         c.fragmentation == Fragmentation::kSlotsAndSkips;
    const int64_t unit = by_slot ? 1 : c.block_tokens;
    std::vector<int64_t> units(static_cast<size_t>(group.num_slots() / unit));
    std::iota(units.begin(), units.end(), 0);
    if (c.fragmentation != Fragmentation::kContiguous) std::ranges::shuffle(units, random_);
    const int64_t start = unit > 1 ? c.num_tokens % unit / 2 : 0;  // not at a block's first token
    std::vector<int64_t> slots;
    for (int64_t token = 0; token < c.num_tokens; ++token) {
      const int64_t at = token + start;
      slots.push_back(units[static_cast<size_t>(at / unit)] * unit + at % unit);
    }
    const bool skips = c.fragmentation == Fragmentation::kBlocksAndSkips ||
                       c.fragmentation == Fragmentation::kSlotsAndSkips;
    for (int64_t& slot : slots) {
      if (skips && random_() % 4 == 0) slot = -1 - static_cast<int64_t>(random_() % 100);
    }
    return slots;
  }

  std::mt19937_64 random_;
  std::vector<GuardedBuffer> pages_;
  KVLayout layout_;
  ChunkLayout chunk_;
  std::vector<int64_t> slots_;
  std::vector<SlotMapping> mappings_{SlotMapping(slots_)};
};

inline std::vector<MemoryFormat> formats_of(PagePreset preset) {
  if (preset == PagePreset::kMla) return {MemoryFormat::kKvMla, MemoryFormat::kKvL2TD};
  return {MemoryFormat::kKvL2TD, MemoryFormat::kKv2LTD, MemoryFormat::kKvT2D, MemoryFormat::kKv2TD};
}

inline constexpr int kLevels = 5;  // of every factor below
inline constexpr PagePreset kPresets[] = {PagePreset::kVllmNhd, PagePreset::kVllmHnd,
                                          PagePreset::kFlashInfer, PagePreset::kCrossLayer,
                                          PagePreset::kMla};
inline constexpr int32_t kHeadDims[] = {64, 80, 128, 192, 576};
inline constexpr int32_t kBlockTokens[] = {1, 16, 32, 64, 128};
inline constexpr DType kDTypes[] = {DType::kU8, DType::kBF16, DType::kF32, DType::kF8E4M3,
                                    DType::kF16};
inline constexpr int64_t kTokens[] = {256, 37, 100, 16, 1};

/// Misalignments are multiples of the element: no engine has less.
inline size_t misalignment_of(int level, DType dtype) {
  const auto element = static_cast<size_t>(dtype_size(dtype));
  const size_t bytes[] = {0, 16, element, 8, 2 * element};
  return bytes[level % kLevels];
}

/// 25 cases in which every pair of levels of any two of the six factors meets once (the orthogonal
/// array over GF(5)); formats and misalignments take turns.
inline std::vector<PagedCase> pairwise_cases() {
  std::vector<PagedCase> cases;
  for (int a = 0; a < kLevels; ++a) {
    for (int b = 0; b < kLevels; ++b) {
      const auto level = [&](int factor) { return (a + factor * b) % kLevels; };
      const PagePreset preset = kPresets[a];
      const DType dtype = kDTypes[level(2)];
      const std::vector<MemoryFormat> formats = formats_of(preset);
      cases.push_back({preset, dtype, kHeadDims[b], kBlockTokens[level(1)], kTokens[level(3)],
                       static_cast<Fragmentation>(level(4)),
                       formats[static_cast<size_t>(a + b) % formats.size()],
                       misalignment_of(a * b, dtype)});
    }
  }
  return cases;
}

/// Every combination; element sizes 1, 2 and 4, lengths whole, partial and a single token.
inline std::vector<PagedCase> all_cases() {
  std::vector<PagedCase> cases;
  int turn = 0;
  for (PagePreset preset : kPresets) {
    for (int32_t head_dim : kHeadDims) {
      for (int32_t block_tokens : kBlockTokens) {
        for (DType dtype : {DType::kU8, DType::kBF16, DType::kF32}) {
          for (int fragmentation = 0; fragmentation < kLevels; ++fragmentation) {
            for (MemoryFormat format : formats_of(preset)) {
              const int64_t tokens = kTokens[++turn % kLevels];
              cases.push_back({preset, dtype, head_dim, block_tokens, tokens,
                               static_cast<Fragmentation>(fragmentation), format,
                               misalignment_of(turn / kLevels, dtype)});
            }
          }
        }
      }
    }
  }
  return cases;
}

}  // namespace kvferry::test
