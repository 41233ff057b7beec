#include "tools/json_file.h"

#include <cerrno>
#include <cstring>
#include <fstream>

namespace kvferry {

Status write_json_file(const std::string& path, const nlohmann::json& object) {
  std::ofstream file(path);
  file << object.dump(2) << "\n";
  file.flush();
  if (file) return {};
  return Status::native(StatusCode::kUnavailable, ErrorDomain::kErrno, errno,
                        "cannot write " + path + ": " + std::strerror(errno));
}

}  // namespace kvferry
