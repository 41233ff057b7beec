#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kvferry/cache_policy.h"
#include "kvferry/clock.h"
#include "kvferry/export.h"
#include "kvferry/logger.h"
#include "kvferry/status.h"

namespace kvferry {

/// What a put that ended OK outlives, besides the end of the process (docs/local_disk.md).
enum class Durability : uint8_t {
  kNone,   ///< nothing more: it is on the device when the system gets round to it
  kAsync,  ///< a power cut, a moment later: it is synchronised in batches
  kSync,   ///< a power cut
};

/// How the disk is read and written.
enum class DiskIo : uint8_t {
  kAuto,     ///< io_uring where it and direct I/O work, else pread
  kIoUring,  ///< as auto, but an error where io_uring does not work
  kPread,    ///< pread and pwrite on the I/O threads
};

enum class RemoteKind : uint8_t {
  kNone,
  kFs,         ///< a directory that several hosts mount
  kRedis,      ///< Redis, or what speaks its protocol, over TCP or a Unix socket
  kBlackhole,  ///< takes everything, returns nothing; for measurements
};

/// The pool in host memory that all chunks lie in, and the hot cache in it.
struct LocalCpuConfig {
  bool is_tier = true;                  ///< keep chunks there for reuse; the pool exists either way
  size_t pool_bytes = size_t{5} << 30;  ///< at least two chunks
};

/// A directory on a local disk as a tier.
struct LocalDiskConfig {
  std::string path;  ///< empty: no such tier
  size_t max_bytes = 0;
  Durability durability = Durability::kAsync;
  DiskIo io = DiskIo::kAuto;
  int64_t queue_depth = 32;  ///< requests at the device at once
};

/// A store that several hosts share, as a tier.
struct RemoteConfig {
  RemoteKind kind = RemoteKind::kNone;
  std::string host;  ///< kRedis over TCP; else empty
  uint16_t port = 0;
  std::string path;  ///< kFs: the directory; kRedis: its Unix socket, if it is reached by one
  int64_t database = 0;
  std::string username;
  std::string password;                        ///< from the URL; never print it
  std::string password_file;                   ///< its first line is the password
  Duration timeout = std::chrono::seconds(2);  ///< of one request
  int64_t connections = 2;
};

/// A backend that was built elsewhere and is loaded by name.
struct ExternalBackendConfig {
  std::string name;
  std::string module_path;  ///< what to load: a file, or a name to look for in plugin_path
  std::string class_name;   ///< which backend of the module; empty: its only one
  bool is_required = true;  ///< refuse to start without it; false: go on, with a warning
  std::map<std::string, std::string> settings;  ///< its own, as they were written
};

/// What keeps backends written by strangers within bounds.
struct PluginConfig {
  std::vector<std::string> search_path;  ///< directories, first match wins
  Duration call_timeout = std::chrono::seconds(5);
  int64_t max_in_flight = 32;  ///< calls that one plugin has not completed
};

/// Bounds that each sink has for itself.
struct SinkConfig {
  size_t max_in_flight_bytes = size_t{256} << 20;  ///< chunks that a sink reads and writes
  int64_t max_waiting_chunks = 256;                ///< behind those
  int64_t breaker_failures = 5;  ///< failures in a row after which a remote store is left alone
  Duration breaker_cooldown = std::chrono::seconds(1);  ///< so long, then one request tries it
};

struct PeerAddress {
  std::string name;
  std::string host;
  uint16_t port = 0;
};

/// Other cache engines: their memory as a tier, and this one's memory for them.
struct PeerConfig {
  std::string name;        ///< what they call this one
  std::string host;        ///< to listen on; empty: it does not
  uint16_t port = 0;       ///< 0: any free one
  std::string token_file;  ///< its first line is the secret that all of them share
  std::vector<PeerAddress> peers;
  std::string push_to;                         ///< the one of them that gets what is stored here
  Duration timeout = std::chrono::seconds(2);  ///< of an answer, and of a chunk that is pushed
  std::string transport = "ucx";
};

/// Where Prometheus reads metrics.
struct MetricsConfig {
  std::string host = "127.0.0.1";
  int64_t port = 0;  ///< 0: nowhere
};

/// Everything that can be set for a cache engine and its sinks.
///
/// Key, range and meaning of each field: `kvferry config schema`, docs/config.md. The model's
/// identity is not here: the engine knows it.
///
/// Units: sizes in bytes (LMCache's GB are GiB, 1024^3); time as std::chrono; chunks in tokens
struct CacheConfig {
  int64_t chunk_tokens = 256;
  bool save_unfull_chunk = false;          ///< keep also the last, shorter chunk of a prompt
  bool save_decode_cache = false;          ///< keep chunks of generated tokens, too
  bool use_layerwise = false;              ///< store and retrieve layer by layer
  int64_t min_retrieve_tokens = 0;         ///< a lookup that finds fewer finds nothing
  std::string hash_seed = "0";             ///< where the chain of chunk hashes starts
  CachePolicy policy = CachePolicy::kLru;  ///< of local_cpu and local_disk

  LocalCpuConfig local_cpu;
  LocalDiskConfig local_disk;
  RemoteConfig remote;
  std::vector<ExternalBackendConfig> external_backends;  ///< in the order in which they are asked
  PluginConfig plugins;
  PeerConfig peer;
  SinkConfig sinks;
  MetricsConfig metrics;

  Duration retrieve_timeout = std::chrono::seconds(10);
  Duration store_timeout = std::chrono::seconds(10);
  Duration lookup_timeout = std::chrono::seconds(3);
  Duration pin_timeout = std::chrono::seconds(300);  ///< a pin older than that is released
  size_t prefetch_max_in_flight_bytes = size_t{256} << 20;
  int64_t copy_threads = 1;  ///< gather and scatter
  int64_t io_threads = 4;    ///< blocking calls of sinks
};

/// The configuration of this process: defaults, then the file, then KVFERRY_* and LMCACHE_* of the
/// environment. An empty `path` stands for KVFERRY_CONFIG_FILE, else LMCACHE_CONFIG_FILE, else no
/// file. Warnings go to `logger`, if there is one.
///
/// Errors: kInvalidArgument with all that is wrong, each as `file:line: what`, one a line; also for
/// a file that cannot be read.
KVFERRY_EXPORT Result<CacheConfig> load_cache_config(const std::string& path, Logger* logger);

}  // namespace kvferry
