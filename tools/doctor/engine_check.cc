#include "tools/doctor/engine_check.h"

#include <cstdint>
#include <fstream>

#include "core/printable.h"
#include "runtime/control/inspect.h"
#include "tools/flag_values.h"

namespace kvferry {
namespace {

constexpr size_t kMaxEchoed = 256;
constexpr Duration kPatience = std::chrono::seconds(5);

Result<std::string> read_token(const std::string& path) {
  std::ifstream file(path);
  std::string token;
  if (!file || !std::getline(file, token) || token.empty()) {
    return make_error(StatusCode::kNotFound, "--token-file: '" +
                                                 detail::printable(path, kMaxEchoed) +
                                                 "' cannot be read, or its first line is empty");
  }
  return token;
}

std::string line(const std::string& subject, const std::string& text) {
  constexpr size_t kWidth = 14;
  std::string start = "  " + subject;
  start.resize(kWidth, ' ');
  return start + text + "\n";
}

/// Whoever listens there may have written it: plain text of bounded length.
std::string shown(const nlohmann::json& object, const char* name) {
  return detail::printable(object.at(name).get_ref<const std::string&>(), kMaxEchoed);
}

std::string pool_text(const nlohmann::json& pool) {
  return std::to_string(pool.at("used_chunks").get<int64_t>()) + " of " +
         std::to_string(pool.at("chunks").get<int64_t>()) + " chunks in use, " +
         std::to_string(pool.at("peak_used_chunks").get<int64_t>()) + " at most so far";
}

}  // namespace

Result<nlohmann::json> ask_engine(const std::string& address, const std::string& token_file) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) {
    return make_error(
        StatusCode::kInvalidArgument,
        "--engine: '" + detail::printable(address, kMaxEchoed) + "' is not HOST:PORT");
  }
  const auto port = parse_whole_number(address.substr(colon + 1), 1, 65535);
  if (!port) return make_error(port.error().with_context("--engine"));
  KVFERRY_ASSIGN_OR_RETURN(const std::string token, read_token(token_file));
  const auto report =
      inspect_engine(address.substr(0, colon), static_cast<uint16_t>(*port), token, kPatience);
  if (!report) {
    return make_error(
        report.error().with_context("--engine: " + detail::printable(address, kMaxEchoed)));
  }
  nlohmann::json parsed = nlohmann::json::parse(*report, nullptr, false);
  try {
    engine_text(parsed);
  } catch (const nlohmann::json::exception& error) {
    return make_error(StatusCode::kInvalidArgument,
                      "--engine: its report is none of an engine: " +
                          detail::printable(error.what(), kMaxEchoed));
  }
  return parsed;
}

std::string engine_text(const nlohmann::json& report) {
  const auto number = [&](const char* name) {
    return std::to_string(report.at(name).get<int64_t>());
  };
  std::string out = "\nengine " + shown(report, "name") + " (pid " + number("pid") + ", kvferry " +
                    shown(report, "version") + ", " + shown(report, "transport") + ")\n\n";
  for (const nlohmann::json& peer : report.at("peers")) {
    out += line("peer", shown(peer, "name") + ": " + shown(peer, "path"));
  }
  out += line("staging", pool_text(report.at("staging")));
  out += line("landing", pool_text(report.at("landing")));
  out += line("transfers", number("chunks_sent") + " chunks sent, " + number("chunks_received") +
                               " received, " + number("chunks_mismatched") + " mismatched, " +
                               number("chunks_refetched") + " fetched again; " +
                               number("leases_active") + " leases");
  out += line("quarantine", number("quarantined_chunks") + " chunks, " +
                                number("quarantined_bytes") + " bytes; at " +
                                number("max_quarantined_chunks") + " nothing new is offered");
  for (const nlohmann::json& held : report.at("quarantine")) {
    out += line("", "-> " + std::to_string(held.at("chunks").get<int64_t>()) + " that lost peer '" +
                        shown(held, "peer") +
                        "' may still read: they come back when it connects again, or its process "
                        "is gone");
  }
  return out;
}

}  // namespace kvferry
