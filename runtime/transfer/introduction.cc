#include "runtime/transfer/introduction.h"

#include <algorithm>
#include <utility>

#include "core/wire.h"

namespace kvferry {
namespace {

Nonce fresh_nonce(ProcessView& processes) {
  WireWriter words;
  words.u64(processes.random_word());
  words.u64(processes.random_word());
  Nonce nonce{};
  std::ranges::copy(words.view(), nonce.begin());
  return nonce;
}

}  // namespace

Introduction::Introduction(const EngineContext& context, ControlRole role)
    : context_(context),
      role_(role),
      own_nonce_(fresh_nonce(context.processes)),
      probe_word_(context.processes.random_word()) {
  own_hello_.name = context.options.name;
  own_hello_.transport = std::string(context.options.transport->name());
  own_hello_.host_id = context.processes.host_id();
  own_hello_.pid = context.processes.pid();
  own_hello_.probe_address = reinterpret_cast<uint64_t>(&probe_word_);
  own_hello_.probe_value = probe_word_;
}

Result<Proof> Introduction::proof_of(std::span<const std::byte> statement,
                                     ControlRole speaker) const {
  const bool connects = role_ == ControlRole::kConnector;
  return prove(context_.options.token, speaker, connects ? own_nonce_ : peer_nonce_,
               connects ? peer_nonce_ : own_nonce_, statement);
}

Status Introduction::check_proof(const Proof& proof, std::span<const std::byte> statement,
                                 ControlRole speaker) const {
  KVFERRY_ASSIGN_OR_RETURN(const Proof expected, proof_of(statement, speaker));
  if (are_equal(proof, expected)) return {};
  return {StatusCode::kPermissionDenied, "the peer's token is not ours; give both sides the same"};
}

Result<HelloMessage> Introduction::hello() const {
  HelloMessage hello = own_hello_;
  KVFERRY_ASSIGN_OR_RETURN(hello.proof, proof_of(hello_statement(hello), role_));
  return hello;
}

Status Introduction::check(const InspectMessage& inspect) const {
  return check_proof(inspect.proof, {}, ControlRole::kInspector);
}

Status Introduction::check(const HelloMessage& hello) const {
  const ControlRole peer_role =
      role_ == ControlRole::kConnector ? ControlRole::kListener : ControlRole::kConnector;
  KVFERRY_RETURN_IF_ERROR(check_proof(hello.proof, hello_statement(hello), peer_role));
  if (hello.name.empty()) return Status(StatusCode::kInvalidArgument, "the peer has no name");
  if (!detail::is_printable(hello.name)) {  // it goes into logs and messages
    return Status(StatusCode::kInvalidArgument, "the peer's name is not plain ASCII text");
  }
  if (hello.transport != own_hello_.transport) {
    return Status(StatusCode::kFailedPrecondition,
                  "the peer moves data by " + hello.transport + ", we by " + own_hello_.transport);
  }
  return {};
}

PathMessage Introduction::hear(HelloMessage hello) {
  peer_hello_ = std::move(hello);
  if (own_hello_.host_id.empty() || own_hello_.host_id != peer_hello_.host_id) return own_path_;
  const Transport& transport = *context_.options.transport;
  const PeerClass best_path = context_.options.best_path;
  own_path_.same_host = best_path <= PeerClass::kSameHostShm &&
                        transport.is_available(PeerClass::kSameHostShm).is_ok();
  // Containers may share a kernel and not its process ids: who has the probe word is the peer.
  const bool is_that_process = context_.processes.can_read(
      peer_hello_.pid, peer_hello_.probe_address, peer_hello_.probe_value);
  own_path_.can_pull = is_that_process && best_path <= PeerClass::kSameHostPull &&
                       transport.is_available(PeerClass::kSameHostPull).is_ok();
  if (is_that_process) process_ = context_.processes.watch(peer_hello_.pid, context_.control);
  return own_path_;
}

Result<PeerClass> Introduction::choose_class(const PathMessage& peer) const {
  const Transport& transport = *context_.options.transport;
  const bool same_process = context_.options.best_path == PeerClass::kSameProcess &&
                            own_hello_.pid == peer_hello_.pid &&
                            own_hello_.host_id == peer_hello_.host_id;
  if (same_process && transport.is_available(PeerClass::kSameProcess).is_ok()) {
    return PeerClass::kSameProcess;
  }
  if (own_path_.can_pull && peer.can_pull) return PeerClass::kSameHostPull;
  if (own_path_.same_host && peer.same_host) return PeerClass::kSameHostShm;
  const Status network = transport.is_available(PeerClass::kNetwork);
  if (network.is_ok()) return PeerClass::kNetwork;
  return tl::unexpected(network.with_context("no path to peer '" + peer_name() + "'"));
}

}  // namespace kvferry
