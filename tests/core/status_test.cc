#include "kvferry/status.h"

#include <gmock/gmock.h>

#include <set>
#include <string>

#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kLastCode = StatusCode::kDeviceLost;

Status fail_if(bool fails) {
  return fails ? Status(StatusCode::kUnavailable, "peer 3 is gone") : Status();
}

Result<int> seven_unless(bool fails) {
  if (fails) return make_error(StatusCode::kNotFound, "no seven");
  return 7;
}

Status pass_on(bool fails, bool* reached_end) {
  KVFERRY_RETURN_IF_ERROR(fail_if(fails));
  *reached_end = true;
  return Status();
}

Result<std::string> pass_on_as_result(bool fails) {
  KVFERRY_RETURN_IF_ERROR(fail_if(fails));
  return std::string("done");
}

Result<int> add_one(bool fails) {
  KVFERRY_ASSIGN_OR_RETURN(const int value, seven_unless(fails));
  return value + 1;
}

Status check_seven(bool fails) {
  int value = 0;
  KVFERRY_ASSIGN_OR_RETURN(value, seven_unless(fails));
  return value == 7 ? Status() : Status(StatusCode::kInternal, "not seven");
}

TEST(Status, EveryCodeHasADistinctName) {
  std::set<std::string_view> names;
  for (uint8_t code = 0; code <= static_cast<uint8_t>(kLastCode); ++code) {
    const std::string_view name = status_code_name(static_cast<StatusCode>(code));
    EXPECT_NE(name, "unknown") << "code " << int{code};
    EXPECT_TRUE(names.insert(name).second) << name;
  }
  EXPECT_EQ(status_code_name(static_cast<StatusCode>(static_cast<uint8_t>(kLastCode) + 1)),
            "unknown");
}

TEST(Status, DefaultIsOkAndHasNoMessage) {
  const Status ok;
  EXPECT_TRUE(ok.is_ok());
  EXPECT_EQ(ok.code(), StatusCode::kOk);
  EXPECT_EQ(ok.message(), "");
  EXPECT_EQ(ok.to_string(), "ok");
  EXPECT_EQ(ok.domain(), ErrorDomain::kNone);
  EXPECT_EQ(ok.native_code(), 0);
}

TEST(Status, ErrorMadeWithCodeOkIsOk) { EXPECT_THAT(Status(StatusCode::kOk, "ignored"), IsOk()); }

TEST(Status, ErrorKeepsCodeMessageAndLocation) {
  const Status status(StatusCode::kDataLoss, "tile 7 differs");
  EXPECT_THAT(status, StatusIs(StatusCode::kDataLoss, HasSubstr("tile 7")));
  EXPECT_EQ(status.to_string(), "data_loss: tile 7 differs");
  EXPECT_THAT(status.to_string_with_location(), HasSubstr("status_test.cc:"));
}

TEST(Status, NativeCodeKeepsItsDomain) {
  const Status status =
      Status::native(StatusCode::kPermissionDenied, ErrorDomain::kErrno, 13, "open /x: EACCES");
  EXPECT_EQ(status.domain(), ErrorDomain::kErrno);
  EXPECT_EQ(status.native_code(), 13);
}

TEST(Status, ContextGoesBeforeTheMessageAndKeepsTheRest) {
  const Status status = Status::native(StatusCode::kUnavailable, ErrorDomain::kUcx, -25, "reset");
  const Status outer = status.with_context("gather layer 3");
  EXPECT_THAT(outer, StatusIs(StatusCode::kUnavailable, "gather layer 3: reset"));
  EXPECT_EQ(outer.domain(), ErrorDomain::kUcx);
  EXPECT_EQ(outer.native_code(), -25);
  EXPECT_THAT(Status().with_context("anything"), IsOk());
}

TEST(Status, CopiesShareTheError) {
  const Status status(StatusCode::kInternal, "a message long enough to live on the heap");
  Status copy;
  copy = status;
  EXPECT_EQ(copy.message().data(), status.message().data());
}

TEST(Status, MakeErrorNamesItsCaller) {
  EXPECT_THAT(seven_unless(true).error().to_string_with_location(), HasSubstr("status_test.cc:"));
}

TEST(Status, ReturnIfErrorLeavesOnErrorOnly) {
  bool reached_end = false;
  EXPECT_THAT(pass_on(true, &reached_end), StatusIs(StatusCode::kUnavailable));
  EXPECT_FALSE(reached_end);
  EXPECT_THAT(pass_on(false, &reached_end), IsOk());
  EXPECT_TRUE(reached_end);
}

TEST(Status, ReturnIfErrorWorksInFunctionsThatReturnAResult) {
  EXPECT_THAT(pass_on_as_result(true), StatusIs(StatusCode::kUnavailable, HasSubstr("peer 3")));
  EXPECT_THAT(pass_on_as_result(false), IsOkAndHolds("done"));
}

TEST(Status, AssignOrReturnDeclaresAssignsAndLeaves) {
  EXPECT_THAT(add_one(false), IsOkAndHolds(8));
  EXPECT_THAT(add_one(true), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(check_seven(false), IsOk());
  EXPECT_THAT(check_seven(true), StatusIs(StatusCode::kNotFound));
}

TEST(StatusMatchers, TellErrorsFromValues) {
  EXPECT_THAT(seven_unless(true), Not(IsOk()));
  EXPECT_THAT(seven_unless(true), Not(IsOkAndHolds(7)));
  EXPECT_THAT(seven_unless(false), Not(IsOkAndHolds(8)));
  EXPECT_THAT(seven_unless(false), Not(StatusIs(StatusCode::kNotFound)));
  EXPECT_THAT(seven_unless(true), Not(StatusIs(StatusCode::kNotFound, HasSubstr("eight"))));
}

}  // namespace
}  // namespace kvferry
