#include "tools/json_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace kvferry {
namespace {

constexpr mode_t kMode = 0666;  // less the umask

Status write_error(const std::string& path) {
  const int error = errno;
  return Status::native(StatusCode::kUnavailable, ErrorDomain::kErrno, error,
                        "cannot write " + path + ": " + std::strerror(error));
}

bool is_regular(int fd) {
  struct stat stat {};
  return ::fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode);
}

}  // namespace

Result<std::unique_ptr<JsonFile>> JsonFile::open(const std::string& path) {
  if (path.empty()) return make_error(StatusCode::kInvalidArgument, "needs the name of a file");
  constexpr int kFlags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC;
  UniqueFd fd(::open(path.c_str(), kFlags | O_EXCL, kMode));
  const bool is_new = fd.is_open();
  if (!is_new && errno == EEXIST) fd = UniqueFd(::open(path.c_str(), kFlags, kMode));
  if (!fd.is_open()) return make_error(write_error(path));
  return std::unique_ptr<JsonFile>(new JsonFile(path, std::move(fd), is_new));
}

Result<std::unique_ptr<JsonFile>> JsonFile::open_flag(const char* flag,
                                                      const std::optional<std::string>& path) {
  if (!path) return std::unique_ptr<JsonFile>();
  auto opened = open(*path);
  if (!opened) return make_error(opened.error().with_context(flag));
  return opened;
}

JsonFile::~JsonFile() {
  if (is_unfilled_) ::unlink(path_.c_str());
}

Status JsonFile::write(const nlohmann::json& object) {
  // File names that are no UTF-8 may be in it.
  return write_text(object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

Status JsonFile::write_text(const std::string& text) {
  if (is_regular(fd_.get()) && ::ftruncate(fd_.get(), 0) != 0) return write_error(path_);
  is_unfilled_ = false;
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = ::write(fd_.get(), text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return write_error(path_);
    done += static_cast<size_t>(n);
  }
  return {};
}

}  // namespace kvferry
