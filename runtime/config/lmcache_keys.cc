#include "runtime/config/lmcache_keys.h"

#include <algorithm>
#include <array>

namespace kvferry {
namespace {

constexpr std::string_view kNone = "";
constexpr std::string_view kPd =
    "prefill to decode goes by TransferEngine (docs/transfer-protocol.md)";
constexpr std::string_view kPeer = "name other engines by 'peers' in the kvferry: map";
constexpr std::string_view kPool = "the pool is taken as a whole at the start";
constexpr std::string_view kTrace = "see 'metrics_port' in the kvferry: map";
constexpr std::string_view kPlugIn = "plug a backend in by external_backends";
constexpr std::string_view kAsync = "kvferry loads asynchronously always";
constexpr std::string_view kOrder = "all tiers are stored to and asked in their order";

constexpr std::array kKeys = {
    // Memory and loading.
    LmcacheKey{"reserve_local_cpu_size", kPool},
    LmcacheKey{"local_cpu_use_hugepages", kNone},
    LmcacheKey{"local_disk_path_sharding", "one directory a process"},
    LmcacheKey{"numa_mode", "start the process under numactl"},
    LmcacheKey{"hit_miss_ratio", kNone},
    LmcacheKey{"priority_limit", kNone},
    LmcacheKey{"py_enable_gc", "there is no Python in it"},
    LmcacheKey{"enable_async_loading", kAsync},
    LmcacheKey{"use_gpu_connector_v3", kNone},
    LmcacheKey{"retrieve_locations", kOrder},
    LmcacheKey{"store_location", kOrder},
    LmcacheKey{"pin_check_interval_sec", "a pin ends at its pin_timeout_sec"},
    LmcacheKey{"enable_lazy_memory_allocator", kPool},
    LmcacheKey{"lazy_memory_initial_ratio", kPool},
    LmcacheKey{"lazy_memory_expand_trigger_ratio", kPool},
    LmcacheKey{"lazy_memory_step_ratio", kPool},
    LmcacheKey{"lazy_memory_safe_size", kPool},
    // Plugins.
    LmcacheKey{"remote_storage_plugins", "use remote_url, or external_backends"},
    LmcacheKey{"runtime_plugin_locations", kNone},
    LmcacheKey{"plugin_locations", kNone},
    LmcacheKey{"external_lookup_client", kNone},
    LmcacheKey{"script_allowed_imports", kNone},
    // Blending.
    LmcacheKey{"enable_blending", kNone},
    LmcacheKey{"blend_recompute_ratios", kNone},
    LmcacheKey{"blend_recompute_ratio", kNone},
    LmcacheKey{"blend_thresholds", kNone},
    LmcacheKey{"blend_check_layers", kNone},
    LmcacheKey{"blend_min_tokens", kNone},
    LmcacheKey{"blend_special_str", kNone},
    // Peers and controller.
    LmcacheKey{"enable_p2p", kPeer},
    LmcacheKey{"p2p_host", "use 'peer_listen' in the kvferry: map"},
    LmcacheKey{"p2p_init_ports", "use 'peer_listen' in the kvferry: map"},
    LmcacheKey{"p2p_lookup_ports", "use 'peer_listen' in the kvferry: map"},
    LmcacheKey{"lookup_url", kPeer},
    LmcacheKey{"distributed_url", kPeer},
    LmcacheKey{"transfer_channel", "use 'transport' in the kvferry: map"},
    LmcacheKey{"enable_controller", kPeer},
    LmcacheKey{"lmcache_instance_id", "use 'peer_name' in the kvferry: map"},
    LmcacheKey{"controller_pull_url", kPeer},
    LmcacheKey{"controller_reply_url", kPeer},
    LmcacheKey{"controller_url", kPeer},
    LmcacheKey{"lmcache_worker_port", kPeer},
    LmcacheKey{"lmcache_worker_ports", kPeer},
    LmcacheKey{"lmcache_worker_ids", kPeer},
    LmcacheKey{"lmcache_worker_heartbeat_delay_time", kPeer},
    LmcacheKey{"lmcache_worker_heartbeat_time", kPeer},
    // Prefill to decode.
    LmcacheKey{"enable_pd", kPd},
    LmcacheKey{"pd_role", kPd},
    LmcacheKey{"pd_buffer_size", kPd},
    LmcacheKey{"pd_buffer_device", kPd},
    LmcacheKey{"pd_peer_host", kPd},
    LmcacheKey{"pd_peer_init_port", kPd},
    LmcacheKey{"pd_peer_alloc_port", kPd},
    LmcacheKey{"pd_peer_query_port", kPd},
    LmcacheKey{"pd_proxy_host", kPd},
    LmcacheKey{"pd_proxy_port", kPd},
    LmcacheKey{"pd_allocation_timeout_sec", kPd},
    LmcacheKey{"pd_shutdown_timeout_sec", kPd},
    LmcacheKey{"pd_condition_poll_interval_sec", kPd},
    LmcacheKey{"pd_max_prefill_len", kPd},
    LmcacheKey{"pd_backend_mode", kPd},
    LmcacheKey{"pd_skip_proxy_notification", kPd},
    LmcacheKey{"pd_bidirectional", kPd},
    LmcacheKey{"enable_xpyd", kPd},
    LmcacheKey{"enable_nixl", kPd},
    LmcacheKey{"nixl_role", kPd},
    LmcacheKey{"nixl_peer_host", kPd},
    LmcacheKey{"nixl_peer_port", kPd},
    LmcacheKey{"nixl_peer_init_port", kPd},
    LmcacheKey{"nixl_peer_alloc_port", kPd},
    LmcacheKey{"nixl_receiver_host", kPd},
    LmcacheKey{"nixl_receiver_port", kPd},
    LmcacheKey{"nixl_proxy_host", kPd},
    LmcacheKey{"nixl_proxy_port", kPd},
    LmcacheKey{"nixl_enable_gc", kPd},
    // Storage.
    LmcacheKey{"nixl_backends", kPlugIn},
    LmcacheKey{"nixl_buffer_size", kPlugIn},
    LmcacheKey{"nixl_buffer_device", kPlugIn},
    LmcacheKey{"gds_path", "use local_disk"},
    LmcacheKey{"gds_path_sharding", "use local_disk"},
    LmcacheKey{"gds_buffer_size", "use local_disk"},
    LmcacheKey{"cufile_buffer_size", "use local_disk"},
    LmcacheKey{"use_gds", "use local_disk"},
    LmcacheKey{"gds_backend", "use local_disk"},
    LmcacheKey{"weka_path", "use local_disk"},
    LmcacheKey{"maru_path", kPlugIn},
    LmcacheKey{"maru_pool_size", kPlugIn},
    // Servers and statistics.
    LmcacheKey{"internal_api_server_enabled", kTrace},
    LmcacheKey{"internal_api_server_host", kTrace},
    LmcacheKey{"internal_api_server_port_start", kTrace},
    LmcacheKey{"internal_api_server_include_index_list", kTrace},
    LmcacheKey{"internal_api_server_socket_path_prefix", kTrace},
    LmcacheKey{"lookup_server_worker_ids", kNone},
    LmcacheKey{"enable_scheduler_bypass_lookup", kNone},
    LmcacheKey{"enable_kv_events", kNone},
    LmcacheKey{"enable_chunk_statistics", kTrace},
    LmcacheKey{"chunk_statistics_auto_start_statistics", kTrace},
    LmcacheKey{"chunk_statistics_auto_exit_timeout_hours", kTrace},
    LmcacheKey{"chunk_statistics_auto_exit_target_unique_chunks", kTrace},
    LmcacheKey{"chunk_statistics_strategy", kTrace},
    LmcacheKey{"mp_host", kNone},
    LmcacheKey{"mp_port", kNone},
    LmcacheKey{"remote_config_url", kNone},
    LmcacheKey{"app_id", kNone},
    LmcacheKey{"audit_actual_remote_url", kNone},
    LmcacheKey{"error_handling", "errors are misses, counted and logged"},
    LmcacheKey{"enable_hidden_state_cache", kNone},
    LmcacheKey{"max_hidden_state_cpu_size", kNone},
    LmcacheKey{"hidden_state_layers", kNone},
    LmcacheKey{"hidden_states_retrieve_mode", kNone},
};

}  // namespace

std::span<const LmcacheKey> lmcache_only_keys() { return kKeys; }

const LmcacheKey* find_lmcache_only_key(std::string_view name) {
  const auto found = std::ranges::find(kKeys, name, &LmcacheKey::name);
  return found == kKeys.end() ? nullptr : &*found;
}

}  // namespace kvferry
