#include "workload/traffic/trace_line.h"

#include <algorithm>
#include <array>
#include <bitset>
#include <nlohmann/json.hpp>

#include "core/printable.h"

namespace kvferry::detail {
namespace {

using Json = nlohmann::json;

constexpr int32_t kMaxDepth = 64;
constexpr size_t kMaxEchoedBytes = 32;
constexpr int32_t kNumberOverflow = 406;  // nlohmann's id of "number overflow"

enum Field : size_t { kTimestamp, kInputLength, kOutputLength, kHashIds, kNumFields };

struct FieldRule {
  std::string_view name;
  int64_t min;
  int64_t max;
};
constexpr std::array<FieldRule, kNumFields> kRules = {{
    {"timestamp", 0, kMaxTraceNumber},
    {"input_length", 1, kMaxTraceTokens},
    {"output_length", 0, kMaxTraceTokens},
    {"hash_ids", 0, kMaxTraceNumber},
}};

std::string echo(std::string_view text) { return "'" + printable(text, kMaxEchoedBytes) + "'"; }

/// Receives the parser's events. A field that is not one of ours is skipped, whatever it holds.
class LineHandler : public nlohmann::json_sax<Json> {
 public:
  LineHandler(std::string_view line, TraceRequest& request) : line_(line), request_(request) {
    request_.hash_ids.clear();
  }

  bool null() override { return take("null"); }
  bool boolean(bool value) override { return take(value ? "true" : "false"); }
  bool string(string_t& value) override { return take("the string " + echo(value)); }
  bool binary(binary_t&) override { return take("binary data"); }
  bool number_integer(number_integer_t value) override {
    return take_number(value, std::to_string(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    const bool fits = value <= static_cast<uint64_t>(kMaxTraceNumber);
    return take_number(fits ? static_cast<int64_t>(value) : -1, std::to_string(value));
  }
  bool number_float(number_float_t, const string_t& text) override {
    return take_number(-1, printable(text, kMaxEchoedBytes));
  }

  bool start_object(size_t) override {
    if (depth_ > 0 && !take("an object")) return false;
    return descend();
  }
  bool start_array(size_t) override {
    if (depth_ == 1 && field_ == kHashIds) return descend();
    if (!take("a list")) return false;
    return descend();
  }
  bool end_object() override { return ascend(); }
  bool end_array() override { return ascend(); }

  bool key(string_t& name) override {
    if (depth_ != 1) return true;
    const auto* const rule = std::ranges::find(kRules, name, &FieldRule::name);
    field_ = static_cast<size_t>(rule - kRules.begin());
    if (field_ == kNumFields) return true;
    if (seen_.test(field_)) return fail(name + " appears twice");
    seen_.set(field_);
    return true;
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    if (error.id == kNumberOverflow) return take_number(-1, "a number past every bound");
    if (position > line_.size())
      return fail("line ends in the middle of a JSON object; truncated?");
    const size_t start = position > 0 ? position - 1 : 0;
    return fail("line is not JSON at column " + std::to_string(start + 1) + ", near " +
                echo(line_.substr(start)));
  }

  /// What is wrong with the line that was parsed.
  std::string finish() {
    if (!cause_.empty()) return cause_;
    for (size_t field = 0; field < kNumFields; ++field) {
      if (!seen_.test(field)) return std::string(kRules[field].name) + " is missing";
    }
    const int64_t needed = num_trace_blocks(request_.input_length);
    const auto found = static_cast<int64_t>(request_.hash_ids.size());
    if (found == needed) return {};
    return "hash_ids has " + std::to_string(found) + " entries, input_length " +
           std::to_string(request_.input_length) + " needs " + std::to_string(needed);
  }

 private:
  bool fail(std::string cause) {
    if (cause_.empty()) cause_ = std::move(cause);
    return false;
  }
  bool descend() {
    if (++depth_ > kMaxDepth) return fail("line nests deeper than " + std::to_string(kMaxDepth));
    return true;
  }
  bool ascend() {
    --depth_;
    return true;
  }

  /// Is the parser at an element of the list hash_ids?
  bool in_hash_ids() const { return depth_ == 2 && field_ == kHashIds; }

  /// A value that is no number.
  bool take(const std::string& found) {
    if (depth_ == 0) return fail("line must be a JSON object, found " + found);
    if (field_ == kNumFields) return true;
    if (field_ == kHashIds && !in_hash_ids()) {
      return fail("hash_ids must be a list of whole numbers, found " + found);
    }
    return fail_number(found);
  }

  bool take_number(int64_t value, const std::string& found) {
    if (depth_ == 0 || field_ == kNumFields || (field_ == kHashIds && !in_hash_ids())) {
      return take(found);
    }
    const FieldRule& rule = kRules[field_];
    if (value < rule.min || value > rule.max) return fail_number(found);
    switch (static_cast<Field>(field_)) {
      case kTimestamp:
        request_.timestamp_ms = value;
        return true;
      case kInputLength:
        request_.input_length = value;
        return true;
      case kOutputLength:
        request_.output_length = value;
        return true;
      case kHashIds:
        return take_hash_id(value);
      case kNumFields:
        break;
    }
    return true;
  }

  bool take_hash_id(int64_t value) {
    constexpr int64_t kMaxIds = num_trace_blocks(kMaxTraceTokens);
    if (static_cast<int64_t>(request_.hash_ids.size()) == kMaxIds) {
      return fail("hash_ids has more than " + std::to_string(kMaxIds) + " entries");
    }
    request_.hash_ids.push_back(value);
    return true;
  }

  bool fail_number(const std::string& found) {
    const FieldRule& rule = kRules[field_];
    std::string name(rule.name);
    if (in_hash_ids()) name += "[" + std::to_string(request_.hash_ids.size()) + "]";
    return fail(name + " must be a whole number from " + std::to_string(rule.min) + " to " +
                std::to_string(rule.max) + ", found " + found);
  }

  std::string_view line_;
  TraceRequest& request_;
  std::string cause_;
  int32_t depth_ = 0;
  size_t field_ = kNumFields;
  std::bitset<kNumFields> seen_;
};

}  // namespace

std::string parse_trace_line(std::string_view line, TraceRequest& request) {
  LineHandler handler(line, request);
  if (Json::sax_parse(line.begin(), line.end(), &handler)) return handler.finish();
  const std::string cause = handler.finish();
  return cause.empty() ? "line is not JSON" : cause;
}

}  // namespace kvferry::detail
