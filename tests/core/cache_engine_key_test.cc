#include "kvferry/cache_engine_key.h"

#include <gmock/gmock.h>

#include <string>
#include <unordered_set>
#include <vector>

#include "tests/support/seeded_rng.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kHash = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

CacheEngineKey random_key(SeededRng& rng) {
  const std::string letters = "abcXYZ019._-/: \xc3\xa9";
  CacheEngineKey key;
  key.model = rng.text(1 + rng.below(60), letters);
  key.world_size = static_cast<int32_t>(rng.between(1, rng.one_in(5) ? 0x7fffffff : 9));
  key.worker_id = static_cast<int32_t>(rng.between(0, key.world_size - 1));
  rng.fill(std::as_writable_bytes(std::span(key.chunk_hash.bytes)));
  key.dtype = static_cast<DType>(rng.between(1, 6));
  for (uint64_t i = rng.below(4); i > 0; --i) {
    // The digit keeps names sorted and apart.
    key.tags.emplace_back(std::to_string(9 - i) + rng.text(rng.below(8), letters),
                          rng.text(1 + rng.below(20), letters));
  }
  return key;
}

TEST(CacheEngineKey, TextIsThatOfLMCache) {
  CacheEngineKey key;
  key.model = "meta-llama/Llama-3.1-8B";
  key.world_size = 8;
  key.worker_id = 3;
  key.chunk_hash = ChunkHash::from_hex(kHash).value();
  key.tags = {{"lora", "7"}, {"tenant", "blue"}};
  EXPECT_EQ(key.to_string(),
            "meta-llama/Llama-3.1-8B@8@3@" + kHash + "@bfloat16@lora%7@tenant%blue");
  EXPECT_THAT(CacheEngineKey::parse(key.to_string()), IsOkAndHolds(key));
}

TEST(CacheEngineKey, EveryValidKeyGoesThroughTextAndBack) {
  SeededRng rng;
  for (int round = 0; round < 2000; ++round) {
    const CacheEngineKey key = random_key(rng);
    ASSERT_THAT(key.validate(), IsOk());
    ASSERT_THAT(CacheEngineKey::parse(key.to_string()), IsOkAndHolds(key));
  }
}

TEST(CacheEngineKey, WhatParseTakesIsTheOneSpellingOfItsKey) {
  SeededRng rng;
  int num_taken = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = random_key(rng).to_string();
    const size_t at = rng.below(text.size());
    switch (rng.below(3)) {
      case 0:
        text[at] = static_cast<char>(rng());
        break;
      case 1:
        text.erase(at, 1 + rng.below(3));
        break;
      default:
        text.insert(at, 1, "@%0-+ A\n"[rng.below(8)]);
        break;
    }
    const auto key = CacheEngineKey::parse(text);
    if (!key) {
      ASSERT_THAT(key, StatusIs(StatusCode::kInvalidArgument, HasSubstr("cache key")));
      continue;
    }
    ++num_taken;
    ASSERT_EQ(key->to_string(), text);
    ASSERT_THAT(key->validate(), IsOk());
  }
  EXPECT_GT(num_taken, 100);
}

