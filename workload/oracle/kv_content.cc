#include "workload/oracle/kv_content.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "workload/mix64.h"

namespace kvferry {
namespace {

constexpr int64_t kWordBytes = sizeof(uint64_t);
constexpr uint64_t kGolden = 0x9e3779b97f4a7c15;

/// Each step is a bijection, so the words of one row are all different. The first shift is what
/// keeps two rows from differing by a constant.
void make_words(uint64_t row_key, uint64_t first_word, std::span<uint64_t> words) {
  uint64_t* const out = words.data();
  const size_t count = words.size();
  const uint64_t start = row_key + first_word * kGolden;
  for (size_t i = 0; i < count; ++i) {
    const uint64_t counter = start + i * kGolden;
    const uint64_t product = (counter ^ (counter >> 32)) * 0xbf58476d1ce4e5b9;
    out[i] = product ^ (product >> 29);
  }
}

/// Makes rows of one plane of one chunk, in a buffer that it keeps.
class RowMaker {
 public:
  RowMaker(const ChunkHash& chunk, int32_t plane, int64_t offset, int64_t size_bytes)
      : plane_key_(mixed(chunk.prefix64(), plane)),
        first_word_(static_cast<uint64_t>(offset / kWordBytes)),
        skip_(static_cast<size_t>(offset % kWordBytes)),
        words_(
            static_cast<size_t>((offset % kWordBytes + size_bytes + kWordBytes - 1) / kWordBytes)) {
  }

  RowMaker(const KVLayout& layout, const KVPlane& plane, const ChunkHash& chunk, int32_t index)
      : RowMaker(chunk, index, layout.heads.begin * plane.content_bytes, plane.row_bytes()) {}

  /// Valid until the next call.
  const std::byte* make(int64_t token) {
    make_words(mixed(plane_key_, token), first_word_, words_);
    return reinterpret_cast<const std::byte*>(words_.data()) + skip_;
  }

 private:
  static uint64_t mixed(uint64_t key, int64_t index) {
    return detail::mix64(key + (static_cast<uint64_t>(index) + 1) * kGolden);
  }

  uint64_t plane_key_;
  uint64_t first_word_;
  size_t skip_;
  std::vector<uint64_t> words_;
};

Status check(const KVLayout& layout, SlotMapping slots) {
  if (!layout.device.is_host()) {
    return {StatusCode::kInvalidArgument,
            "the pages lie on " + device_name(layout.device) + "; go by PageOracle"};
  }
  return check_slots(layout, slots);
}

/// How the row of one token lies in its page: `count` pieces of `size_bytes`, stride_bytes apart.
struct Pieces {
  explicit Pieces(const KVPlane& plane) {
    const bool adjacent = plane.head_stride_bytes == plane.content_bytes;
    count = adjacent ? 1 : plane.num_heads;
    size_bytes = adjacent ? plane.row_bytes() : plane.content_bytes;
    stride_bytes = plane.head_stride_bytes;
  }

