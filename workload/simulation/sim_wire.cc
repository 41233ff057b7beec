#include "workload/simulation/sim_wire.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "runtime/control/messages.h"

namespace kvferry {

class SimChannel final : public Channel {
 public:
  SimChannel(std::shared_ptr<SimWire> wire, SimWire::End end) : wire_(std::move(wire)), end_(end) {}
  ~SimChannel() override { wire_->close(end_); }
  SimChannel(const SimChannel&) = delete;
  SimChannel& operator=(const SimChannel&) = delete;

  Status start(MessageHandler on_message, CloseHandler on_close) override {
    wire_->sides_[end_].handlers = std::make_shared<const SimWire::Handlers>(
        SimWire::Handlers{std::move(on_message), std::move(on_close)});
    return {};
  }
  void send(std::span<const std::byte> message) override { wire_->send(end_, message); }
  void trust() override {}
  void close() override { wire_->close(end_); }

 private:
  const std::shared_ptr<SimWire> wire_;
  const SimWire::End end_;
};

namespace {

/// What people look for in an event log.
std::string describe(std::span<const std::byte> bytes) {
  const auto message = decode_message(bytes);
  if (!message) return "nonsense";
  const auto transfer = [](const char* name, uint64_t id) {
    return std::string(name) + " of transfer " + std::to_string(id);
  };
  if (const auto* m = std::get_if<OfferMessage>(&*message))
    return transfer("offer", m->transfer_id);
  if (const auto* m = std::get_if<GrantMessage>(&*message))
    return transfer("grant", m->transfer_id);
  if (const auto* m = std::get_if<AckMessage>(&*message)) return transfer("ack", m->transfer_id);
  if (const auto* m = std::get_if<AbandonMessage>(&*message)) {
    return transfer("abandon", m->transfer_id);
  }
  constexpr std::array<const char*, 22> kNames = {
      "greeting", "hello",   "path", "link",    "ready",   "fetch", "unserved", "offer",
      "grant",    "abandon", "ack",  "goodbye", "refusal", "ping",  "quiet",    "withdraw",
      "inspect",  "report",  "ask",  "answer",  "push",    "kept"};
  static_assert(kNames.size() == std::variant_size_v<ControlMessage>);
  return kNames[message->index()];
}

SimWire::End other(SimWire::End end) {
  return end == SimWire::kConnector ? SimWire::kListener : SimWire::kConnector;
}

}  // namespace

std::shared_ptr<SimWire> SimWire::create(SimNetwork& network, const WireFaults& faults,
                                         SimExecutor& connector, SimExecutor& listener) {
  std::shared_ptr<SimWire> wire(new SimWire(network, faults));
  wire->sides_[kConnector].executor = &connector;
  wire->sides_[kListener].executor = &listener;
  for (const End end : {kConnector, kListener}) {
    wire->sides_[end].executor->process().when_dead([weak = std::weak_ptr(wire), end] {
      const std::shared_ptr<SimWire> self = weak.lock();
      if (!self) return;
      self->sides_[end].is_open = false;
      self->tell_closed(other(end), {StatusCode::kUnavailable, "the connection was reset"});
    });
  }
  return wire;
}

std::unique_ptr<Channel> SimWire::channel(End end) {
  return std::make_unique<SimChannel>(shared_from_this(), end);
}

void SimWire::send(End from, std::span<const std::byte> message) {
  if (!sides_[from].is_open || is_hung_) return;
  const std::vector<std::byte> bytes(message.begin(), message.end());
  network_.world().log([&] {
    return sides_[from].executor->process().name() + " says " + describe(message) + " to " +
           sides_[other(from)].executor->process().name();
  });
  const bool overtakes = network_.strikes(faults_.overtake);
  if (overtakes) network_.count_loss();
  deliver(other(from), bytes, overtakes);
  if (!network_.strikes(faults_.duplicate)) return;
  network_.count_loss();
  deliver(other(from), bytes, false);
}

void SimWire::deliver(End to, std::vector<std::byte> message, bool overtakes) {
  SimWorld& world = network_.world();
  const Duration latency =
      network_.strikes(faults_.late) ? network_.faults().slow_latency : network_.latency();
  TimePoint when = world.now() + latency;
  if (!overtakes) when = sides_[to].last_delivery = std::max(sides_[to].last_delivery, when);
  world.after(when - world.now(), [self = shared_from_this(), to, message = std::move(message)] {
    if (self->is_hung_) return;
    self->sides_[to].executor->post([self, to, message] {
      const std::shared_ptr<const Handlers> handlers = self->sides_[to].handlers;
      if (self->sides_[to].is_open && handlers) handlers->on_message(message);
    });
  });
}

void SimWire::close(End end) {
  if (!std::exchange(sides_[end].is_open, false)) return;
  sides_[end].handlers = nullptr;
  tell_closed(other(end), {});
}

void SimWire::tell_closed(End to, const Status& status) {
  SimWorld& world = network_.world();
  const TimePoint when = std::max(sides_[to].last_delivery, world.now() + network_.latency());
  world.after(when - world.now(), [self = shared_from_this(), to, status] {
    if (self->is_hung_) return;
    self->sides_[to].executor->post([self, to, status] {
      if (!std::exchange(self->sides_[to].is_open, false)) return;
      const auto handlers = std::exchange(self->sides_[to].handlers, nullptr);
      if (handlers) handlers->on_close(status);
    });
  });
}

void SimWire::hang() {
  is_hung_ = true;
  network_.count_loss();
}

void SimWire::cut() {
  for (const End end : {kConnector, kListener}) {
    tell_closed(end, {StatusCode::kUnavailable, "the connection was cut"});
  }
}

}  // namespace kvferry
