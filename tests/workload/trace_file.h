#pragma once

#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "tests/support/temp_dir.h"

namespace kvferry {

/// A trace file with the given text, gone with the object.
class TraceFile {
 public:
  explicit TraceFile(std::string_view text) { std::ofstream(path(), std::ios::binary) << text; }

  std::string path() const { return (dir_.path() / "trace.jsonl").string(); }
  std::string text() const {
    std::ifstream file(path(), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  TempDir dir_;
};

}  // namespace kvferry
