#include "kvferry/chunk_record.h"

#include <gmock/gmock.h>

#include <cstring>
#include <string>
#include <vector>

#include "core/xxh3.h"
#include "tests/support/seeded_rng.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

using Bytes = std::vector<std::byte>;

// The example of docs/formats/chunk_record.md.
constexpr std::string_view kExampleHex =
    "4b56464348554e4b01000000fc000000090000000000000000010000000000001401000000000000a00000000000"
    "0000689f2a3f2903d8c0020300001000000002000000010000000100000002000000040000005000000000000000"
    "0000000007000000000000000400000000000000000000000700000001000000040000000000000074696e792d37"
    "40314030403030303130323033303430353036303730383039306130623063306430653066313031313132313331"
    "34313531363137313831393161316231633164316531664068616c66aa26dca960e3f6c5354ab0142b9541fd659c"
    "62b30b8914da997f5ed5f145ce863856a9ad752c363b";

Bytes from_hex(std::string_view hex) {
  Bytes bytes;
  for (size_t i = 0; i < hex.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  }
  return bytes;
}

void bind(ChunkRecord& record) { record.chunk_digest = bound_chunk_digest(record); }

ChunkRecord example_record() {
  ChunkRecord record;
  record.key.model = "tiny-7";
  record.key.dtype = DType::kF16;
  for (uint8_t i = 0; i < 32; ++i) record.key.chunk_hash.bytes[i] = i;
  record.token_begin = 256;
  record.token_end = 276;
  record.generation = 9;
  record.layout.dtype = DType::kF16;
  record.layout.format = MemoryFormat::kKv2TD;
  record.layout.heads = {2, 1, 1};
  record.layout.num_tokens = 20;
  record.layout.planes = {{0, 7, KVRole::kKey, 4}, {0, 7, KVRole::kValue, 4}};
  record.layout = place_planes(record.layout).value();
  Bytes payload(160);
  for (size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<std::byte>(7 * i);
  record.tile_digests.resize(4);
  EXPECT_THAT(compute_tile_digests(record.layout, payload, 0, 2, record.tile_digests), IsOk());
  bind(record);
  return record;
}

ChunkRecord random_record(SeededRng& rng) {
  ChunkRecord record = example_record();
  record.key.model = rng.text(1 + rng.below(100), "model-/.");
  record.key.tags = {{"tenant", rng.text(1 + rng.below(40), "abc")}};
  rng.fill(std::as_writable_bytes(std::span(record.key.chunk_hash.bytes)));
  record.generation = rng();
  record.token_begin = rng.between(0, int64_t{1} << 61);
  record.layout.num_tokens = rng.between(1, 300);
  record.token_end = record.token_begin + record.layout.num_tokens;
  record.layout.dtype = static_cast<DType>(rng.between(1, 6));
  record.layout.format = MemoryFormat::kKvL2TD;
  record.layout.planes.clear();
  const auto num_layers = static_cast<int32_t>(rng.between(1, 40));
  for (int32_t layer = 0; layer < num_layers; ++layer) {
    record.layout.planes.push_back({layer / 10, layer, KVRole::kKey, rng.between(1, 4096)});
    if (rng.one_in(2)) {
      record.layout.planes.push_back({layer / 10, layer, KVRole::kLatent, rng.between(1, 4096)});
    }
  }
  record.layout = place_planes(record.layout).value();
  record.tile_digests.resize(static_cast<size_t>(record.layout.num_tiles()));
  for (uint64_t& digest : record.tile_digests) digest = rng();
  bind(record);
  return record;
}

Bytes encode(const ChunkRecord& record) {
  auto bytes = encode_chunk_record_header(record);
  EXPECT_THAT(bytes, IsOk());
  return bytes.value_or(Bytes());
}

/// Makes the checksum of a changed header right again, so that what lies behind it is tested.
void reseal(Bytes& bytes) {
  const uint64_t checksum = detail::xxh3_64(std::span(bytes).first(bytes.size() - 8));
  std::memcpy(bytes.data() + bytes.size() - 8, &checksum, 8);
}

template <typename T>
Bytes with_field(size_t offset, T value) {
  Bytes bytes = encode(example_record());
  std::memcpy(bytes.data() + offset, &value, sizeof(value));
  reseal(bytes);
  return bytes;
}

TEST(ChunkRecord, ExampleOfTheDocumentIsWhatIsWrittenAndRead) {
  EXPECT_EQ(encode(example_record()), from_hex(kExampleHex));
  EXPECT_THAT(decode_chunk_record_header(from_hex(kExampleHex)), IsOkAndHolds(example_record()));
}

TEST(ChunkRecord, EveryRecordGoesThroughBytesAndBack) {
  SeededRng rng;
  for (int round = 0; round < 200; ++round) {
    const ChunkRecord record = random_record(rng);
    Bytes bytes = encode(record);
    ASSERT_THAT(chunk_record_header_bytes(std::span(bytes).first(kChunkRecordPrefixBytes)),
                IsOkAndHolds(bytes.size()));
    ASSERT_THAT(decode_chunk_record_header(bytes), IsOkAndHolds(record));
    bytes.resize(bytes.size() + rng.below(100));  // a payload may follow
    ASSERT_THAT(decode_chunk_record_header(bytes), IsOkAndHolds(record));
  }
}

TEST(ChunkRecord, PayloadStartsAtTheNext4KiB) {
  EXPECT_EQ(chunk_payload_offset(100), 4096U);
  EXPECT_EQ(chunk_payload_offset(4096), 4096U);
  EXPECT_EQ(chunk_payload_offset(4097), 8192U);
}

TEST(ChunkRecord, EveryTruncationIsRefused) {
  SeededRng rng;
  for (const Bytes& whole : {encode(example_record()), encode(random_record(rng))}) {
    for (size_t size = 0; size < whole.size(); ++size) {
      // A copy of exactly that size, so that a sanitizer sees a read past it.
      const Bytes bytes(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));
      ASSERT_THAT(decode_chunk_record_header(bytes), StatusIs(StatusCode::kDataLoss)) << size;
    }
  }
}

