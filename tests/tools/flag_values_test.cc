#include "tools/flag_values.h"

#include <limits>

#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

TEST(ParseBytes, KnowsTheUnitsThatPeopleWrite) {
  EXPECT_THAT(parse_bytes("4096"), IsOkAndHolds(4096));
  EXPECT_THAT(parse_bytes("512MiB"), IsOkAndHolds(int64_t{512} << 20));
  EXPECT_THAT(parse_bytes("6g"), IsOkAndHolds(int64_t{6} << 30));
  EXPECT_THAT(parse_bytes("1.5GB"), IsOkAndHolds(1'500'000'000));
}

TEST(ParseBytes, RefusesWhatIsNoSize) {
  for (const char* text : {"", "lots", "-1", "1x", "nan", "inf", "1e300", "9999999999GiB", "GiB"}) {
    EXPECT_THAT(parse_bytes(text), StatusIs(StatusCode::kInvalidArgument, HasSubstr("no size")))
        << text;
  }
}

TEST(ParseWholeNumber, TakesItsRangeAndNothingElse) {
  constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();
  EXPECT_THAT(parse_whole_number("1", 1, 9), IsOkAndHolds(1));
  EXPECT_THAT(parse_whole_number("9", 1, 9), IsOkAndHolds(9));
  EXPECT_THAT(parse_whole_number("18446744073709551615", 0, kMost), IsOkAndHolds(kMost));
  for (const char* text : {"", "0", "10", "-1", "+1", " 1", "1 ", "1.5", "0x1", "one",
                           "18446744073709551616", "99999999999999999999"}) {
    EXPECT_THAT(parse_whole_number(text, 1, 9),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("from 1 to 9")))
        << text;
  }
}

}  // namespace
}  // namespace kvferry
