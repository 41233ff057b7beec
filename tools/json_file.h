#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "kvferry/status.h"

namespace kvferry {

/// Replaces `path` by the object, indented. Errors: kUnavailable naming the file and the errno.
Status write_json_file(const std::string& path, const nlohmann::json& object);

}  // namespace kvferry
