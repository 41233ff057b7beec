#include "kvferry/dtype.h"

#include <gmock/gmock.h>

#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

struct Known {
  DType dtype;
  int number;
  const char* name;
  int64_t size;
};

constexpr Known kKnown[] = {
    {DType::kU8, 1, "uint8", 1},        {DType::kF16, 2, "half", 2},
    {DType::kBF16, 3, "bfloat16", 2},   {DType::kF32, 4, "float", 4},
    {DType::kF8E4M3, 5, "fp8_e4m3", 1}, {DType::kF8E5M2, 6, "fp8_e5m2", 1},
};

TEST(DType, NumbersAndNamesAreThoseOfTheFormats) {
  for (const Known& known : kKnown) {
    EXPECT_EQ(static_cast<int>(known.dtype), known.number) << known.name;
    EXPECT_EQ(dtype_name(known.dtype), known.name);
    EXPECT_EQ(dtype_size(known.dtype), known.size) << known.name;
  }
}

TEST(DType, ParseTakesWhatNameGives) {
  for (const Known& known : kKnown) {
    EXPECT_THAT(parse_dtype(known.name), IsOkAndHolds(known.dtype));
  }
}

TEST(DType, ParseRefusesOthersAndNamesTheKnown) {
  for (const char* name : {"", "Half", "float16", "half ", "unknown"}) {
    EXPECT_THAT(parse_dtype(name), StatusIs(StatusCode::kInvalidArgument,
                                            AllOf(HasSubstr("'" + std::string(name) + "'"),
                                                  HasSubstr("bfloat16"), HasSubstr("fp8_e5m2"))));
  }
}

TEST(DType, UnknownNumberHasSizeZero) {
  EXPECT_EQ(dtype_size(static_cast<DType>(0)), 0);
  EXPECT_EQ(dtype_size(static_cast<DType>(7)), 0);
  EXPECT_EQ(dtype_name(static_cast<DType>(255)), "unknown");
}

}  // namespace
}  // namespace kvferry
