#include "runtime/control/messages.h"

#include <algorithm>
#include <limits>

#include "core/wire.h"
#include "tests/support/seeded_rng.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kMax64 = std::numeric_limits<uint64_t>::max();
constexpr uint32_t kMax32 = std::numeric_limits<uint32_t>::max();

CacheEngineKey key_of(uint8_t mark, std::string model = "model") {
  CacheEngineKey key;
  key.model = std::move(model);
  key.chunk_hash.bytes.fill(mark);
  return key;
}

/// One of each message, fields different from one another and from their defaults.
std::vector<ControlMessage> sample_messages() {
  return {
      GreetingMessage{.nonce = {std::byte{1}, std::byte{2}}},
      HelloMessage{{std::byte{3}}, "name", "ucx", "host", -7, kMax64, 9},
      PathMessage{true, false},
      PathMessage{false, true},
      LinkMessage{PeerClass::kSameHostShm, std::string("a\0b", 3)},
      ReadyMessage{},
      FetchMessage{3, {{key_of(1), 0, 256}, {key_of(2), 256, 300}}},
      UnservedMessage{4, 5, StatusCode::kDeviceLost, "gone"},
      OfferMessage{1, 2, 3, 4, 5, 6, 7, {8, 9}},
      GrantMessage{1, {2, 3}, {4, 5}},
      AbandonMessage{1, {2, 3}, StatusCode::kCancelled, "why"},
      AckMessage{1, {2, 3}, ChunkOutcome::kRefused, "no"},
      GoodbyeMessage{},
      RefusalMessage{StatusCode::kPermissionDenied, "no"},
      PingMessage{},
      QuietMessage{{{std::byte{1}}, {std::byte{2}}}},
      WithdrawMessage{kMax64},
      InspectMessage{{std::byte{5}}},
      ReportMessage{"{}"},
      FetchMessage{3, {{key_of(1), 0, 256}}, FetchPriority::kBackground},
      FetchMessage{3, {{key_of(1), 0, 0}, {key_of(2), 0, 0}}, FetchPriority::kPrefetch, true},
      OfferMessage{1, 2, 3, 4, 5, 6, 7, {8, 9}, {std::byte{1}, std::byte{0}}},
      AskMessage{7, PeerQuestion::kRemoveForced, {key_of(1), key_of(2)}},
      AnswerMessage{7, {true, false, true}},
      PushMessage{8, {{key_of(1), 9}, {key_of(2), kMax64}}},
      KeptMessage{8, 1, StatusCode::kResourceExhausted, "full"},
      KeptMessage{8, 2, StatusCode::kOk, ""},
  };
}

/// Every field as large, or as empty, as the format takes.
std::vector<ControlMessage> extreme_messages() {
  const std::string name(256, 'n');
  const std::string reason(4096, 'r');
  const LeaseId lease{kMax64, kMax64};
  return {
      HelloMessage{{}, name, name, name, std::numeric_limits<int32_t>::min(), kMax64, kMax64},
      HelloMessage{{}, "", "", "", 0, 0, 0},
      LinkMessage{PeerClass::kNetwork, std::string(64 << 10, '\xff')},
      FetchMessage{kMax64, {}},
      FetchMessage{kMax64, {{key_of(9, std::string(256, 'm')), (1LL << 40) - 1, 1LL << 40}}},
      FetchMessage{1, std::vector<ChunkRef>(kMaxFetchItems, {key_of(3), 0, 1})},
      UnservedMessage{kMax64, kMax32, StatusCode::kCancelled, reason},
      OfferMessage{kMax64, kMax64, kMax32, kMax64, kMax64, kMax64, kMax32, lease},
      OfferMessage{1, 1, 1, 1, 1, 1, 1, lease, std::vector<std::byte>(1 << 20, std::byte{255})},
      AskMessage{kMax64, PeerQuestion::kHolds, {}},
      AskMessage{1, PeerQuestion::kRemove,
                 std::vector<CacheEngineKey>(kMaxAskedKeys, key_of(9, std::string(256, 'm')))},
      AnswerMessage{kMax64, std::vector<bool>(kMaxAskedKeys, true)},
      PushMessage{kMax64, {}},
      PushMessage{1, std::vector<PushMessage::Item>(kMaxAskedKeys,
                                                    {key_of(9, std::string(256, 'm')), kMax64})},
      KeptMessage{kMax64, kMax32, StatusCode::kDeviceLost, reason},
      GrantMessage{kMax64, lease, lease},
      AbandonMessage{kMax64, lease, StatusCode::kDeviceLost, reason},
      AckMessage{kMax64, lease, ChunkOutcome::kFailed, reason},
      ReportMessage{std::string(kMaxReportBytes, 'r')},
  };
}

