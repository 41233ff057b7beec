#include "runtime/config/config_rules.h"

#include <algorithm>

#include "core/printable.h"

namespace kvferry {
namespace {

constexpr size_t kMaxPeerName = 256;

class Rules {
 public:
  Rules(const CacheConfig& config, const WhereSet& where, ConfigFindings& findings)
      : config_(config), where_(where), findings_(findings) {}

  void check() {
    check_pool();
    check_disk();
    check_remote();
    check_peers();
    check_build();
  }

 private:
  /// The place of the first of `keys` that was set.
  std::string at(std::initializer_list<std::string_view> keys) const {
    for (const std::string_view key : keys) {
      if (std::string place = where_(key); !place.empty()) return place;
    }
    return "";
  }
  bool has_far_tier() const {
    return !config_.local_disk.path.empty() || config_.remote.kind != RemoteKind::kNone ||
           !config_.external_backends.empty() || !config_.peer.peers.empty();
  }

  bool has_peers() const { return !config_.peer.peers.empty() || !config_.peer.host.empty(); }

  void check_pool() {
    if (config_.local_cpu.pool_bytes == 0) {
      findings_.fail(at({"max_local_cpu_size"}),
                     "key 'max_local_cpu_size': is 0, but every chunk passes through the pool in "
                     "host memory, with local_cpu: False too; set its size");
    }
    if (!config_.local_cpu.is_tier && !has_far_tier()) {
      findings_.warn(at({"local_cpu"}),
                     "there is no tier: nothing keeps chunks. Set local_cpu: True, local_disk, "
                     "remote_url, external_backends or peers");
    }
  }
  void check_disk() {
    const LocalDiskConfig& disk = config_.local_disk;
    if (!disk.path.empty() && disk.max_bytes == 0) {
      findings_.fail(at({"local_disk"}),
                     "key 'local_disk': needs max_local_disk_size, which is 0; set how many GB it "
                     "may hold");
    }
    if (disk.path.empty() && disk.max_bytes > 0) {
      findings_.warn(at({"max_local_disk_size"}),
                     "key 'max_local_disk_size': has no effect without local_disk");
    }
  }
  void check_remote() {
    const RemoteConfig& remote = config_.remote;
    if (!remote.password.empty() && !remote.password_file.empty()) {
      findings_.fail(at({"remote_password_file"}),
                     "key 'remote_password_file': the password is in remote_url, too; keep one");
    }
    if (!remote.username.empty() && remote.password.empty() && remote.password_file.empty()) {
      findings_.fail(at({"remote_username", "remote_url"}),
                     "key 'remote_username': needs remote_password_file");
    }
    if (remote.kind != RemoteKind::kRedis && !remote.password_file.empty()) {
      findings_.warn(at({"remote_password_file"}),
                     "key 'remote_password_file': has no effect unless remote_url is Redis");
    }
  }
  void check_peers() {
    const PeerConfig& peer = config_.peer;
    if (peer.name.size() > kMaxPeerName || !detail::is_printable(peer.name)) {
      findings_.fail(at({"peer_name"}),
                     "key 'peer_name': must be 1 to 256 characters of plain ASCII");
    }
    if (!has_peers()) {
      if (!peer.push_to.empty()) {
        findings_.warn(at({"peer_push"}), "key 'peer_push': has no effect without peers");
      }
      return;
    }
    const std::string key = peer.peers.empty() ? "peer_listen" : "peers";
    if (peer.name.empty()) findings_.fail(at({key}), "key '" + key + "': needs peer_name");
    if (peer.token_file.empty()) {
      findings_.fail(at({key}), "key '" + key + "': needs peer_token_file");
    }
    const bool is_own_peer =
        std::ranges::find(peer.peers, peer.name, &PeerAddress::name) != peer.peers.end();
    if (!peer.name.empty() && is_own_peer) {
      findings_.fail(at({"peers"}), "key 'peers': names this engine itself ('" +
                                        detail::printable(peer.name, kMaxPeerName) +
                                        "'); take it from the list");
    }
    check_use_of_peers();
  }
  void check_use_of_peers() {
    const PeerConfig& peer = config_.peer;
    if (!peer.push_to.empty() &&
        std::ranges::find(peer.peers, peer.push_to, &PeerAddress::name) == peer.peers.end()) {
      findings_.fail(at({"peer_push"}), "key 'peer_push': '" +
                                            detail::printable(peer.push_to, kMaxPeerName) +
                                            "' is none of peers; add it there");
    }
    if (!peer.host.empty() && !config_.local_cpu.is_tier) {
      findings_.warn(at({"peer_listen"}),
                     "key 'peer_listen': peers find nothing here, as local_cpu is False");
    }
    if (peer.transport == "loopback" && !peer.peers.empty()) {
      findings_.warn(at({"transport", "peers"}),
                     "key 'transport': loopback reaches engines of this process only, which must "
                     "be given one transport (CacheEngineOptions::transport)");
    }
  }

  /// What this build cannot do, however right the configuration is.
  void check_build() {
    const auto warn = [&](bool is_wanted, std::string_view key, const std::string& lack) {
      if (!is_wanted) return;
      findings_.warn(at({key}), "key '" + std::string(key) + "': this build has no " + lack);
    };
    warn(!KVFERRY_HAVE_HIREDIS && config_.remote.kind == RemoteKind::kRedis, "remote_url",
         "hiredis; install libhiredis-dev and build again");
    warn(!KVFERRY_HAVE_UCX && has_peers() && config_.peer.transport == "ucx",
         config_.peer.peers.empty() ? "peer_listen" : "peers",
         "UCX, and no way to peers; install libucx-dev and build again");
    warn(!KVFERRY_HAVE_PROMETHEUS && config_.metrics.port != 0, "metrics_port",
         "prometheus-cpp; install prometheus-cpp-dev and build again");
    warn(!KVFERRY_HAVE_URING && config_.local_disk.io == DiskIo::kIoUring, "disk_io",
         "liburing; install liburing-dev and build again");
  }

  const CacheConfig& config_;
  const WhereSet& where_;
  ConfigFindings& findings_;
};

}  // namespace

void check_config_rules(const CacheConfig& config, const WhereSet& where,
                        ConfigFindings& findings) {
  Rules(config, where, findings).check();
}

}  // namespace kvferry
