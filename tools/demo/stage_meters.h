#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "kvferry/transport.h"
#include "tools/demo/worker_setup.h"
#include "workload/meters/wire_meter.h"

namespace kvferry {

/// One worker's share of measuring stages and ceilings, over a scratch cache of its own, so that
/// rounds can be run between requests. Each command answers with a JSON object.
///
/// Threads: caller serialises.
class StageMeters {
 public:
  static Result<std::unique_ptr<StageMeters>> create(const WorkerSetup& setup);

  /// Gather on the prefill side, scatter on the decode side, beside the contiguous copy.
  Result<nlohmann::json> measure_copies();

  /// {"address": ...}, for the other side's connect(). Errors: as WireMeter::create.
  Result<nlohmann::json> open_wire(PeerClass peer_class);
  Result<nlohmann::json> connect_wire(const std::string& address_hex);
  /// Both sides at the same time, with equal arguments.
  Result<nlohmann::json> run_round(const std::string& kind, int64_t bytes);

 private:
  StageMeters(const WorkerSetup& setup, std::shared_ptr<Transport> transport, PagedKVCache scratch)
      : setup_(setup), transport_(std::move(transport)), scratch_(std::move(scratch)) {}

  size_t staging_bytes() const {
    return static_cast<size_t>(setup_.pool_chunks * setup_.chunk_bytes);
  }

  WorkerSetup setup_;
  std::shared_ptr<Transport> transport_;
  PagedKVCache scratch_;
  std::unique_ptr<WireMeter> wire_;
};

}  // namespace kvferry
