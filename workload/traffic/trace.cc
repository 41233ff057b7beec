#include "workload/traffic/trace.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "workload/mix64.h"

namespace kvferry {
namespace {

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

std::string to_json_line(const TraceRequest& request) {
  std::string line = "{\"timestamp\": " + std::to_string(request.timestamp_ms) +
                     ", \"input_length\": " + std::to_string(request.input_length) +
                     ", \"output_length\": " + std::to_string(request.output_length) +
                     ", \"hash_ids\": [";
  for (size_t i = 0; i < request.hash_ids.size(); ++i) {
    if (i > 0) line += ", ";
    line += std::to_string(request.hash_ids[i]);
  }
  return line + "]}\n";
}

Status write_error(const std::string& path) {
  const int error = errno;
  return Status::native(StatusCode::kUnavailable, ErrorDomain::kErrno, error,
                        "cannot write trace " + path + ": " + std::strerror(error));
}

}  // namespace

Status write_trace(const std::string& path, const std::vector<TraceRequest>& requests) {
  std::unique_ptr<std::FILE, FileCloser> file(std::fopen(path.c_str(), "we"));
  if (!file) return write_error(path);
  for (const TraceRequest& request : requests) {
    const std::string line = to_json_line(request);
    if (std::fwrite(line.data(), 1, line.size(), file.get()) != line.size()) {
      return write_error(path);
    }
  }
  if (std::fclose(file.release()) != 0) return write_error(path);
  return {};
}

std::vector<uint32_t> expand_tokens(const TraceRequest& request, int64_t max_tokens) {
  const int64_t held = static_cast<int64_t>(request.hash_ids.size()) * kTraceBlockTokens;
  const int64_t count = std::max<int64_t>(0, std::min({request.input_length, held, max_tokens}));
  std::vector<uint32_t> tokens(static_cast<size_t>(count));
  for (size_t i = 0; i < tokens.size(); ++i) {
    const size_t block = i / kTraceBlockTokens;
    const uint64_t pair = (i % kTraceBlockTokens) / 2;
    // Ids are below 2^54, so (id, pair) has a number of its own, and mix64 keeps it apart.
    const uint64_t id = static_cast<uint64_t>(request.hash_ids[block]);
    const uint64_t mixed = detail::mix64(id * (kTraceBlockTokens / 2) + pair + 1);
    tokens[i] = static_cast<uint32_t>(i % 2 == 0 ? mixed : mixed >> 32);
  }
  return tokens;
}

}  // namespace kvferry
