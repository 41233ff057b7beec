#pragma once

#include <gmock/gmock.h>

#include <ostream>
#include <string>

#include "kvferry/status.h"

// Matchers for Status and Result<T>:
//
//   EXPECT_THAT(validate(layout), IsOk());
//   EXPECT_THAT(parse_dtype("half"), IsOkAndHolds(DType::kF16));
//   EXPECT_THAT(parse_dtype("?"), StatusIs(StatusCode::kInvalidArgument, HasSubstr("dtype")));

namespace kvferry {

inline void PrintTo(StatusCode code, std::ostream* out) { *out << status_code_name(code); }
inline void PrintTo(const Status& status, std::ostream* out) {
  *out << status.to_string_with_location();
}
template <typename T>
void PrintTo(const Result<T>& result, std::ostream* out) {
  *out << (result ? ::testing::PrintToString(*result) : result.error().to_string_with_location());
}

namespace detail {

inline Status status_of(const Status& status) { return status; }
template <typename T>
Status status_of(const Result<T>& result) {
  return result ? Status() : result.error();
}

}  // namespace detail

// Results and statuses print themselves (PrintTo above), so that matchers need not explain.

MATCHER(IsOk, negation ? "is an error" : "is ok") { return detail::status_of(arg).is_ok(); }

MATCHER_P(IsOkAndHolds, value_matcher, "is ok and holds what is expected") {
  return arg.has_value() && ::testing::ExplainMatchResult(value_matcher, *arg, result_listener);
}

MATCHER_P(StatusIs, code, "is " + ::testing::PrintToString(code)) {
  return detail::status_of(arg).code() == code;
}

MATCHER_P2(StatusIs, code, message_matcher,
           "is " + ::testing::PrintToString(code) + " with a message that " +
               ::testing::DescribeMatcher<std::string>(message_matcher, negation)) {
  const Status status = detail::status_of(arg);
  return status.code() == code &&
         ::testing::ExplainMatchResult(message_matcher, std::string(status.message()),
                                       result_listener);
}

}  // namespace kvferry
