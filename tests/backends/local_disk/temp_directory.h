#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>

namespace kvferry {

/// An empty directory of its own, removed with all that is in it at the end.
class TempDirectory {
 public:
  TempDirectory() : path_(std::filesystem::temp_directory_path() / "kvferry-XXXXXX") {
    std::string name = path_.string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~TempDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace kvferry