  int32_t count;
  int64_t size_bytes;
  int64_t stride_bytes;
};

/// One token of one plane: where it lies and what must be there.
struct Row {
  const Pieces& pieces;
  std::byte* page;
  const std::byte* expected;  ///< row_bytes of the plane
  size_t plane;
  size_t token;
};

/// Calls visit(Row), which says whether to go on, for each token that has a slot.
template <typename Visit>
void for_each_row(const KVLayout& layout, SlotMapping slots, const ChunkHash& chunk,
                  const Visit& visit) {
  const KVGroup& group = layout.groups[0];
  for (size_t index = 0; index < group.planes.size(); ++index) {
    const KVPlane& plane = group.planes[index];
    const Pieces pieces(plane);
    RowMaker maker(layout, plane, chunk, static_cast<int32_t>(index));
    for (size_t token = 0; token < slots.size(); ++token) {
      if (slots[token] < 0) continue;
      const std::byte* const expected = maker.make(static_cast<int64_t>(token));
      if (!visit({pieces, page_of(group, plane, slots[token]), expected, index, token})) return;
    }
  }
}

/// Calls visit(bytes), which says whether to go on, for the contents of each slot.
template <typename Visit>
void for_each_piece(const KVLayout& layout, SlotMapping slots, const Visit& visit) {
  const KVGroup& group = layout.groups[0];
  for (const KVPlane& plane : group.planes) {
    const Pieces pieces(plane);
    for (const int64_t slot : slots) {
      if (slot < 0) continue;
      std::byte* page = page_of(group, plane, slot);
      for (int32_t piece = 0; piece < pieces.count; ++piece, page += pieces.stride_bytes) {
        if (!visit(std::span(page, static_cast<size_t>(pieces.size_bytes)))) return;
      }
    }
  }
}

/// Offset in the row of the first byte that differs, or the row's size.
int64_t first_difference(const Pieces& pieces, const std::byte* page, const std::byte* row) {
  const auto size = static_cast<size_t>(pieces.size_bytes);
  int64_t offset = 0;
  for (int32_t piece = 0; piece < pieces.count; ++piece, offset += pieces.size_bytes) {
    const std::byte* const found = page + piece * pieces.stride_bytes;
    const std::byte* const expected = row + offset;
    if (std::memcmp(found, expected, size) == 0) continue;
    return offset + (std::mismatch(found, found + size, expected).first - found);
  }
  return offset;
}

std::string hex(std::byte value) {
  constexpr char kDigits[] = "0123456789abcdef";
  const auto number = std::to_integer<size_t>(value);
  return {'0', 'x', kDigits[number / 16], kDigits[number % 16]};
}

}  // namespace

std::string ContentMismatch::to_string() const {
  const char* const name = role == KVRole::kKey     ? "key"
                           : role == KVRole::kValue ? "value"
                                                    : "latent";
  return "layer " + std::to_string(layer) + " " + name + " token " + std::to_string(token) +
         " (slot " + std::to_string(slot) + ") head " + std::to_string(head) + " byte " +
         std::to_string(byte) + ": expected " + hex(expected) + ", found " + hex(found);
}

Status check_slots(const KVLayout& layout, SlotMapping slots) {
  if (layout.groups.size() != 1) {
    return {StatusCode::kUnimplemented, "the content oracle fills layouts of 1 group, this has " +
                                            std::to_string(layout.groups.size())};
  }
  const int64_t num_slots = layout.groups[0].num_slots();
  const auto past = std::ranges::find_if(slots, [&](int64_t slot) { return slot >= num_slots; });
  if (past == slots.end()) return {};
  return {StatusCode::kOutOfRange, "token " + std::to_string(past - slots.begin()) + " has slot " +
                                       std::to_string(*past) + ", the cache has " +
                                       std::to_string(num_slots)};
}

std::byte* page_of(const KVGroup& group, const KVPlane& plane, int64_t slot) {
  return plane.base + slot / group.block_tokens * plane.block_stride_bytes +
         slot % group.block_tokens * plane.token_stride_bytes;
}

void expected_row(const ChunkHash& chunk, int64_t token, int32_t plane, int64_t offset,
                  std::span<std::byte> row) {
  RowMaker maker(chunk, plane, offset, static_cast<int64_t>(row.size()));
  std::memcpy(row.data(), maker.make(token), row.size());
}

Status fill_chunk(const KVLayout& layout, SlotMapping slots, const ChunkHash& chunk) {
  KVFERRY_RETURN_IF_ERROR(check(layout, slots));
  for_each_row(layout, slots, chunk, [](const Row& row) {
    std::byte* page = row.page;
    const std::byte* expected = row.expected;
    for (int32_t piece = 0; piece < row.pieces.count; ++piece) {
      std::memcpy(page, expected, static_cast<size_t>(row.pieces.size_bytes));
      page += row.pieces.stride_bytes;
      expected += row.pieces.size_bytes;
    }
    return true;
  });
  return {};
}

Result<std::optional<ContentMismatch>> verify_chunk(const KVLayout& layout, SlotMapping slots,
                                                    const ChunkHash& chunk) {
  KVFERRY_RETURN_IF_ERROR(check(layout, slots));
  std::optional<ContentMismatch> mismatch;
  for_each_row(layout, slots, chunk, [&](const Row& row) {
    const KVPlane& plane = layout.groups[0].planes[row.plane];
    const int64_t offset = first_difference(row.pieces, row.page, row.expected);
    if (offset == plane.row_bytes()) return true;
    const int64_t head = offset / plane.content_bytes;
    const int64_t byte = offset % plane.content_bytes;
    mismatch = ContentMismatch{.plane = static_cast<int32_t>(row.plane),
                               .layer = plane.layer,
                               .role = plane.role,
                               .token = static_cast<int64_t>(row.token),
                               .slot = slots[row.token],
                               .head = static_cast<int32_t>(head),
                               .byte = byte,
                               .expected = row.expected[offset],
                               .found = row.page[head * plane.head_stride_bytes + byte]};
    return false;
  });
  return mismatch;
}

Status poison_slots(const KVLayout& layout, SlotMapping slots) {
  KVFERRY_RETURN_IF_ERROR(check(layout, slots));
  for_each_piece(layout, slots, [](std::span<std::byte> piece) {
    std::ranges::fill(piece, kPoisonByte);
    return true;
  });
  return {};
}

Result<bool> are_poisoned(const KVLayout& layout, SlotMapping slots) {
  KVFERRY_RETURN_IF_ERROR(check(layout, slots));
  bool are = true;
  for_each_piece(layout, slots, [&](std::span<const std::byte> piece) {
    return are = std::ranges::all_of(piece, [](std::byte byte) { return byte == kPoisonByte; });
  });
  return are;
}

}  // namespace kvferry
