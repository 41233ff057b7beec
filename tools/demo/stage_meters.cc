#include "tools/demo/stage_meters.h"

#include <array>

#include "kvferry/make_transport.h"
#include "runtime/transfer/page_copiers.h"
#include "workload/meters/copy_meter.h"

namespace kvferry {
namespace {

constexpr uint64_t kScratchSeedOffset = 100;

std::string to_hex(const std::string& bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  for (const char byte : bytes) {
    hex += kDigits[static_cast<unsigned char>(byte) >> 4U];
    hex += kDigits[static_cast<unsigned char>(byte) & 15U];
  }
  return hex;
}

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

Result<WireRoundKind> parse_kind(const std::string& name) {
  for (const WireRoundKind kind :
       {WireRoundKind::kLink, WireRoundKind::kBareWire, WireRoundKind::kBarePipeline}) {
    if (wire_round_kind_name(kind) == name) return kind;
  }
  return make_error(StatusCode::kInternal, "no such kind of round: " + name);
}

}  // namespace

Result<std::unique_ptr<StageMeters>> StageMeters::create(const WorkerSetup& setup) {
  KVFERRY_ASSIGN_OR_RETURN(const ModelShape model, find_model(setup.model));
  KVFERRY_ASSIGN_OR_RETURN(std::shared_ptr<Transport> transport, make_transport("ucx"));
  KVFERRY_ASSIGN_OR_RETURN(PagedKVCache scratch,
                           PagedKVCache::create(model, model.preset, setup.scratch_blocks,
                                                setup.seed + kScratchSeedOffset));
  return std::unique_ptr<StageMeters>(
      new StageMeters(setup, std::move(transport), std::move(scratch)));
}

Result<nlohmann::json> StageMeters::measure_copies() {
  CopyMeterOptions options;
  options.fragment_bytes = TransferEngineOptions().fragment_bytes;
  options.gather_store = staging_store(staging_bytes());
  options.ring_chunks = static_cast<size_t>(setup_.pool_chunks);
  const bool is_prefill = setup_.role == "prefill";
  KVFERRY_ASSIGN_OR_RETURN(const CopyRates rates, is_prefill ? measure_gather(scratch_, options)
                                                             : measure_scatter(scratch_, options));
  return nlohmann::json{{"gbps", rates.ours_gbps},
                        {"ceiling_gbps", rates.ceiling_gbps},
                        {"exceeds_cache", rates.exceeds_cache}};
}

Result<nlohmann::json> StageMeters::open_wire(PeerClass peer_class) {
  WireMeterOptions options;
  options.fragment_bytes = TransferEngineOptions().fragment_bytes;
  options.staging_store = staging_store(staging_bytes());
  options.ring_chunks = static_cast<size_t>(setup_.pool_chunks);
  const WireSide side = setup_.role == "prefill" ? WireSide::kSender : WireSide::kReceiver;
  KVFERRY_ASSIGN_OR_RETURN(wire_,
                           WireMeter::create(side, *transport_, peer_class, scratch_, options));
  return nlohmann::json{{"address", to_hex(wire_->address())}};
}

Result<nlohmann::json> StageMeters::connect_wire(const std::string& address_hex) {
  KVFERRY_RETURN_IF_ERROR(wire_->connect(from_hex(address_hex)));
  return nlohmann::json::object();
}

Result<nlohmann::json> StageMeters::run_round(const std::string& kind, int64_t bytes) {
  KVFERRY_ASSIGN_OR_RETURN(const WireRoundKind round_kind, parse_kind(kind));
  KVFERRY_ASSIGN_OR_RETURN(const WireRound round, wire_->run_round(round_kind, bytes));
  return nlohmann::json{{"gbps", round.gbps()}};
}

}  // namespace kvferry