FragmentHeader sample_header(size_t num_tiles) {
  FragmentHeader header{kMax64, {kMax64 - 1, kMax64 - 2}, kMax32, 5, 6, {}};
  for (size_t i = 0; i < num_tiles; ++i) header.tile_digests.push_back(kMax64 - i);
  return header;
}

std::vector<std::byte> bytes_of(const ControlMessage& message) { return encode(message).value(); }

/// A copy of `bytes` whose end is the end of its allocation, so that ASan sees a read past it.
std::vector<std::byte> prefix_of(std::span<const std::byte> bytes, size_t size) {
  std::vector<std::byte> out(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size));
  out.shrink_to_fit();
  return out;
}

TEST(ControlMessage, EveryMessageComesBackAsItWasEvenAtItsLimits) {
  std::vector<ControlMessage> messages = sample_messages();
  std::ranges::move(extreme_messages(), std::back_inserter(messages));
  for (const ControlMessage& message : messages) {
    const std::vector<std::byte> bytes = bytes_of(message);
    ASSERT_LE(bytes.size(), kMaxMessageBytes);
    const auto decoded = decode_message(bytes);
    ASSERT_THAT(decoded, IsOk()) << "type " << message.index();
    EXPECT_EQ(decoded->index(), message.index());
    EXPECT_EQ(bytes_of(*decoded), bytes) << "type " << message.index();
  }
}

TEST(ControlMessage, FieldsKeepTheirPlaces) {
  const auto offer = std::get<OfferMessage>(
      decode_message(bytes_of(OfferMessage{1, 2, 3, 4, 5, 6, 7, {8, 9}})).value());
  EXPECT_EQ(offer.transfer_id, 1U);
  EXPECT_EQ(offer.fetch_id, 2U);
  EXPECT_EQ(offer.item, 3U);
  EXPECT_EQ(offer.layout_digest, 4U);
  EXPECT_EQ(offer.payload_bytes, 5U);
  EXPECT_EQ(offer.fragment_bytes, 6U);
  EXPECT_EQ(offer.num_fragments, 7U);
  EXPECT_EQ(offer.source, (LeaseId{8, 9}));
  const auto grant =
      std::get<GrantMessage>(decode_message(bytes_of(GrantMessage{1, {2, 3}, {4, 5}})).value());
  EXPECT_EQ(grant.source, (LeaseId{2, 3}));
  EXPECT_EQ(grant.landing, (LeaseId{4, 5}));
  const auto hello = std::get<HelloMessage>(decode_message(bytes_of(sample_messages()[1])).value());
  EXPECT_EQ(hello.pid, -7);
  EXPECT_EQ(hello.name, "name");
  EXPECT_EQ(hello.host_id, "host");
}

TEST(ControlMessage, CutShortAtAnyByteIsAnError) {
  for (const ControlMessage& message : sample_messages()) {
    const std::vector<std::byte> bytes = bytes_of(message);
    for (size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_THAT(decode_message(prefix_of(bytes, size)), StatusIs(StatusCode::kInvalidArgument))
          << "type " << message.index() << " cut to " << size;
    }
  }
}

TEST(ControlMessage, ABytePastTheEndIsAnError) {
  for (const ControlMessage& message : sample_messages()) {
    std::vector<std::byte> bytes = bytes_of(message);
    bytes.push_back(std::byte{0});
    EXPECT_THAT(decode_message(bytes), StatusIs(StatusCode::kInvalidArgument))
        << "type " << message.index();
  }
}

