#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/status_matchers.h"
#include "tests/workload/traffic/trace_file.h"
#include "workload/traffic/trace.h"

namespace kvferry {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Lt;
using ::testing::Not;
using ::testing::SizeIs;

const std::string kGood =
    R"({"timestamp": 0, "input_length": 700, "output_length": 12, "hash_ids": [0, 1]})";

/// A line with the given values as JSON text.
std::string line(const std::string& timestamp, const std::string& input, const std::string& output,
                 const std::string& ids) {
  return R"({"timestamp": )" + timestamp + R"(, "input_length": )" + input +
         R"(, "output_length": )" + output + R"(, "hash_ids": )" + ids + "}";
}

std::string list_of(size_t count, const std::string& element) {
  std::string text = "[";
  for (size_t i = 0; i < count; ++i) text += (i > 0 ? "," : "") + element;
  return text + "]";
}

struct BadLine {
  std::string line;
  std::vector<std::string> message;  ///< parts of it
};

const std::string kInputRange = "must be a whole number from 1 to 16777216";
const std::string kIdRange = "must be a whole number from 0 to 9007199254740992";

std::vector<BadLine> lines_that_are_no_object() {
  return {
      {"rubbish", {"not JSON at column 1", "'rubbish'"}},
      {"{'timestamp': 0}", {"not JSON at column 2"}},
      {kGood.substr(0, kGood.size() - 1), {"ends in the middle", "truncated"}},
      {kGood.substr(0, 40), {"ends in the middle", "truncated"}},
      {kGood.substr(0, 5), {"ends in the middle", "truncated"}},
      {"{", {"ends in the middle"}},
      {kGood + kGood, {"not JSON at column 79"}},
      {kGood + ",", {"not JSON at column"}},
      {kGood.substr(1), {"must be a JSON object, found the string 'timestamp'"}},
      {"[]", {"must be a JSON object, found a list"}},
      {"[" + kGood + "]", {"must be a JSON object, found a list"}},
      {"null", {"must be a JSON object, found null"}},
      {"7", {"must be a JSON object, found 7"}},
      {"-1.5e9", {"must be a JSON object, found -1.5e9"}},
      {"1e999", {"must be a JSON object"}},
      {"\"text\"", {"must be a JSON object, found the string 'text'"}},
      {"// comment", {"not JSON at column 1"}},
      {std::string("\0\0\0", 3), {"not JSON at column 1", "column 1, near"}},
      {"\xff\xfe{", {"not JSON at column 1"}},
      {"{\"timestamp\xc3\x28\": 0}", {"not JSON at column"}},
      {line("00", "700", "12", "[0, 1]"), {"not JSON at column 16"}},
      {line("+1", "700", "12", "[0, 1]"), {"not JSON at column 15"}},
      {line("0x10", "700", "12", "[0, 1]"), {"not JSON at column 16"}},
      {line("NaN", "700", "12", "[0, 1]"), {"not JSON at column 15"}},
      {line("0", "700", "12", "[0, 1,]"), {"not JSON at column"}},
  };
}

std::vector<BadLine> lines_with_fields_missing_or_twice() {
  return {
      {"{}", {"timestamp is missing"}},
      {R"({"input_length": 1, "output_length": 1, "hash_ids": [1]})", {"timestamp is missing"}},
      {R"({"timestamp": 0, "output_length": 1, "hash_ids": [1]})", {"input_length is missing"}},
      {R"({"timestamp": 0, "input_length": 1, "hash_ids": [1]})", {"output_length is missing"}},
      {R"({"timestamp": 0, "input_length": 1, "output_length": 1})", {"hash_ids is missing"}},
      {R"({"Timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": [1]})",
       {"timestamp is missing"}},
      {R"({"timestamp": 0, "timestamp": 0})", {"timestamp appears twice"}},
      {R"({"hash_ids": [], "hash_ids": [1]})", {"hash_ids appears twice"}},
  };
}

std::vector<BadLine> lines_with_wrong_types() {
  return {
      {line("\"0\"", "700", "12", "[0, 1]"), {"timestamp must be", "found the string '0'"}},
      {line("0", "null", "12", "[0, 1]"), {"input_length " + kInputRange, "found null"}},
      {line("0", "700", "true", "[0, 1]"), {"output_length must be", "found true"}},
      {line("0", "[700]", "12", "[0, 1]"), {"input_length " + kInputRange, "found a list"}},
      {line("0", "700", "{}", "[0, 1]"), {"output_length must be", "found an object"}},
      {line("0", "700.0", "12", "[0, 1]"), {"input_length " + kInputRange, "found 700.0"}},
      {line("0", "7e2", "12", "[0, 1]"), {"input_length " + kInputRange, "found 7e2"}},
      {line("0", "700", "12", "7"), {"hash_ids must be a list of whole numbers, found 7"}},
      {line("0", "700", "12", "{}"), {"hash_ids must be a list", "found an object"}},
      {line("0", "700", "12", "\"0, 1\""), {"hash_ids must be a list", "found the string"}},
      {line("0", "700", "12", "[0, \"1\"]"), {"hash_ids[1] " + kIdRange, "found the string '1'"}},
      {line("0", "700", "12", "[0, [1]]"), {"hash_ids[1] " + kIdRange, "found a list"}},
      {line("0", "700", "12", "[null]"), {"hash_ids[0] " + kIdRange, "found null"}},
      {line("0", "700", "12", "[0, 1.5]"), {"hash_ids[1] " + kIdRange, "found 1.5"}},
  };
}

std::vector<BadLine> lines_with_numbers_out_of_bounds() {
  return {
      {line("-1", "700", "12", "[0, 1]"), {"timestamp must be", "found -1"}},
      {line("0", "-700", "12", "[0, 1]"), {"input_length " + kInputRange, "found -700"}},
      {line("0", "0", "12", "[]"), {"input_length " + kInputRange, "found 0"}},
      {line("0", "700", "-12", "[0, 1]"), {"output_length must be", "found -12"}},
      {line("0", "700", "12", "[0, -1]"), {"hash_ids[1] " + kIdRange, "found -1"}},
      {line("0", "16777217", "12", "[0, 1]"), {"input_length " + kInputRange, "found 16777217"}},
      {line("0", "700", "16777217", "[0, 1]"), {"output_length must be", "found 16777217"}},
      {line("9007199254740993", "700", "12", "[0, 1]"),
       {"timestamp must be", "found 9007199254740993"}},
      {line("0", "700", "12", "[9007199254740993, 1]"),
       {"hash_ids[0] " + kIdRange, "found 9007199254740993"}},
      {line("0", "18446744073709551615", "12", "[0, 1]"),
       {"input_length " + kInputRange, "found 18446744073709551615"}},
      {line("0", "18446744073709551616", "12", "[0, 1]"), {"input_length " + kInputRange}},
      {line("0", "-9223372036854775809", "12", "[0, 1]"), {"input_length " + kInputRange}},
      {line("0", "1e400", "12", "[0, 1]"), {"input_length " + kInputRange, "past every bound"}},
      {line("0", std::string(5000, '9'), "12", "[0, 1]"), {"input_length " + kInputRange}},
      {line("0", "700", "12", "[1e999]"), {"hash_ids[0] " + kIdRange, "past every bound"}},
  };
}

std::vector<BadLine> lines_whose_ids_do_not_fit() {
  return {
      {line("0", "700", "12", "[]"), {"hash_ids has 0 entries, input_length 700 needs 2"}},
      {line("0", "513", "12", "[0]"), {"hash_ids has 1 entries, input_length 513 needs 2"}},
      {line("0", "512", "12", "[0, 1]"), {"hash_ids has 2 entries, input_length 512 needs 1"}},
      {line("0", "16777216", "12", "[0]"), {"hash_ids has 1 entries", "needs 32768"}},
      {line("0", "16777216", "12", list_of(32769, "0")), {"hash_ids has more than 32768 entries"}},
  };
}

std::vector<BadLine> lines_that_only_cost_memory() {
  const std::string deep = std::string(100, '[') + std::string(100, ']');
  return {
      {R"({"x": )" + deep + "}", {"nests deeper than 64"}},
      {line("0", "700", "12", deep), {"hash_ids[0]", "found a list"}},
      {line("\"" + std::string(1 << 20, 'x') + "\"", "1", "1", "[1]"),
       {"timestamp must be", "found the string 'xxxx", "..."}},
      {line("\"a\\nb\"", "1", "1", "[1]"), {"timestamp must be", "'a?b'"}},
  };
}

std::vector<BadLine> bad_lines() {
  std::vector<BadLine> all;
  for (const auto& lines : {lines_that_are_no_object(), lines_with_fields_missing_or_twice(),
                            lines_with_wrong_types(), lines_with_numbers_out_of_bounds(),
                            lines_whose_ids_do_not_fit(), lines_that_only_cost_memory()}) {
    all.insert(all.end(), lines.begin(), lines.end());
  }
  return all;
}

std::string between_good_ones(const std::string& bad_line) {
  return kGood + "\n" + bad_line + "\n" + kGood + "\n";
}

TEST(HostileTrace, EveryBadLineIsRefusedOnOneLineWithItsPlaceAndCause) {
  const std::vector<BadLine> lines = bad_lines();
  ASSERT_GE(lines.size(), 60u);
  for (const BadLine& bad : lines) {
    const TraceFile file(between_good_ones(bad.line));
    const auto trace = read_trace(file.path());
    SCOPED_TRACE(bad.line.substr(0, 200));
    ASSERT_THAT(trace, StatusIs(StatusCode::kInvalidArgument,
                                AllOf(HasSubstr(file.path() + ":2: "), Not(HasSubstr("\n")),
                                      SizeIs(Lt(file.path().size() + 200)))));
    for (const std::string& part : bad.message) {
      EXPECT_THAT(trace, StatusIs(StatusCode::kInvalidArgument, HasSubstr(part)));
    }
  }
}

TEST(HostileTrace, EveryPrefixOfALineIsRefused) {
  for (size_t size = 1; size < kGood.size(); ++size) {
    const TraceFile file(kGood.substr(0, size));
    EXPECT_THAT(read_trace(file.path()),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(":1: line ends in the middle")))
        << size;
  }
}

