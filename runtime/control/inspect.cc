#include "runtime/control/inspect.h"

#include <future>
#include <optional>
#include <utility>

#include "core/printable.h"
#include "runtime/control/messages.h"
#include "runtime/control/peer_probe.h"
#include "runtime/control/tcp_channel.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"

namespace kvferry {
namespace {

/// Greeting, inspection, report.
///
/// Threads: its executor
class Inspector {
 public:
  Inspector(UniqueFd socket, Executor& executor, std::string token)
      : channel_(std::move(socket), executor, {.max_message_bytes = kMaxMessageBytes}),
        token_(std::move(token)) {
    for (std::byte& byte : nonce_) byte = static_cast<std::byte>(random_u64());
  }

  void start() {
    const Status started = channel_.start(
        [this](std::span<const std::byte> bytes) { on_message(bytes); },
        [this](const Status& status) {
          answer(tl::unexpected(
              Status(StatusCode::kUnavailable,
                     status.is_ok() ? "it ended the connection" : std::string(status.message()))));
        });
    if (!started.is_ok()) return answer(tl::unexpected(started));
    channel_.trust();  // a report is large, and we go when it is there
    send(GreetingMessage{.nonce = nonce_});
  }

  /// Once; what comes later is dropped.
  void answer(Result<std::string> result) {
    if (!std::exchange(has_answered_, true)) answer_.set_value(std::move(result));
  }
  std::future<Result<std::string>> future() { return answer_.get_future(); }

 private:
  void send(const ControlMessage& message) {
    const auto bytes = encode(message);
    bytes ? channel_.send(*bytes) : answer(tl::unexpected(bytes.error()));
  }

  void on_message(std::span<const std::byte> bytes) {
    auto message = decode_message(bytes);
    if (!message) return answer(tl::unexpected(message.error()));
    if (const auto* greeting = std::get_if<GreetingMessage>(&*message)) {
      const auto proof = prove(token_, ControlRole::kInspector, nonce_, greeting->nonce, {});
      return proof ? send(InspectMessage{*proof}) : answer(tl::unexpected(proof.error()));
    }
    if (auto* report = std::get_if<ReportMessage>(&*message)) {
      return answer(std::move(report->json));
    }
    if (const auto* refusal = std::get_if<RefusalMessage>(&*message)) {
      return answer(tl::unexpected(
          Status(refusal->code, detail::printable(refusal->reason, kMaxReasonBytes))));
    }
    answer(
        tl::unexpected(Status(StatusCode::kInvalidArgument, "it answers with what is no report")));
  }

  TcpChannel channel_;
  const std::string token_;
  Nonce nonce_{};
  bool has_answered_ = false;
  std::promise<Result<std::string>> answer_;
};

}  // namespace

Result<std::string> inspect_engine(const std::string& host, uint16_t port, const std::string& token,
                                   Duration timeout) {
  const SteadyClock clock;
  KVFERRY_ASSIGN_OR_RETURN(UniqueFd socket, tcp_connect(host, port, timeout));
  KVFERRY_ASSIGN_OR_RETURN(const auto executor, ThreadExecutor::create("kvferry-ask", clock));
  std::optional<Inspector> inspector(std::in_place, std::move(socket), *executor, token);
  std::future<Result<std::string>> answer = inspector->future();
  executor->post([&] { inspector->start(); });
  executor->post_at(clock.now() + timeout, [&] {
    if (!inspector) return;
    inspector->answer(tl::unexpected(
        Status(StatusCode::kDeadlineExceeded, "it does not answer; is it stopped?")));
  });
  Result<std::string> result = answer.get();
  std::promise<void> gone;
  executor->post([&] {
    inspector.reset();
    gone.set_value();
  });
  gone.get_future().wait();
  executor->stop();
  return result;
}

}  // namespace kvferry