TEST(CacheEngineKey, ParseRefusesHostileTextNamingTheField) {
  const std::string end = "@" + kHash + "@half";
  const std::string upper = "00112233445566778899AABBCCDDEEFF0123456789abcdef0123456789abcdef";
  const struct {
    std::string text;
    const char* field;
  } cases[] = {
      {"", "fields"},
      {"m@1@0", "fields"},
      {"m@1@0@" + kHash, "fields"},
      {"@1@0" + end, "model is empty"},
      {"m%@1@0" + end, "model holds '@' or '%'"},
      {"m\n@1@0" + end, "model holds a control"},
      {std::string("m\0@1@0", 6) + end, "model holds a control"},
      {"m\x7f@1@0" + end, "model holds a control"},
      {std::string(257, 'm') + "@1@0" + end, "model has 257 bytes"},
      {"m@@0" + end, "world_size is empty"},
      {"m@0@0" + end, "world_size is less"},
      {"m@+1@0" + end, "world_size is no plain"},
      {"m@-1@0" + end, "world_size is no plain"},
      {"m@01@0" + end, "world_size is no plain"},
      {"m@1 @0" + end, "world_size is no plain"},
      {"m@0x1@0" + end, "world_size is no plain"},
      {"m@2147483648@0" + end, "world_size is no plain"},
      {"m@99999999999999999999@0" + end, "world_size is no plain"},
      {"m@1@1" + end, "worker_id is 1, outside"},
      {"m@1@-0" + end, "worker_id is no plain"},
      {"m@1@00" + end, "worker_id is no plain"},
      {"m@1@@" + kHash + "@half", "worker_id is empty"},
      {"m@1@0@@half", "hash is empty"},
      {"m@1@0@" + kHash.substr(1) + "@half", "hash"},
      {"m@1@0@" + kHash + "0@half", "hash"},
      {"m@1@0@" + upper + "@half", "hash"},
      {"m@1@0@-" + kHash.substr(1) + "@half", "hash"},
      {"m@1@0@" + kHash + "@", "dtype is empty"},
      {"m@1@0@" + kHash + "@float16", "dtype"},
      {"m@1@0@" + kHash + "@Half", "dtype"},
      {"m@1@0@" + kHash + "@half ", "dtype"},
      {"m@1@0@" + kHash + "@half\r\n", "dtype holds a control"},
      {"m@1@0" + end + "@", "tag 0 is not written"},
      {"m@1@0" + end + "@12", "tag 0 is not written"},
      {"m@1@0" + end + "@%v", "tag 0 name is empty"},
      {"m@1@0" + end + "@n%", "tag 0 value is empty"},
      {"m@1@0" + end + "@n%v%w", "tag 0 value holds"},
      {"m@1@0" + end + "@n%\x01", "tag 0 value holds a control"},
      {"m@1@0" + end + "@b%1@a%2", "tag 1 is out of order"},
      {"m@1@0" + end + "@a%1@a%2", "tag 1 is out of order or double"},
      {"m@1@0" + end + "@a%" + std::string(1024, 'v'), "text has"},
      {std::string(1 << 20, '@'), "text has"},
  };
  for (const auto& [text, field] : cases) {
    EXPECT_THAT(
        CacheEngineKey::parse(text),
        StatusIs(StatusCode::kInvalidArgument, AllOf(HasSubstr("cache key"), HasSubstr(field))))
        << text.substr(0, 100);
  }
}

TEST(CacheEngineKey, ErrorsDoNotRepeatControlCharacters) {
  const auto key = CacheEngineKey::parse("m@1@0@" + kHash + "@\x1b[2J");
  EXPECT_THAT(key, StatusIs(StatusCode::kInvalidArgument, Not(HasSubstr("\x1b"))));
}

TEST(CacheEngineKey, ValidateRefusesFieldsThatTextCannotCarry) {
  SeededRng rng;
  CacheEngineKey key = random_key(rng);
  key.dtype = static_cast<DType>(0);
  EXPECT_THAT(key.validate(), StatusIs(StatusCode::kInvalidArgument, HasSubstr("dtype")));
  key = random_key(rng);
  key.worker_id = -1;
  EXPECT_THAT(key.validate(), StatusIs(StatusCode::kInvalidArgument, HasSubstr("worker_id")));
  key = random_key(rng);
  key.model = "a@b";
  EXPECT_THAT(key.validate(), StatusIs(StatusCode::kInvalidArgument, HasSubstr("model")));
  key = random_key(rng);
  key.tags = {{"name", std::string(1000, 'v')}};
  EXPECT_THAT(key.validate(), StatusIs(StatusCode::kInvalidArgument, HasSubstr("at most 1024")));
}

TEST(CacheEngineKey, DigestTellsKeysApartByEveryField) {
  SeededRng rng;
  const CacheEngineKey key = random_key(rng);
  const auto changed = [&](auto change) {
    CacheEngineKey other = key;
    change(other);
    return other.digest();
  };
  EXPECT_EQ(changed([](CacheEngineKey&) {}), key.digest());
  EXPECT_NE(changed([](CacheEngineKey& k) { k.model += "x"; }), key.digest());
  EXPECT_NE(changed([](CacheEngineKey& k) { k.world_size ^= 1; }), key.digest());
  EXPECT_NE(changed([](CacheEngineKey& k) { k.worker_id ^= 1; }), key.digest());
  EXPECT_NE(changed([](CacheEngineKey& k) { k.chunk_hash.bytes[31] ^= 1; }), key.digest());
  EXPECT_NE(changed([](CacheEngineKey& k) {
              k.dtype = k.dtype == DType::kU8 ? DType::kF16 : DType::kU8;
            }),
            key.digest());
  EXPECT_NE(changed([](CacheEngineKey& k) { k.tags.emplace_back("z", "1"); }), key.digest());
}

TEST(CacheEngineKey, HashesAndComparesAsAMapKey) {
  SeededRng rng;
  std::unordered_set<CacheEngineKey> keys;
  for (int i = 0; i < 100; ++i) keys.insert(random_key(rng));
  EXPECT_EQ(keys.size(), 100U);
  for (const CacheEngineKey& key : std::vector(keys.begin(), keys.end())) {
    EXPECT_TRUE(keys.contains(key));
  }
}

}  // namespace
}  // namespace kvferry