TEST(HostileTrace, FileWithoutRequests) {
  for (const char* text : {"", "\n", "\r\n\n  \n"}) {
    const TraceFile file(text);
    EXPECT_THAT(read_trace(file.path()), StatusIs(StatusCode::kInvalidArgument,
                                                  HasSubstr(file.path() + ":1: trace holds no")))
        << text;
  }
  EXPECT_THAT(read_trace("/dev/null"),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("/dev/null:1: trace holds no")));
}

TEST(HostileTrace, BlankLineBetweenRequests) {
  const TraceFile file(kGood + "\n\n\n" + kGood + "\n");
  EXPECT_THAT(read_trace(file.path()),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr(":2: line is blank")));
}

TEST(HostileTrace, FileThatCannotBeOpened) {
  const TraceFile file(kGood);
  EXPECT_THAT(read_trace(file.path() + ".missing"),
              StatusIs(StatusCode::kNotFound,
                       AllOf(HasSubstr(file.path() + ".missing"), HasSubstr("No such file"))));
  EXPECT_THAT(read_trace(file.path() + "/below"), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(read_trace(""), StatusIs(StatusCode::kNotFound, HasSubstr("cannot open trace")));
  const std::string directory = std::filesystem::path(file.path()).parent_path().string();
  EXPECT_THAT(read_trace(directory),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr(directory + " is a directory")));
  EXPECT_THAT(read_trace("a\nb"), StatusIs(StatusCode::kNotFound, HasSubstr("a?b")));
}

