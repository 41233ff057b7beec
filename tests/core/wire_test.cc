#include "core/wire.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "tests/support/seeded_rng.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<int> as_ints(std::span<const std::byte> bytes) {
  std::vector<int> out;
  for (std::byte byte : bytes) out.push_back(std::to_integer<int>(byte));
  return out;
}

TEST(WireWriter, WritesLittleEndianWithoutPadding) {
  WireWriter out;
  out.u8(1);
  out.u16(0x0203);
  out.u32(0x04050607);
  out.u64(0x08090a0b0c0d0e0f);
  out.string("hi");
  EXPECT_THAT(as_ints(out.view()),
              ElementsAre(1, 3, 2, 7, 6, 5, 4, 15, 14, 13, 12, 11, 10, 9, 8, 2, 0, 0, 0, 'h', 'i'));
}

TEST(WireReader, ReadsBackWhatWasWritten) {
  WireWriter out;
  out.u8(0xff);
  out.u16(0xfffe);
  out.u32(0xfffffffd);
  out.u64(0xfffffffffffffffc);
  out.string("");
  out.string(std::string("a\0b", 3));
  const std::vector<std::byte> bytes = out.take();
  WireReader in(bytes);
  EXPECT_EQ(in.read_u8(), 0xff);
  EXPECT_EQ(in.read_u16(), 0xfffe);
  EXPECT_EQ(in.read_u32(), 0xfffffffd);
  EXPECT_EQ(in.read_u64(), 0xfffffffffffffffc);
  EXPECT_EQ(in.read_string(0), "");
  EXPECT_EQ(in.read_string(3), std::string_view("a\0b", 3));
  EXPECT_EQ(in.remaining(), 0U);
  EXPECT_THAT(in.finish(), IsOk());
}

TEST(WireReader, ErrorSticksAndLaterReadsGiveZero) {
  const std::vector<std::byte> bytes(5, std::byte{0x11});
  WireReader in(bytes);
  EXPECT_EQ(in.read_u16(), 0x1111);
  EXPECT_EQ(in.read_u32(), 0U);
  EXPECT_FALSE(in.is_ok());
  EXPECT_EQ(in.read_u8(), 0);
  EXPECT_EQ(in.remaining(), 0U);
  EXPECT_TRUE(in.read_bytes(0).empty());
  EXPECT_THAT(in.status(), StatusIs(StatusCode::kInvalidArgument, HasSubstr("byte 2 of 5")));
  EXPECT_THAT(in.finish(), StatusIs(StatusCode::kInvalidArgument));
}

TEST(WireReader, RefusesStringsOverTheirLimitThoughTheyFit) {
  WireWriter out;
  out.string("four");
  WireReader in(out.view());
  EXPECT_EQ(in.read_string(3), "");
  EXPECT_THAT(in.status(), StatusIs(StatusCode::kInvalidArgument));
}

TEST(WireReader, RefusesLengthsPastTheEnd) {
  WireWriter out;
  out.u32(0xffffffff);
  WireReader strings(out.view());
  EXPECT_EQ(strings.read_string(0xffffffff), "");
  EXPECT_FALSE(strings.is_ok());
  WireReader counts(out.view());
  EXPECT_TRUE(counts.read_bytes(~uint64_t{0}).empty());
  EXPECT_FALSE(counts.is_ok());
}

TEST(WireReader, FinishRefusesWhatIsLeftOver) {
  const std::vector<std::byte> bytes(3);
  WireReader in(bytes);
  in.read_u8();
  EXPECT_THAT(in.status(), IsOk());
  EXPECT_THAT(in.finish(), StatusIs(StatusCode::kInvalidArgument, HasSubstr("2 bytes follow")));
}

TEST(WireReader, StaysInsideAnyBytesWhateverIsAsked) {
  SeededRng rng;
  for (int round = 0; round < 2000; ++round) {
    // Exactly as long as the heap block, so that a sanitizer sees a read past it.
    const std::vector<std::byte> bytes = rng.bytes(rng.below(40));
    WireReader in(bytes);
    size_t read = 0;
    while (in.is_ok()) {
      switch (rng.below(6)) {
        case 0:
          read += in.read_string(64).size();
          break;
        case 1:
          read += in.read_bytes(rng.below(20)).size();
          break;
        case 2:
          in.read_u8();
          break;
        case 3:
          in.read_u16();
          break;
        case 4:
          in.read_u32();
          break;
        default:
          in.read_u64();
          break;
      }
      ASSERT_LE(in.position() + in.remaining(), bytes.size());
    }
    ASSERT_LE(read, bytes.size());
  }
}

}  // namespace
}  // namespace kvferry
