#include "runtime/config/schema.h"

#include <algorithm>

#include "runtime/config/custom_values.h"

namespace kvferry {
namespace {

constexpr double kMib = 1024.0 * 1024;
constexpr double kGib = 1024.0 * kMib;
constexpr double kMaxGib = 1024.0 * 1024;
constexpr double kMilliseconds = 1e6;
constexpr double kSeconds = 1e9;
constexpr double kDay = 86'400;
constexpr double kDayMs = 1000 * kDay;
constexpr double kMillion = 1e6;
constexpr KeyHome kOurs = KeyHome::kKvferry;

std::vector<KeySpec> make_lmcache_keys() {
  return {
      {.name = "chunk_size",
       .field = [](CacheConfig& c) -> int64_t& { return c.chunk_tokens; },
       .unit = "tokens",
       .least = 1,
       .most = 65'536,
       .meaning = "Tokens of a chunk, the unit of keys and storage. Part of a chunk's key: all who "
                  "share a store have the same."},
      {.name = "local_cpu",
       .field = [](CacheConfig& c) -> bool& { return c.local_cpu.is_tier; },
       .meaning = "Keep chunks in host memory for reuse. False: the pool is there all the same, "
                  "for chunks on their way."},
      {.name = "max_local_cpu_size",
       .field = [](CacheConfig& c) -> size_t& { return c.local_cpu.pool_bytes; },
       .unit = "GB",
       .scale = kGib,
       .least = 0,
       .most = kMaxGib,
       .meaning = "Size of the pool in host memory, taken at the start, through which all chunks "
                  "pass: two chunks at least, with local_cpu: False too."},
      {.name = "local_disk",
       .field = CustomField{"path", set_local_disk, show_local_disk},
       .meaning =
           "Directory of the disk tier, as a path or file:// URL. Needs max_local_disk_size."},
      {.name = "max_local_disk_size",
       .field = [](CacheConfig& c) -> size_t& { return c.local_disk.max_bytes; },
       .unit = "GB",
       .scale = kGib,
       .least = 0,
       .most = kMaxGib,
       .meaning = "What the disk tier may hold."},
      {.name = "remote_url",
       .field = CustomField{"URL", set_remote_url, show_remote_url},
       .meaning =
           "Store that several hosts share: redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], "
           "unix:///SOCKET (Redis), fs:///DIRECTORY or fs://HOST:PORT/DIRECTORY (host and port are "
           "not used), blackhole://ANY."},
      {.name = "remote_serde",
       .field = CustomField{"text", set_remote_serde, show_remote_serde},
       .meaning = "How chunks are written to the remote store: naive, as they are. LMCache's "
                  "cachegen and kivi are refused."},
      {.name = "cache_policy",
       .field = ChoiceField{{"LRU", "FIFO", "S3FIFO"},
                            [](const CacheConfig& c) { return static_cast<int>(c.policy); },
                            [](CacheConfig& c, int i) { c.policy = static_cast<CachePolicy>(i); }},
       .meaning = "Which chunk makes room first, in host memory and on disk."},
      {.name = "save_unfull_chunk",
       .field = [](CacheConfig& c) -> bool& { return c.save_unfull_chunk; },
       .meaning = "Keep also the last chunk of a prompt when it has fewer tokens than chunk_size."},
      {.name = "save_decode_cache",
       .field = [](CacheConfig& c) -> bool& { return c.save_decode_cache; },
       .meaning = "Keep chunks of generated tokens, too. For the engine's integration to read: the "
                  "cache engine keeps what it is given."},
      {.name = "use_layerwise",
       .field = [](CacheConfig& c) -> bool& { return c.use_layerwise; },
       .meaning =
           "Retrieve layer by layer, beside the engine's work on the next one. For the engine's "
           "integration to read; stores are of whole chunks."},
      {.name = "min_retrieve_tokens",
       .field = [](CacheConfig& c) -> int64_t& { return c.min_retrieve_tokens; },
       .unit = "tokens",
       .least = 0,
       .most = kMillion * 1000,
       .meaning =
           "A lookup that finds fewer tokens says that it found none, and pins none. A retrieve "
           "does not look at it: the engine has decided by then."},
      {.name = "blocking_timeout_secs",
       .field = [](CacheConfig& c) -> Duration& { return c.retrieve_timeout; },
       .unit = "seconds",
       .scale = kSeconds,
       .least = 0.001,
       .most = kDay,
       .meaning = "Deadline of a retrieve; what has not come by then is a miss."},
      {.name = "lookup_timeout_ms",
       .field = [](CacheConfig& c) -> Duration& { return c.lookup_timeout; },
       .unit = "ms",
       .scale = kMilliseconds,
       .least = 1,
       .most = kDayMs,
       .meaning = "Deadline of a lookup over all tiers; a tier that has not answered by then holds "
                  "nothing."},
      {.name = "pin_timeout_sec",
       .field = [](CacheConfig& c) -> Duration& { return c.pin_timeout; },
       .unit = "seconds",
       .scale = kSeconds,
       .least = 1,
       .most = kDay,
       .meaning = "A pin that nobody released for so long is released, and counted."},
      {.name = "pre_caching_hash_algorithm",
       .field = CustomField{"text", set_hash_algorithm, show_hash_algorithm},
       .meaning = "Hash of chunk keys: sha256_cbor. LMCache's builtin differs from process to "
                  "process and is replaced, with a warning; others are refused."},
      {.name = "external_backends",
       .field = CustomField{"list", set_backend_names},
       .meaning =
           "Backends built elsewhere, in the order in which they are asked. `extra_config` has "
           "their settings, as external_backend.NAME.KEY: module_path (what to load) and "
           "class_name (of what is in it), both needed; required (False: go on without it, with a "
           "warning), and the backend's own."},
      {.name = "storage_plugins",
       .field = CustomField{"list", set_backend_names},
       .meaning = "The same under LMCache's newer name; settings as storage_plugin.NAME.KEY. Both "
                  "prefixes work for both lists, both lists may be there: they follow one another "
                  "as in the file."},
      {.name = "extra_config",
       .field = CustomField{"map", set_extra_config},
       .meaning = "Settings of external backends. What else is in it is LMCache's, and not read."},
  };
}

std::vector<KeySpec> make_own_keys() {
  return {
      {.name = "hash_seed",
       .home = kOurs,
       .field = [](CacheConfig& c) -> std::string& { return c.hash_seed; },
       .meaning = "Seed of chunk keys, as PYTHONHASHSEED is for LMCache with sha256_cbor. All who "
                  "share a store have the same."},
      {.name = "store_timeout_ms",
       .home = kOurs,
       .field = [](CacheConfig& c) -> Duration& { return c.store_timeout; },
       .unit = "ms",
       .scale = kMilliseconds,
       .least = 1,
       .most = kDayMs,
       .meaning =
           "Deadline of a store at one sink; a chunk that is not there by then is given up there."},
      {.name = "disk_durability",
       .home = kOurs,
       .field = ChoiceField{
           {"none", "async", "sync"},
           [](const CacheConfig& c) { return static_cast<int>(c.local_disk.durability); },
           [](CacheConfig& c, int i) { c.local_disk.durability = static_cast<Durability>(i); }},
       .meaning = "When a chunk on disk counts as stored: none, once it is written; async, the "
                  "same, and it is synchronised later; sync, once it is synchronised."},
      {.name = "disk_io",
       .home = kOurs,
       .field =
           ChoiceField{{"auto", "io_uring", "pread"},
                       [](const CacheConfig& c) { return static_cast<int>(c.local_disk.io); },
                       [](CacheConfig& c, int i) { c.local_disk.io = static_cast<DiskIo>(i); }},
       .meaning = "How the disk tier reads and writes; auto: io_uring where it works, else pread."},
      {.name = "disk_queue_depth",
       .home = kOurs,
       .field = [](CacheConfig& c) -> int64_t& { return c.local_disk.queue_depth; },
       .unit = "requests",
       .least = 1,
       .most = 1024,
       .meaning = "Requests at the disk at once."},
      {.name = "remote_timeout_ms",
       .home = kOurs,
       .field = [](CacheConfig& c) -> Duration& { return c.remote.timeout; },
       .unit = "ms",
       .scale = kMilliseconds,
       .least = 1,
       .most = kDayMs,
       .meaning = "Deadline of one request to a Redis server. A file system has none: what hangs "
                  "there is not waited for a second time."},
      {.name = "remote_connections",
       .home = kOurs,
       .field = [](CacheConfig& c) -> int64_t& { return c.remote.connections; },
       .unit = "connections",
       .least = 1,
       .most = 64,
       .meaning = "Connections to the remote store."},
      {.name = "remote_username",
       .home = kOurs,
       .field = [](CacheConfig& c) -> std::string& { return c.remote.username; },
       .meaning = "User at the remote store, for Redis with ACLs. Needs remote_password_file."},
      {.name = "remote_password_file",
       .home = kOurs,
       .field = [](CacheConfig& c) -> std::string& { return c.remote.password_file; },
       .unit = "path",
       .meaning = "File whose first line is the password at the remote store."},
      {.name = "sink_max_in_flight_mb",
       .home = kOurs,
       .field = [](CacheConfig& c) -> size_t& { return c.sinks.max_in_flight_bytes; },
       .unit = "MB",
       .scale = kMib,
       .least = 1,
       .most = kMaxGib * 1024,
       .meaning =
           "Chunks that one sink reads and writes at a time. Prefetches get three quarters of it, "
           "stores half, so that they leave room for retrieves; one chunk may always pass."},
      {.name = "sink_queue_chunks",
       .home = kOurs,
       .field = [](CacheConfig& c) -> int64_t& { return c.sinks.max_waiting_chunks; },
       .unit = "chunks",
       .least = 1,
       .most = kMillion,
       .meaning = "Chunks to be stored that wait for one sink. All that it has to store, these "
                  "included, is also within the half of sink_max_in_flight_mb. A store waits for "
                  "a sink without room as long as that ends puts; if it has ended none for "
                  "250 ms, the chunk is not stored there, and counted."},
      {.name = "breaker_failures",
       .home = kOurs,
       .field = [](CacheConfig& c) -> int64_t& { return c.sinks.breaker_failures; },
       .unit = "failures",
       .least = 1,
       .most = kMillion,
       .meaning =
           "After so many failures in a row the remote store, or an external backend, is left "
           "alone, each for itself. Other sinks have no such limit."},
      {.name = "breaker_cooldown_ms",
       .home = kOurs,
       .field = [](CacheConfig& c) -> Duration& { return c.sinks.breaker_cooldown; },
       .unit = "ms",
       .scale = kMilliseconds,
       .least = 1,
       .most = kDayMs,
       .meaning = "For so long; then one request tries it again."},
      {.name = "prefetch_max_in_flight_mb",
       .home = kOurs,
       .field = [](CacheConfig& c) -> size_t& { return c.prefetch_max_in_flight_bytes; },
       .unit = "MB",
       .scale = kMib,
       .least = 0,
       .most = kMaxGib * 1024,
       .meaning = "Chunks that prefetches hold in the pool until they have arrived. What would be "
                  "more is refused, and counted. 0: no prefetch."},
      {.name = "copy_threads",
       .home = kOurs,
       .field = [](CacheConfig& c) -> int64_t& { return c.copy_threads; },
       .unit = "threads",
       .least = 1,
       .most = 256,
       .meaning = "Threads that gather and scatter in host memory."},
      {.name = "io_threads",
       .home = kOurs,
       .field = [](CacheConfig& c) -> int64_t& { return c.io_threads; },
       .unit = "threads",
       .least = 1,
       .most = 256,
       .meaning =
           "Threads of local_disk, and of remote, for what blocks: files, shared directories, "
           "names of hosts."},
      {.name = "plugin_path",
       .home = kOurs,
       .field = CustomField{"list", set_plugin_path, show_plugin_path},
       .meaning = "Directories in which the modules of external backends are looked for, in order; "
                  "as text, DIR:DIR. Last in lib/kvferry/plugins of the prefix that kvferry is "
                  "installed in."},
      {.name = "plugin_timeout_ms",
       .home = kOurs,
       .field = [](CacheConfig& c) -> Duration& { return c.plugins.call_timeout; },
       .unit = "ms",
       .scale = kMilliseconds,
       .least = 1,
       .most = kDayMs,
       .meaning = "Deadline of one call of an external backend; its buffer is in quarantine until "
                  "it has answered."},
      {.name = "plugin_max_in_flight",
       .home = kOurs,
       .field = [](CacheConfig& c) -> int64_t& { return c.plugins.max_in_flight; },
       .unit = "calls",
       .least = 1,
       .most = 65'536,
       .meaning = "Calls that one external backend has not answered, at most."},
      {.name = "peer_name",
       .home = kOurs,
       .field = [](CacheConfig& c) -> std::string& { return c.peer.name; },
       .meaning = "What other engines call this one; 1 to 256 characters of plain ASCII, unlike "
                  "any other's. Needed with peers or peer_listen."},
      {.name = "peer_listen",
       .home = kOurs,
       .field = CustomField{"HOST:PORT", set_peer_listen, show_peer_listen},
       .meaning = "Where other engines find this one, and what it has in memory (local_cpu); port "
                  "0: any free one. Nothing: it only asks others."},
      {.name = "peer_token_file",
       .home = kOurs,
       .field = [](CacheConfig& c) -> std::string& { return c.peer.token_file; },
       .unit = "path",
       .meaning = "File whose first line is the secret that all peers share. Needed with peers or "
                  "peer_listen."},
      {.name = "peers",
       .home = kOurs,
       .field = CustomField{"list", set_peers, show_peers},
       .meaning = "Engines whose memory is a tier here, as NAME=HOST:PORT, in the order in which "
                  "they are asked."},
      {.name = "peer_push",
       .home = kOurs,
       .field = [](CacheConfig& c) -> std::string& { return c.peer.push_to; },
       .meaning = "The one of peers that fetches what is stored here, too, unless it has it. None: "
                  "chunks only come from peers."},
      {.name = "peer_timeout_ms",
       .home = kOurs,
       .field = [](CacheConfig& c) -> Duration& { return c.peer.timeout; },
       .unit = "ms",
       .scale = kMilliseconds,
       .least = 1,
       .most = kDayMs,
       .meaning = "Deadline of a peer's answer, and of a chunk that is pushed."},
      {.name = "transport",
       .home = kOurs,
       .field = ChoiceField{
           {"ucx", "loopback"},
           [](const CacheConfig& c) { return c.peer.transport == "ucx" ? 0 : 1; },
           [](CacheConfig& c, int i) { c.peer.transport = i == 0 ? "ucx" : "loopback"; }},
       .meaning = "How chunks travel between peers; loopback is for engines of one process."},
      {.name = "metrics_port",
       .home = kOurs,
       .field = [](CacheConfig& c) -> int64_t& { return c.metrics.port; },
       .unit = "port",
       .least = 0,
       .most = 65'535,
       .meaning = "Where Prometheus reads metrics over HTTP. 0: nowhere."},
      {.name = "metrics_host",
       .home = kOurs,
       .field = [](CacheConfig& c) -> std::string& { return c.metrics.host; },
       .meaning = "The address that port is opened on."},
  };
}

}  // namespace

std::span<const KeySpec> config_schema() {
  static const std::vector<KeySpec> schema = [] {
    std::vector<KeySpec> keys = make_lmcache_keys();
    std::ranges::move(make_own_keys(), std::back_inserter(keys));
    return keys;
  }();
  return schema;
}

const KeySpec* find_key(std::string_view name) {
  const auto schema = config_schema();
  const auto found = std::ranges::find(schema, name, &KeySpec::name);
  return found == schema.end() ? nullptr : &*found;
}

}  // namespace kvferry