TEST(ControlMessage, EveryUnknownTypeAndEnumValueIsAnError) {
  const auto with_byte = [](const ControlMessage& message, size_t at, unsigned value) {
    std::vector<std::byte> bytes = bytes_of(message);
    bytes[at] = static_cast<std::byte>(value);
    return decode_message(bytes);
  };
  constexpr size_t kUnservedCode = 1 + 8 + 4;
  constexpr size_t kAbandonCode = 1 + 8 + 16;
  constexpr size_t kAckOutcome = 1 + 8 + 16;
  constexpr size_t kFetchPriority = 1 + 8 + 4;
  constexpr size_t kFetchOfMemory = kFetchPriority + 1;
  constexpr size_t kAskQuestion = 1 + 8;
  constexpr size_t kAnswer = 1 + 8 + 4;
  constexpr size_t kKeptCode = 1 + 8 + 4;
  const auto last_code = static_cast<unsigned>(StatusCode::kDeviceLost);
  for (unsigned value = 0; value < 256; ++value) {
    const auto is_right = [value](unsigned first, unsigned last) {
      return value >= first && value <= last;
    };
    EXPECT_EQ(with_byte(UnservedMessage{}, kUnservedCode, value).has_value(),
              is_right(1, last_code));
    EXPECT_EQ(with_byte(AbandonMessage{}, kAbandonCode, value).has_value(), is_right(1, last_code));
    EXPECT_EQ(with_byte(AckMessage{}, kAckOutcome, value).has_value(), is_right(0, 2));
    EXPECT_EQ(with_byte(LinkMessage{}, 1, value).has_value(), is_right(0, 3));
    EXPECT_EQ(with_byte(PathMessage{}, 1, value).has_value(), is_right(0, 1));
    EXPECT_EQ(with_byte(PathMessage{}, 2, value).has_value(), is_right(0, 1));
    EXPECT_EQ(with_byte(FetchMessage{}, kFetchPriority, value).has_value(), is_right(0, 2));
    EXPECT_EQ(with_byte(FetchMessage{}, kFetchOfMemory, value).has_value(), is_right(0, 1));
    EXPECT_EQ(with_byte(AskMessage{}, kAskQuestion, value).has_value(), is_right(0, 2));
    EXPECT_EQ(with_byte(AnswerMessage{1, {false}}, kAnswer, value).has_value(), is_right(0, 1));
    EXPECT_EQ(with_byte(KeptMessage{}, kKeptCode, value).has_value(), is_right(0, last_code));
    if (value < std::variant_size_v<ControlMessage>) continue;
    EXPECT_THAT(with_byte(ReadyMessage{}, 0, value), StatusIs(StatusCode::kInvalidArgument));
  }
}

TEST(ControlMessage, AnotherProtocolVersionIsNamedWhateverFollowsIt) {
  WireWriter out;
  out.u8(0);
  out.u32(kProtocolVersion + 1);
  out.raw("fields of a later version");
  EXPECT_THAT(decode_message(out.view()),
              StatusIs(StatusCode::kFailedPrecondition,
                       HasSubstr("version " + std::to_string(kProtocolVersion + 1))));
}

TEST(ControlMessage, StringsAndListsOverTheirLimitAreErrors) {
  HelloMessage hello;
  hello.name = std::string(257, 'n');
  EXPECT_THAT(decode_message(bytes_of(hello)), StatusIs(StatusCode::kInvalidArgument));
  const LinkMessage link{PeerClass::kNetwork, std::string((64 << 10) + 1, 'a')};
  EXPECT_THAT(decode_message(bytes_of(link)), StatusIs(StatusCode::kInvalidArgument));
  const std::vector<ChunkRef> too_many(kMaxFetchItems + 1, {key_of(1), 0, 1});
  EXPECT_THAT(decode_message(bytes_of(FetchMessage{1, too_many})),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("items")));
  const std::vector<ChunkRef> long_keys(kMaxFetchItems, {key_of(1, std::string(256, 'm')), 0, 1});
  EXPECT_THAT(encode(FetchMessage{1, long_keys}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("over the limit")));
}

TEST(ControlMessage, QuestionsPushesAndRecordsOverTheirLimitAreErrors) {
  const std::vector<CacheEngineKey> keys(kMaxAskedKeys + 1, key_of(1));
  EXPECT_THAT(decode_message(bytes_of(AskMessage{1, PeerQuestion::kHolds, keys})),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("number of keys")));
  EXPECT_THAT(decode_message(bytes_of(AnswerMessage{1, std::vector<bool>(kMaxAskedKeys + 1)})),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("number of answers")));
  const std::vector<PushMessage::Item> items(kMaxAskedKeys + 1, {key_of(1), 1});
  EXPECT_THAT(decode_message(bytes_of(PushMessage{1, items})),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("number of items")));
  OfferMessage offer;
  offer.record.resize((1 << 20) + 1);
  EXPECT_THAT(decode_message(bytes_of(offer)),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("record size")));
}

TEST(ControlMessage, ChunksOfMemoryAreNamedWithoutTokensAndThoseOfPagesWith) {
  EXPECT_THAT(decode_message(bytes_of(FetchMessage{1, {{key_of(1), 0, 256}}, {}, true})),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("token")));
  EXPECT_THAT(decode_message(bytes_of(FetchMessage{1, {{key_of(1), 0, 0}}, {}, false})),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("token")));
}

