#include "tests/transports/ucx_process_peer.h"

#include <string>

#include "tests/transports/ucx_process_side.h"

namespace kvferry {
namespace {

constexpr const char* kRole = "ucx-peer";
constexpr size_t kFloodBytes = size_t{4} << 20U;

}  // namespace

PeerProcess::PeerProcess(PeerClass peer_class, PeerRole role)
    : SelfProcess(kRole, {std::to_string(static_cast<int>(peer_class)),
                          std::to_string(static_cast<int>(role))}) {}

int run_as_peer(int argc, char** argv) {
  const auto self = find_self_role(kRole, argc, argv);
  if (!self) return -1;
  const auto peer_class = static_cast<PeerClass>(std::stoi(self->words.at(0)));
  const auto role = static_cast<PeerRole>(std::stoi(self->words.at(1)));

  UcxProcessSide side(peer_class, role == PeerRole::kMirror);
  self->owner.send(side.address());
  if (!side.connect(self->owner.receive()).is_ok()) return 1;
  if (role == PeerRole::kFlood) side.offer_forever(8, kFloodBytes);
  self->owner.send("connected");
  self->owner.receive();  // the wish to end, or nothing if the owner is gone
  side.close();
  const bool is_quiet =
      side.wait([](const auto& counts) { return counts.is_quiet; }, std::chrono::seconds(10));
  return is_quiet && side.counts().num_wrong == 0 ? 0 : 2;
}

}  // namespace kvferry
