#include <cstring>
#include <utility>

#include "runtime/transfer/peer_session.h"

// What a session does once it is ready: both directions of transfers, and what is asked beside.
namespace kvferry {

TransferRecorder PeerSession::recorder_of(TransferSide side) const {
  uint64_t session = 0;
  std::memcpy(&session, id().data(), sizeof(session));
  return {context_.recorder, session, side};
}

void PeerSession::make_directions() {
  const auto send_message = [this](const ControlMessage& message) { send(message); };
  // They find the path here and keep none, so that it can die where it lived.
  sender_.emplace(
      context_, peer_name(),
      ChunkSender::Outputs{
          .send_message = send_message,
          .send_chunk =
              [this](const std::shared_ptr<OutgoingChunk>& chunk) {
                context_.data.post([path = path_, chunk] { path->send(chunk); });
              },
          .open_object = [this](const CacheEngineKey& key) { return exchange_->open_object(key); },
          .give_up_link = [this](const Status& status) { end(status, false); },
          .max_header_bytes = path_->capabilities().max_header_bytes,
          .record = recorder_of(TransferSide::kSource),
      });
  receiver_.emplace(
      context_, peer_name(),
      ChunkReceiver::Outputs{
          .send_message = send_message,
          .expect_chunk =
              [this](std::shared_ptr<IncomingChunk> chunk) { path_->expect(std::move(chunk)); },
          .abandon_chunk =
              [this](uint64_t id, const Status& status) {
                context_.data.post([path = path_, id, status] { path->abandon(id, status); });
              },
          .record = recorder_of(TransferSide::kDestination),
      });
  exchange_.emplace(
      context_, peer_name(),
      ChunkExchange::Outputs{
          .send_message = send_message,
          .fetch_objects =
              [this](const std::vector<CacheEngineKey>& keys, ObjectFetchOptions options) {
                receiver_->fetch_objects(context_.next_object_fetch_id++, keys, std::move(options));
              },
      });
}

// ---- what the peer says when it is ready

Status PeerSession::on(AskMessage& ask) {
  KVFERRY_RETURN_IF_ERROR(in_order(state_ == State::kReady));
  exchange_->on_ask(ask);
  return {};
}

Status PeerSession::on(AnswerMessage& answer) {
  KVFERRY_RETURN_IF_ERROR(in_order(state_ == State::kReady));
  exchange_->on_answer(answer);
  return {};
}

Status PeerSession::on(PushMessage& push) {
  KVFERRY_RETURN_IF_ERROR(in_order(state_ == State::kReady));
  exchange_->on_push(push);
  return {};
}

Status PeerSession::on(KeptMessage& kept) {
  KVFERRY_RETURN_IF_ERROR(in_order(state_ == State::kReady));
  exchange_->on_kept(kept);
  return {};
}

Status PeerSession::on(FetchMessage& fetch) {
  KVFERRY_RETURN_IF_ERROR(in_order(state_ == State::kReady));
  sender_->on_fetch(std::move(fetch));
  return {};
}

Status PeerSession::on(WithdrawMessage& withdraw) {
  KVFERRY_RETURN_IF_ERROR(in_order(state_ == State::kReady));
  sender_->on_withdraw(withdraw);
  return {};
}

Status PeerSession::on(UnservedMessage& unserved) {
  KVFERRY_RETURN_IF_ERROR(in_order(state_ == State::kReady));
  receiver_->on_unserved(unserved);
  return {};
}

Status PeerSession::on(OfferMessage& offer) {
  KVFERRY_RETURN_IF_ERROR(in_order(state_ == State::kReady));
  receiver_->on_offer(offer);
  return {};
}

Status PeerSession::on(GrantMessage& grant) {
  KVFERRY_RETURN_IF_ERROR(in_order(state_ == State::kReady));
  sender_->on_grant(grant);
  return {};
}

Status PeerSession::on(AbandonMessage& abandon) {
  KVFERRY_RETURN_IF_ERROR(in_order(state_ == State::kReady));
  receiver_->on_abandon(abandon);
  return {};
}

Status PeerSession::on(AckMessage& ack) {
  KVFERRY_RETURN_IF_ERROR(in_order(state_ == State::kReady));
  sender_->on_ack(ack);
  return {};
}

}  // namespace kvferry