TEST(ControlMessage, AnAnnouncedListCostsNoMoreThanWhatIsThere) {
  WireWriter out;
  out.u8(4);
  out.u64(1);
  out.u32(kMaxFetchItems);
  EXPECT_THAT(decode_message(out.view()), StatusIs(StatusCode::kInvalidArgument));
  out.u32(kMax32);
  EXPECT_THAT(decode_message(out.view()), StatusIs(StatusCode::kInvalidArgument));
}

TEST(ControlMessage, ReversedEmptyAndHugeTokenRangesAreErrors) {
  for (const auto& [begin, end] : std::vector<std::pair<int64_t, int64_t>>{
           {5, 5}, {6, 5}, {-1, 5}, {0, (1LL << 40) + 1}, {0, -1}}) {
    EXPECT_THAT(decode_message(bytes_of(FetchMessage{1, {{key_of(1), begin, end}}})),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("token")))
        << begin << ".." << end;
  }
}

TEST(ControlMessage, LongReasonsAreClippedNotRefused) {
  const std::string long_reason(100'000, 'x');
  const auto ack =
      decode_message(bytes_of(AckMessage{1, {2, 3}, ChunkOutcome::kFailed, long_reason}));
  EXPECT_EQ(std::get<AckMessage>(ack.value()).reason.size(), 4096U);
  const auto unserved =
      decode_message(bytes_of(UnservedMessage{1, 2, StatusCode::kNotFound, long_reason}));
  EXPECT_EQ(std::get<UnservedMessage>(unserved.value()).reason.size(), 4096U);
}

TEST(ControlMessage, RandomAndMutatedBytesAreReadWithoutHarm) {
  SeededRng rng;
  const std::vector<ControlMessage> samples = sample_messages();
  int accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::vector<std::byte> bytes = rng.bytes(rng.below(200));
    if (i % 2 == 0) {
      bytes = bytes_of(rng.pick(samples));
      for (uint64_t n = rng.below(4); n > 0; --n) bytes[rng.below(bytes.size())] = std::byte(rng());
    }
    const auto message = decode_message(prefix_of(bytes, bytes.size()));
    if (!message) continue;
    ++accepted;
    EXPECT_EQ(bytes_of(*message), bytes) << "what is accepted has one spelling";
  }
  EXPECT_GT(accepted, 0);
}

TEST(FragmentHeader, ComesBackAsItWasWithNoTilesAndWithTheMost) {
  for (const size_t num_tiles : {size_t{0}, size_t{1}, size_t{32}, size_t{1} << 16}) {
    const FragmentHeader header = sample_header(num_tiles);
    const std::vector<std::byte> bytes = encode(header);
    EXPECT_EQ(bytes.size(), fragment_header_bytes(num_tiles));
    const auto decoded = decode_fragment_header(bytes);
    ASSERT_THAT(decoded, IsOk());
    EXPECT_EQ(encode(*decoded), bytes);
    EXPECT_EQ(decoded->landing, header.landing);
    EXPECT_EQ(decoded->tile_digests, header.tile_digests);
  }
}

TEST(FragmentHeader, CutShortOverlongOrWithTooManyTilesIsAnError) {
  std::vector<std::byte> bytes = encode(sample_header(3));
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THAT(decode_fragment_header(prefix_of(bytes, size)),
                StatusIs(StatusCode::kInvalidArgument));
  }
  bytes.push_back(std::byte{0});
  EXPECT_THAT(decode_fragment_header(bytes), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(decode_fragment_header(encode(sample_header((1 << 16) + 1))),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("tile count")));
}

TEST(FragmentHeader, RandomBytesAreReadWithoutHarm) {
  SeededRng rng;
  for (int i = 0; i < 20'000; ++i) {
    std::vector<std::byte> bytes = rng.bytes(rng.below(120));
    if (bytes.size() > fragment_header_bytes(0) && i % 2 == 0) {
      for (size_t at = 44; at < 48; ++at) bytes[at] = std::byte{0};
      bytes[44] = std::byte(rng.below(8));
    }
    const auto header = decode_fragment_header(prefix_of(bytes, bytes.size()));
    if (!header) continue;
    EXPECT_EQ(encode(*header), bytes);
  }
}

}  // namespace
}  // namespace kvferry
