#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kvferry/status.h"

namespace kvferry {

/// Tokens that one hash id of a trace stands for.
inline constexpr int64_t kTraceBlockTokens = 512;
/// Largest input_length or output_length that a trace may hold.
inline constexpr int64_t kMaxTraceTokens = int64_t{1} << 24;
/// Largest hash id or timestamp: what every JSON reader holds exactly.
inline constexpr int64_t kMaxTraceNumber = int64_t{1} << 53;

/// One request of a serving trace. Equal ids mean equal tokens; the last block may be partial.
struct TraceRequest {
  int64_t timestamp_ms = 0;
  int64_t input_length = 0;       ///< tokens of the prompt
  int64_t output_length = 0;      ///< tokens the model then wrote
  std::vector<int64_t> hash_ids;  ///< one per kTraceBlockTokens of the prompt

  friend bool operator==(const TraceRequest&, const TraceRequest&) = default;
};

/// hash_ids that a prompt of `input_length` tokens has.
constexpr int64_t num_trace_blocks(int64_t input_length) {
  return (input_length + kTraceBlockTokens - 1) / kTraceBlockTokens;
}

struct TraceLimits {
  /// Reading stops, without an error, after this many requests.
  std::optional<int64_t> max_requests = std::nullopt;
  /// A longer line is refused.
  int64_t max_line_bytes = int64_t{16} << 20;
  /// A trace that holds more in what is read of it is refused: 128 MiB of them.
  int64_t max_hash_ids = int64_t{1} << 24;
};

/// Reads a trace: one JSON object a line, as Mooncake publishes them.
///
///   {"timestamp": 0, "input_length": 700, "output_length": 12, "hash_ids": [0, 1]}
///
/// The four fields are required, once each, as whole numbers: timestamp and ids 0 to 2^53,
/// input_length 1 to 2^24, output_length 0 to 2^24, exactly num_trace_blocks(input_length) ids.
/// Other fields are ignored. CRLF and blank lines at the end are accepted. Never throws.
///
/// Errors: each one line naming file, line number, field and cause.
///   kInvalidArgument: a line that is none of the above, no requests, a directory;
///   kNotFound, kPermissionDenied: the file cannot be opened; kUnavailable: it cannot be read;
///   kResourceExhausted: more hash ids, or longer lines, than `limits`.
Result<std::vector<TraceRequest>> read_trace(const std::string& path,
                                             const TraceLimits& limits = {});

/// Writes what read_trace() reads, replacing the file.
///
/// Errors: kUnavailable with errno, naming the file; it may hold a part of the requests then.
Status write_trace(const std::string& path, const std::vector<TraceRequest>& requests);

/// The first `max_tokens` token ids of a request's prompt.
///
/// A pure function of the hash ids: blocks of equal ids have equal tokens, and blocks of different
/// ids differ in every pair of tokens (2k, 2k + 1).
std::vector<uint32_t> expand_tokens(const TraceRequest& request, int64_t max_tokens);

}  // namespace kvferry
