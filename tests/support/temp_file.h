#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>

namespace kvferry {

/// A file with a text, removed at the end.
class TempFile {
 public:
  explicit TempFile(std::string_view text, std::string_view name = "file") {
    static int count = 0;
    path_ = ::testing::TempDir() + "kvferry_" + std::to_string(::getpid()) + "_" +
            std::to_string(count++) + "_" + std::string(name);
    std::ofstream(path_, std::ios::binary) << text;
  }
  ~TempFile() { std::remove(path_.c_str()); }
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace kvferry