TEST(ChunkRecord, EverySingleByteChangeIsRefused) {
  Bytes bytes = encode(example_record());
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (int flip = 1; flip < 256; ++flip) {
      bytes[i] ^= static_cast<std::byte>(flip);
      const auto record = decode_chunk_record_header(bytes);
      const bool in_version = i >= 8 && i < 12;
      ASSERT_THAT(record, StatusIs(in_version ? StatusCode::kUnimplemented : StatusCode::kDataLoss))
          << "byte " << i;
      bytes[i] ^= static_cast<std::byte>(flip);
    }
  }
}

TEST(ChunkRecord, WhatIsReadThroughARightChecksumIsTheOneEncodingOfAValidRecord) {
  SeededRng rng;
  int num_taken = 0;
  const Bytes whole = encode(example_record());
  for (int round = 0; round < 100000; ++round) {
    Bytes bytes = whole;
    for (uint64_t i = 1 + rng.below(3); i > 0; --i) {
      bytes[rng.below(bytes.size() - 8)] = static_cast<std::byte>(rng());
    }
    reseal(bytes);
    const auto record = decode_chunk_record_header(bytes);
    if (!record) continue;
    ++num_taken;
    ASSERT_THAT(encode_chunk_record_header(*record), IsOkAndHolds(bytes));
  }
  EXPECT_GT(num_taken, 500);  // the generation is bound to nothing else
}

TEST(ChunkRecord, SurvivesGarbage) {
  SeededRng rng;
  for (int round = 0; round < 100000; ++round) {
    Bytes bytes = rng.bytes(rng.below(400));
    if (bytes.size() >= 16 && !rng.one_in(4)) {
      std::memcpy(bytes.data(), "KVFCHUNK\1\0\0\0", 12);
      const auto header_bytes = static_cast<uint32_t>(bytes.size());
      std::memcpy(bytes.data() + 12, &header_bytes, 4);
      if (bytes.size() >= 100 && rng.one_in(2)) reseal(bytes);
    }
    ASSERT_THAT(decode_chunk_record_header(bytes), StatusIs(StatusCode::kDataLoss));
  }
}

