#include "kvferry/chunk_hash.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "core/cbor.h"
#include "tests/support/seeded_rng.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

ChunkHasher make_hasher(ChunkHasherOptions options) {
  auto hasher = ChunkHasher::create(std::move(options));
  EXPECT_THAT(hasher, IsOk());
  return std::move(hasher).value();
}

std::vector<uint32_t> tokens_up_to(size_t count) {
  std::vector<uint32_t> tokens(count);
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

std::vector<std::string> hex(const std::vector<ChunkHash>& hashes) {
  std::vector<std::string> out;
  out.reserve(hashes.size());
  for (const ChunkHash& hash : hashes) out.push_back(hash.to_hex());
  return out;
}

TEST(ChunkHasher, AgreesWithLMCacheSha256Cbor) {
  // Made with LMCache's own algorithm: tokens 0..15, chunks of 4, no extra keys, seed "0".
  EXPECT_THAT(hex(make_hasher({.chunk_tokens = 4}).hash(tokens_up_to(16))),
              ElementsAre("6f84d0fc39e6472d3fac6bb2327b48361a25888d3240588c663652d2068a62b5",
                          "1379d3347900f21aa92d7e23bf24c5dd891c742ed07e36c989d8081f68792bf9",
                          "dda224dade32389d87be652e514f4c4811c79ace65ea61fa709f63d0d1a3bc4b",
                          "0b5d4d3030c6d68d0cf06ea3ed8a9c46c8d743dc1cb95658ddf08c63a57c9816"));
}

TEST(ChunkHasher, AgreesWithAnIndependentCborOverLongChunksExtrasAndLargeTokens) {
  // Made with Python's cbor2 (canonical) and hashlib; see the tokens below.
  std::vector<uint32_t> tokens = tokens_up_to(600);
  for (size_t i = 0; i < tokens.size(); i += 7) tokens[i] += 70000;
  tokens[5] = 0xffffffff;
  const std::vector<std::string> extras = {"tenant-a", "", std::string(300, 'x')};
  EXPECT_THAT(
      hex(make_hasher({.seed = "a longer seed than twenty-three bytes", .hash_partial_chunk = true})
              .hash(tokens, extras)),
      ElementsAre("756b23ff82e54f46c7e5058f5bfddc5f2bb890d28a5564962c833036dbec9740",
                  "72e06f4f3fcd025cbed4e33f778640e7e6d4e9f5283e1a5a120f0f5468e4d78e",
                  "879b55b7a3d3f76bc0dc720890ca44073a5cbf1406a7895c4831c165f963ba18"));
}

TEST(ChunkHasher, EqualPrefixesHaveEqualHashesAndOthersNone) {
  SeededRng rng;
  const ChunkHasher hasher = make_hasher({.chunk_tokens = 8});
  for (int round = 0; round < 100; ++round) {
    std::vector<uint32_t> a(80);
    for (uint32_t& token : a) token = static_cast<uint32_t>(rng.below(50));
    std::vector<uint32_t> b = a;
    const size_t changed = rng.below(b.size());
    b[changed] += 1;
    const auto hashes_a = hasher.hash(a);
    const auto hashes_b = hasher.hash(b);
    for (size_t chunk = 0; chunk < 10; ++chunk) {
      ASSERT_EQ(hashes_a[chunk] == hashes_b[chunk], chunk < changed / 8) << "chunk " << chunk;
    }
    const auto shorter = hasher.hash(std::span(a).first(40));
    ASSERT_TRUE(std::equal(shorter.begin(), shorter.end(), hashes_a.begin()));
  }
}

TEST(ChunkHasher, EqualChunksAtDifferentPlacesHaveDifferentHashes) {
  const std::vector<uint32_t> tokens(64, 9);
  const auto hashes = make_hasher({.chunk_tokens = 8}).hash(tokens);
  EXPECT_THAT(std::set<ChunkHash>(hashes.begin(), hashes.end()), SizeIs(8));
}

TEST(ChunkHasher, ExtraKeysAndSeedsKeepChainsApart) {
  const auto first = [](const std::string& seed, const std::vector<std::string>& extras) {
    return make_hasher({.chunk_tokens = 4, .seed = seed}).hash(tokens_up_to(4), extras).at(0);
  };
  const std::set<ChunkHash> hashes = {
      first("0", {}),    first("1", {}),     first("", {}),          first("0", {""}),
      first("0", {"a"}), first("0", {"ab"}), first("0", {"a", "b"}), first("0", {"b", "a"})};
  EXPECT_THAT(hashes, SizeIs(8));
}

TEST(ChunkHasher, HashesThePartialChunkOnlyWhenAsked) {
  const auto tokens = tokens_up_to(10);
  const auto full = make_hasher({.chunk_tokens = 4}).hash(tokens);
  const auto all = make_hasher({.chunk_tokens = 4, .hash_partial_chunk = true}).hash(tokens);
  ASSERT_THAT(full, SizeIs(2));
  ASSERT_THAT(all, SizeIs(3));
  EXPECT_TRUE(std::equal(full.begin(), full.end(), all.begin()));
  // It is the hash of what it holds, not of a chunk that continues.
  EXPECT_NE(all[2], make_hasher({.chunk_tokens = 4}).hash(tokens_up_to(12))[2]);
}

TEST(ChunkHasher, FewerTokensThanAChunkGiveNoHash) {
  EXPECT_THAT(make_hasher({}).hash(tokens_up_to(255)), IsEmpty());
  EXPECT_THAT(make_hasher({.hash_partial_chunk = true}).hash({}), IsEmpty());
}

TEST(ChunkHasher, RefusesChunksWithoutTokens) {
  EXPECT_THAT(ChunkHasher::create({.chunk_tokens = 0}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("chunk_tokens is 0")));
}

TEST(ChunkHash, HexGoesThereAndBack) {
  SeededRng rng;
  ChunkHash hash;
  rng.fill(std::as_writable_bytes(std::span(hash.bytes)));
  EXPECT_THAT(ChunkHash::from_hex(hash.to_hex()), IsOkAndHolds(hash));
}

TEST(ChunkHash, FromHexTakes64LowerCaseDigitsOnly) {
  const std::string good(64, 'a');
  EXPECT_THAT(ChunkHash::from_hex(good), IsOk());
  std::string upper = good;
  upper[63] = 'A';
  std::string foreign = good;
  foreign[0] = 'g';
  for (const std::string& text : {std::string(), good.substr(1), good + "a", upper, foreign}) {
    EXPECT_THAT(ChunkHash::from_hex(text),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("64 lower-case hex")));
  }
}

TEST(CborWriter, WritesTheShortestHeads) {
  detail::CborWriter out;
  for (uint64_t value :
       {0ULL, 23ULL, 24ULL, 255ULL, 256ULL, 65535ULL, 65536ULL, 0xffffffffULL, 0x100000000ULL}) {
    out.uint(value);
  }
  const std::vector<uint8_t> expected = {0x00, 0x17, 0x18, 24, 0x18, 255, 0x19, 1,   0,   0x19, 255,
                                         255,  0x1a, 0,    1,  0,    0,   0x1a, 255, 255, 255,  255,
                                         0x1b, 0,    0,    0,  1,    0,   0,    0,   0};
  EXPECT_TRUE(std::ranges::equal(out.view(), expected));
  out.clear();
  out.array(2);
  out.text("a");
  out.bytes(std::vector<uint8_t>{9});
  EXPECT_TRUE(std::ranges::equal(out.view(), std::vector<uint8_t>{0x82, 0x61, 'a', 0x41, 9}));
}

}  // namespace
}  // namespace kvferry