TEST(HostileTrace, UnreadableFileIsPermissionDenied) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  const TraceFile file(kGood);
  ASSERT_EQ(::chmod(file.path().c_str(), 0), 0);
  EXPECT_THAT(read_trace(file.path()), StatusIs(StatusCode::kPermissionDenied));
}

TEST(HostileTrace, FileThatCannotBeRead) {
  EXPECT_THAT(read_trace("/proc/self/mem"),
              StatusIs(StatusCode::kUnavailable, HasSubstr("cannot read trace /proc/self/mem: ")));
}

TEST(HostileTrace, LongLineIsRefusedBeforeItIsHeld) {
  EXPECT_THAT(read_trace("/dev/zero"),
              StatusIs(StatusCode::kResourceExhausted,
                       HasSubstr("/dev/zero:1: line is longer than 16777216 bytes")));
  const TraceFile file(kGood + "\n");
  const auto size = static_cast<int64_t>(kGood.size());
  EXPECT_THAT(read_trace(file.path(), {.max_line_bytes = size}), IsOk());
  EXPECT_THAT(read_trace(file.path(), {.max_line_bytes = size - 1}),
              StatusIs(StatusCode::kResourceExhausted, HasSubstr(":1: line is longer than")));
}

TEST(HostileTrace, TraceOfTooManyIdsIsRefused) {
  const TraceFile file(kGood + "\n" + kGood + "\n");
  EXPECT_THAT(read_trace(file.path(), {.max_hash_ids = 4}), IsOk());
  EXPECT_THAT(read_trace(file.path(), {.max_hash_ids = 3}),
              StatusIs(StatusCode::kResourceExhausted, HasSubstr(":2: trace holds more than 3")));
}

}  // namespace
}  // namespace kvferry