TEST(ChunkRecord, ReaderRefusesFieldsOutOfTheirBoundsNamingThem) {
  constexpr uint32_t kHuge32 = 0xffffffff;
  constexpr uint64_t kHuge64 = ~uint64_t{0};
  const struct {
    const char* what;
    Bytes bytes;
  } cases[] = {
      {"KVFCHUNK", with_field<uint8_t>(0, 'k')},
      {"header_bytes is 99", with_field<uint32_t>(12, 99)},
      {"header_bytes is 1048577", with_field<uint32_t>(12, (1U << 20) + 1)},
      {"cut short", with_field<uint32_t>(12, 253)},
      {"token_begin", with_field(24, kHuge64)},
      {"num_tokens is 0", with_field<uint64_t>(24, 276)},
      {"num_tokens is -1", with_field<uint64_t>(24, 277)},
      {"token_end", with_field(32, kHuge64)},
      {"token_end", with_field<uint64_t>(32, (uint64_t{1} << 62) + 1)},
      {"2^62", with_field<uint64_t>(32, uint64_t{1} << 62)},
      {"payload_bytes is 161", with_field<uint64_t>(40, 161)},
      {"payload_bytes", with_field(40, kHuge64)},
      {"chunk_digest", with_field<uint64_t>(48, 0)},
      {"dtype is 0", with_field<uint8_t>(56, 0)},
      {"dtype is 7", with_field<uint8_t>(56, 7)},
      {"format is unknown", with_field<uint8_t>(57, 4)},
      {"format is 17", with_field<uint8_t>(57, 17)},
      {"KV_MLA_FMT", with_field<uint8_t>(57, 6)},
      {"byte 58", with_field<uint16_t>(58, 1)},
      {"tile_tokens is 32", with_field<uint32_t>(60, 32)},
      {"global_heads", with_field(64, kHuge32)},
      {"heads", with_field<uint32_t>(68, 2)},
      {"heads", with_field<uint32_t>(72, 0)},
      {"num_planes is 0", with_field<uint32_t>(76, 0)},
      {"num_planes is 4097", with_field<uint32_t>(76, 4097)},
      {"do not fill", with_field<uint32_t>(76, 3)},
      {"num_tiles", with_field(80, kHuge32)},
      {"do not fill", with_field<uint32_t>(80, 5)},
      {"key_bytes is 0", with_field<uint32_t>(84, 0)},
      {"key_bytes is 1025", with_field<uint32_t>(84, 1025)},
      {"byte 88", with_field<uint32_t>(88, 1)},
      {"group of a plane", with_field<uint32_t>(92, 1U << 31)},
      {"layer of a plane", with_field(96, kHuge32)},
      {"role of a plane is 3", with_field<uint32_t>(100, 3)},
      {"row_bytes of a plane", with_field(104, kHuge64)},
      {"equal row_bytes", with_field<uint64_t>(104, 8)},
      {"out of order", with_field<uint32_t>(120, 0)},
      {"model", with_field<uint8_t>(132, '%')},
      {"hash", with_field<uint8_t>(143, 'G')},
      {"chunk_digest", with_field<uint64_t>(212, 0)},
  };
  for (const auto& [what, bytes] : cases) {
    EXPECT_THAT(decode_chunk_record_header(bytes),
                StatusIs(StatusCode::kDataLoss, HasSubstr(what)));
  }
  EXPECT_THAT(decode_chunk_record_header(with_field<uint32_t>(8, 2)),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("version is 2")));
  Bytes bytes = encode(example_record());
  bytes[251] ^= std::byte{1};
  EXPECT_THAT(decode_chunk_record_header(bytes),
              StatusIs(StatusCode::kDataLoss, HasSubstr("checksum")));
}

TEST(ChunkRecord, WriterRefusesRecordsThatNoReaderWouldTake) {
  const auto expect_refused = [](auto change, const char* what) {
    ChunkRecord record = example_record();
    change(record);
    EXPECT_THAT(encode_chunk_record_header(record),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(what)));
  };
  expect_refused([](ChunkRecord& r) { r.key.model = ""; }, "model");
  expect_refused([](ChunkRecord& r) { r.token_begin = -1; }, "tokens [-1, 276)");
  expect_refused([](ChunkRecord& r) { r.token_end += 1; }, "tokens [256, 277)");
  expect_refused([](ChunkRecord& r) { r.layout.planes[1].offset_bytes = 0; }, "offsets");
  expect_refused([](ChunkRecord& r) { r.layout.size_bytes = 1; }, "size");
  expect_refused([](ChunkRecord& r) { r.layout.planes.clear(); }, "0 planes");
  expect_refused([](ChunkRecord& r) { r.tile_digests.pop_back(); }, "3 tile digests for 4");
  expect_refused([](ChunkRecord& r) { r.tile_digests[2] ^= 1; }, "chunk_digest");
  expect_refused([](ChunkRecord& r) { r.key.tags = {{"a", "b"}}; }, "chunk_digest");
}

TEST(ChunkRecord, WriterRefusesHeadersAbove1MiB) {
  ChunkRecord record = example_record();
  record.layout.num_tokens = 16 * 70000;
  record.token_end = record.token_begin + record.layout.num_tokens;
  record.layout = place_planes(record.layout).value();
  record.tile_digests.resize(2 * 70000);
  bind(record);
  EXPECT_THAT(encode_chunk_record_header(record),
              StatusIs(StatusCode::kOutOfRange, HasSubstr("1 MiB")));
}

TEST(ChunkRecord, TheLargestChunksFit) {
  ChunkRecord record = example_record();
  record.layout.format = MemoryFormat::kKvL2TD;
  record.layout.num_tokens = kDefaultChunkTokens;
  record.token_end = record.token_begin + kDefaultChunkTokens;
  record.layout.planes.clear();
  for (int32_t layer = 0; layer < static_cast<int32_t>(kMaxChunkPlanes); ++layer) {
    record.layout.planes.push_back({0, layer, KVRole::kLatent, 1024});
  }
  record.layout = place_planes(record.layout).value();
  record.tile_digests.resize(kMaxChunkPlanes * 16);
  bind(record);
  EXPECT_THAT(decode_chunk_record_header(encode(record)), IsOkAndHolds(record));
}

}  // namespace
}  // namespace kvferry
