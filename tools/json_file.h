#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "core/unique_fd.h"
#include "kvferry/status.h"

namespace kvferry {

/// Where a report goes at the end of a run. Opened before the run, so that a path that cannot be
/// written is refused while nothing is lost by it. What the file held stays until write(); a file
/// that open() made and write() did not fill is removed.
class JsonFile {
 public:
  /// Errors: kInvalidArgument for an empty path; kUnavailable naming the file and the errno.
  static Result<std::unique_ptr<JsonFile>> open(const std::string& path);
  /// The same for what was given behind `flag`, which errors name; null if it was not.
  static Result<std::unique_ptr<JsonFile>> open_flag(const char* flag,
                                                     const std::optional<std::string>& path);
  ~JsonFile();
  JsonFile(const JsonFile&) = delete;
  JsonFile& operator=(const JsonFile&) = delete;

  /// Replaces what the file holds by the object, indented. Errors: as open().
  Status write(const nlohmann::json& object);
  /// The same with JSON that is text already.
  Status write_text(const std::string& text);

 private:
  JsonFile(std::string path, UniqueFd fd, bool is_new)
      : path_(std::move(path)), fd_(std::move(fd)), is_unfilled_(is_new) {}

  const std::string path_;
  UniqueFd fd_;
  bool is_unfilled_;  // made by us, and nothing was written yet
};

}  // namespace kvferry
