#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "kvferry/status.h"

namespace kvferry {

/// What a running engine says of itself: `address` is HOST:PORT of its control port, `token_file` a
/// file whose first line is the token of its peers.
///
/// Errors: kInvalidArgument or kNotFound naming the flag; kInvalidArgument for a report of which
///   engine_text() lacks something; as inspect_engine().
Result<nlohmann::json> ask_engine(const std::string& address, const std::string& token_file);

/// The report for people.
std::string engine_text(const nlohmann::json& report);

}  // namespace kvferry
