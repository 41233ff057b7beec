#pragma once

#include <memory>
#include <string>

#include "runtime/control/messages.h"
#include "runtime/transfer/engine_context.h"

namespace kvferry {

/// What two engines tell and prove to one another before they move bytes: who they are, and which
/// paths lead from one to the other. It makes and judges messages; their order is the session's.
///
/// Threads: the control executor.
class Introduction {
 public:
  /// Borrows `context`. Must not move: the peer looks for a word in it.
  Introduction(const EngineContext& context, ControlRole role);
  Introduction(const Introduction&) = delete;
  Introduction& operator=(const Introduction&) = delete;

  GreetingMessage greeting() const { return {.nonce = own_nonce_}; }
  void hear(const GreetingMessage& greeting) { peer_nonce_ = greeting.nonce; }

  /// With its proof; after hear(greeting). Errors: as prove().
  Result<HelloMessage> hello() const;
  /// Errors: kPermissionDenied (token), kInvalidArgument (name), kFailedPrecondition (transport).
  Status check(const HelloMessage& hello) const;
  Status check(const InspectMessage& inspect) const;
  /// After check(): looks for the peer's process and the paths to it.
  PathMessage hear(HelloMessage hello);
  /// The best path that both can use; the same on both sides. Errors: why the network is none.
  Result<PeerClass> choose_class(const PathMessage& peer) const;

  ControlRole role() const { return role_; }
  /// Equal on both sides; unlike that of any other session.
  const Nonce& session_id() const {
    return role_ == ControlRole::kConnector ? own_nonce_ : peer_nonce_;
  }
  /// Empty until its hello is heard.
  const std::string& peer_name() const { return peer_hello_.name; }
  /// Of the peer; null when nothing can be proven about it.
  ProcessWatch* peer_process() const { return process_.get(); }

 private:
  Result<Proof> proof_of(std::span<const std::byte> statement, ControlRole speaker) const;
  Status check_proof(const Proof& proof, std::span<const std::byte> statement,
                     ControlRole speaker) const;

  const EngineContext& context_;
  const ControlRole role_;
  const Nonce own_nonce_;
  Nonce peer_nonce_{};
  const uint64_t probe_word_;
  HelloMessage own_hello_;
  HelloMessage peer_hello_;
  PathMessage own_path_;
  std::unique_ptr<ProcessWatch> process_;
};

}  // namespace kvferry
