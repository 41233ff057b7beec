#include <nlohmann/json.hpp>

#include "kvferry/version.h"
#include "runtime/transfer/engine_core.h"

namespace kvferry {
namespace {

using Json = nlohmann::json;

// So that a report of any engine fits into its message.
constexpr size_t kMaxListed = 256;

Json pool_json(const MemoryPool& pool) {
  const MemoryPoolUsage usage = pool.usage();
  return {{"chunks", usage.num_slots},
          {"used_chunks", usage.used_slots},
          {"peak_used_chunks", usage.peak_used_slots},
          {"bytes", pool.bytes()}};
}

}  // namespace

std::string EngineCore::report() const {
  Json peers = Json::array();
  for (const PeerInfo& peer : this->peers()) {
    if (peers.size() == kMaxListed) break;
    peers.push_back(
        {{"name", peer.name}, {"class", peer_class_name(peer.peer_class)}, {"path", peer.path}});
  }
  Json quarantine = Json::array();
  for (const auto& [peer, chunks] : leases_.quarantined_by_holder()) {
    if (quarantine.size() == kMaxListed) break;
    quarantine.push_back({{"peer", peer}, {"chunks", chunks}});
  }
  const Json report = {{"version", KVFERRY_VERSION_STRING},
                       {"name", options().name},
                       {"pid", context_->processes.pid()},
                       {"transport", options().transport->name()},
                       {"peers", peers},
                       {"staging", pool_json(*staging_)},
                       {"landing", pool_json(*landing_)},
                       {"leases_active", leases_.active()},
                       {"quarantined_chunks", leases_.quarantined()},
                       {"quarantined_bytes", leases_.quarantined_bytes()},
                       {"max_quarantined_chunks", options().max_quarantined_chunks},
                       {"quarantine", quarantine},
                       {"chunks_sent", stats_.chunks_sent},
                       {"chunks_received", stats_.chunks_received},
                       {"chunks_mismatched", stats_.chunks_mismatched},
                       {"chunks_refetched", stats_.chunks_refetched},
                       {"bytes_received", stats_.bytes_received}};
  return report.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace kvferry
