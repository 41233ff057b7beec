#include "workload/simulation/simulation.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "transports/sim/sim_network.h"
#include "workload/simulation/memory_oracle.h"
#include "workload/simulation/sim_node.h"
#include "workload/simulation/sim_wire.h"

namespace kvferry {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kWorkTime = milliseconds(1500);
constexpr Duration kReconnectEvery = milliseconds(30);
// After the network has healed everything ends in this time: silent peers are lost after 5 s,
// handshakes end after 5 s, transfers that are stuck after 30 s.
constexpr Duration kRestLimit = seconds(150);
constexpr uint32_t kChunks = 12;
// A connection that was lost before may be noticed by the first who uses it.
constexpr int kServiceAttempts = 3;

/// One seed's run.
class Simulation {
 public:
  explicit Simulation(const SimulationOptions& options)
      : options_(options),
        oracle_([this](const std::string& what) { violate(what); }),
        world_(options.seed),
        network_(world_, &oracle_) {
    world_.set_logging(options.keep_log);
  }
  ~Simulation() {
    world_.forget_events();
    nodes_.clear();
  }
  Simulation(const Simulation&) = delete;
  Simulation& operator=(const Simulation&) = delete;

  SimulationResult run();

 private:
  /// A place in the cluster; its process may be killed and started again under the same name.
  struct Place {
    std::string name;
    bool is_decode = false;
    SimNode* node = nullptr;  // null while it is down
    int incarnation = 0;
  };

  SimRandom& random() { return world_.random(); }
  void log(const std::string& line) {
    world_.log([&] { return line; });
  }
  void draw_faults();
  void start(Place& place);
  void keep_connected(Place& from, Place& to, int incarnation);
  void connect(Place& from, Place& to);
  void plan_work();
  void plan_chaos();
  void strike();
  void shut_down(Place& place);
  Place& any_place() { return *places_[random().below(places_.size())]; }
  void heal();
  bool is_at_rest() const;
  void check_rest();
  void check_service();
  bool serves(Place& prefill, Place& decode);
  void end_all();
  void violate(const std::string& what) {
    log(std::string(kViolationMark) + what);
    result_.violations.push_back(what);
  }

  const SimulationOptions options_;
  MemoryOracle oracle_;
  SimWorld world_;
  SimNetwork network_;
  WireFaults wire_faults_;
  NodeFaults node_faults_;
  SimNodeSetup setup_{network_, oracle_, node_faults_,
                      [this](const std::string& what) { violate(what); }};
  std::vector<std::unique_ptr<Place>> places_;
  std::vector<std::unique_ptr<SimNode>> nodes_;  // the dead ones, too: their memory stays
  std::map<std::pair<std::string, std::string>, std::shared_ptr<SimWire>> wires_;
  bool connects_both_ways_ = false;
  int work_left_ = 0;
  bool is_healed_ = false;
  bool is_ending_ = false;
  size_t num_ended_ = 0;
  int num_shutting_down_ = 0;
  SimulationResult result_;
};

// Each kind of fault is absent from some runs, rare in others, frequent in a few.
void Simulation::draw_faults() {
  const auto draw = [this](uint32_t rare, uint32_t frequent) -> uint32_t {
    const uint64_t kind = random().below(6);
    return kind < 2 ? 0 : kind < 5 ? rare : frequent;
  };
  SimFaults& link = network_.faults();
  link.max_latency = std::chrono::microseconds(20 + random().below(400));
  link.slow_latency = milliseconds(1 + random().below(60));
  link.late = draw(50'000, 300'000);
  link.reorder = draw(50'000, 300'000);
  link.duplicate_offer = draw(50'000, 300'000);
  link.fail_offer = draw(10'000, 60'000);
  link.lose_offer = draw(3'000, 20'000);
  link.lose_sent = draw(3'000, 20'000);
  link.corrupt = draw(10'000, 80'000);
  wire_faults_.late = draw(30'000, 200'000);
  wire_faults_.duplicate = random().below(3) == 0 ? 60'000 : 0;
  wire_faults_.overtake = random().below(6) == 0 ? 10'000 : 0;
  setup_.can_pull = random().below(2) == 0;
  connects_both_ways_ = random().below(4) == 0;
  setup_.pool_chunks = 1 + random().below(4);
  node_faults_.flip_staged = draw(10'000, 80'000);
  node_faults_.not_held = draw(20'000, 100'000);
  world_.set_lag(draw(2'000, 20'000), milliseconds(1 + random().below(20)));
}

void Simulation::start(Place& place) {
  setup_.seed = random().next();
  nodes_.push_back(std::make_unique<SimNode>(setup_, place.name));
  place.node = nodes_.back().get();
  ++place.incarnation;
  log(place.name + " starts as pid " + std::to_string(place.node->process().pid()));
  for (const auto& other : places_) {
    if (other->node == nullptr || other->is_decode == place.is_decode) continue;
    Place& decode = place.is_decode ? place : *other;
    Place& prefill = place.is_decode ? *other : place;
    keep_connected(decode, prefill, decode.incarnation);
    if (connects_both_ways_) keep_connected(prefill, decode, prefill.incarnation);
  }
}

// As an integrator does: whenever there is no connection, try again.
void Simulation::keep_connected(Place& from, Place& to, int incarnation) {
  if (is_ending_ || from.node == nullptr || from.incarnation != incarnation) return;
  from.node->control().post([this, &from, &to, incarnation] {
    if (from.node == nullptr || from.incarnation != incarnation) return;
    const auto peers = from.node->core().peers();
    const bool is_connected = std::ranges::count(peers, to.name, &PeerInfo::name) > 0;
    if (!is_connected && to.node != nullptr) connect(from, to);
    world_.after(random().between(kReconnectEvery, 2 * kReconnectEvery),
                 [this, &from, &to, incarnation] { keep_connected(from, to, incarnation); });
  });
}

void Simulation::connect(Place& from, Place& to) {
  auto& wire = wires_[{from.name, to.name}];
  if (wire && wire->is_open()) return;  // the handshake is under way
  wire = SimWire::create(network_, wire_faults_, from.node->control(), to.node->control());
  from.node->core().add_peer(wire->channel(SimWire::kConnector), ControlRole::kConnector, nullptr);
  to.node->control().post([&node = *to.node, wire = wire] {
    if (!node.core().takes_strangers()) return;
    node.core().add_peer(wire->channel(SimWire::kListener), ControlRole::kListener, nullptr);
  });
}

void Simulation::plan_work() {
  work_left_ = static_cast<int>(40 + random().below(60));
  for (int i = 0; i < work_left_; ++i) {
    world_.after(random().between(milliseconds(10), kWorkTime), [this] {
      --work_left_;
      Place& place = any_place();
      if (!place.is_decode || place.node == nullptr) return;
      std::vector<std::string> sources;
      for (const auto& other : places_) {
        if (!other->is_decode) sources.push_back(other->name);
      }
      SimFetch fetch;
      fetch.peer = sources[random().below(sources.size())];
      for (uint64_t n = 1 + random().below(6); n > 0; --n) {
        fetch.chunks.push_back(static_cast<uint32_t>(random().below(kChunks)));
      }
      log(place.name + " fetches " + std::to_string(fetch.chunks.size()) + " chunks of " +
          fetch.peer);
      if (random().below(4) == 0) {
        fetch.timeout = random().between(milliseconds(1), milliseconds(80));
      }
      if (random().below(6) == 0) {
        fetch.patience = random().between(milliseconds(1), milliseconds(40));
      }
      fetch.priority = static_cast<FetchPriority>(random().below(kNumPriorities));
      place.node->fetch(fetch);
    });
  }
}

void Simulation::plan_chaos() {
  for (uint64_t n = random().below(9); n > 0; --n) {
    world_.after(random().between(milliseconds(1), kWorkTime), [this] { strike(); });
  }
}

void Simulation::strike() {
  Place& place = any_place();
  if (place.node == nullptr || is_healed_) return;
  world_.count_fault();
  SimProcess& process = place.node->process();
  switch (random().below(6)) {
    case 0: {
      log(place.name + " is killed");
      process.kill();
      place.node = nullptr;
      world_.after(random().between(milliseconds(1), milliseconds(300)), [this, &place] {
        if (place.node == nullptr) start(place);
      });
      return;
    }
    case 1: {
      shut_down(place);
      return;
    }
    case 2:
    case 3: {
      log(place.name + " is stopped");
      process.stop();
      world_.after(random().between(milliseconds(1), seconds(12)), [this, &process] {
        log(process.name() + " goes on");
        process.resume();
      });
      return;
    }
    default: {
      for (auto& [between, wire] : wires_) {
        if ((between.first != place.name && between.second != place.name) || !wire->is_open())
          continue;
        const bool hangs = random().below(4) == 0;
        log("the connection of " + between.first + " and " + between.second +
            (hangs ? " hangs" : " is cut"));
        hangs ? wire->hang() : wire->cut();
        return;
      }
    }
  }
}

// In order, with whatever is under way; its process is gone soon after.
void Simulation::shut_down(Place& place) {
  log(place.name + " shuts down");
  SimNode* const node = std::exchange(place.node, nullptr);
  ++num_shutting_down_;
  node->control().post([this, node, &place] {
    node->core().end([this, node, &place] {
      --num_shutting_down_;
      log(place.name + " has shut down");
      const SimNodeCounts& counts = node->counts();
      if (counts.fetches_begun != counts.fetches_done || node->open_chunks() > 0) {
        violate(place.name + ": the end came before those of its transfers");
      }
      world_.after(random().between(milliseconds(0), milliseconds(2)),
                   [node] { node->process().kill(); });
      world_.after(random().between(milliseconds(1), milliseconds(300)), [this, &place] {
        if (place.node == nullptr) start(place);
      });
    });
  });
}

void Simulation::heal() {
  is_healed_ = true;
  log("the network heals");
  SimFaults healed;
  network_.faults() = healed;
  wire_faults_ = {};
  node_faults_ = {};
  world_.set_lag(0, {});
  for (const auto& node : nodes_) node->process().resume();
  for (const auto& place : places_) {
    if (place->node == nullptr) start(*place);
  }
}

bool Simulation::is_at_rest() const {
  return num_shutting_down_ == 0 && std::ranges::all_of(places_, [](const auto& place) {
           const SimNode& node = *place->node;
           const TransferStats stats = place->node->core().stats();
           return node.counts().fetches_begun == node.counts().fetches_done &&
                  stats.leases_active == 0 && stats.quarantined_bytes == 0 &&
                  node.open_chunks() == 0;
         });
}

void Simulation::check_rest() {
  if (num_shutting_down_ > 0) violate("an engine that was shut down never ends");
  for (const auto& place : places_) {
    const SimNode& node = *place->node;
    const TransferStats stats = place->node->core().stats();
    const int64_t open = node.counts().fetches_begun - node.counts().fetches_done;
    if (open > 0) violate(place->name + ": " + std::to_string(open) + " fetches never end");
    if (stats.leases_active > 0) {
      violate(place->name + ": " + std::to_string(stats.leases_active) +
              " leases are never fenced");
    }
    if (stats.quarantined_bytes > 0) violate(place->name + ": quarantine is never left");
    if (node.open_chunks() > 0) violate(place->name + ": chunks are never closed");
    if (open == 0 && node.open_chunks() == 0) place->node->check_pages();
  }
}

// Whatever happened before, a healthy cluster serves, be it when news of the past has come in.
void Simulation::check_service() {
  for (const auto& decode : places_) {
    for (const auto& prefill : places_) {
      if (!decode->is_decode || prefill->is_decode) continue;
      bool is_served = false;
      for (int attempt = 0; attempt < kServiceAttempts && !is_served; ++attempt) {
        is_served = serves(*prefill, *decode);
      }
      if (!is_served) violate(prefill->name + " does not serve " + decode->name + " any more");
    }
  }
  world_.run_until([this] { return is_at_rest(); }, world_.now() + kRestLimit);
  check_rest();
}

bool Simulation::serves(Place& prefill, Place& decode) {
  const auto is_connected = [&] {
    const auto peers = decode.node->core().peers();
    return std::ranges::count(peers, prefill.name, &PeerInfo::name) == 1;
  };
  if (!world_.run_until(is_connected, world_.now() + kRestLimit)) return false;
  const SimNodeCounts& counts = decode.node->counts();
  const int64_t verified = counts.chunks_verified;
  decode.node->fetch({.peer = prefill.name, .chunks = {0, 1, 2}});
  world_.run_until([&] { return counts.fetches_begun == counts.fetches_done; },
                   world_.now() + kRestLimit);
  return counts.chunks_verified == verified + 3;
}

void Simulation::end_all() {
  is_ending_ = true;
  for (const auto& place : places_) {
    place->node->control().post(
        [this, node = place->node] { node->core().end([this] { ++num_ended_; }); });
  }
  const auto all = [this] { return num_ended_ == places_.size(); };
  if (!world_.run_until(all, world_.now() + kRestLimit)) {
    return violate("an engine never ends");
  }
  const auto is_back = [this] {
    return std::ranges::all_of(places_,
                               [](const auto& place) { return place->node->is_memory_back(); });
  };
  if (!world_.run_until(is_back, world_.now() + seconds(1))) {
    violate("memory is not back in its pool after the end");
  }
}

SimulationResult Simulation::run() {
  result_.seed = options_.seed;
  draw_faults();
  const auto add = [this](const std::string& name, bool is_decode) {
    places_.push_back(std::make_unique<Place>(Place{name, is_decode}));
  };
  for (uint64_t n = 1 + random().below(2); n > 0; --n) add("prefill" + std::to_string(n), false);
  for (uint64_t n = 1 + random().below(2); n > 0; --n) add("decode" + std::to_string(n), true);
  for (const auto& place : places_) start(*place);
  plan_work();
  plan_chaos();
  const TimePoint begin = world_.now();
  world_.run_until([] { return false; }, begin + kWorkTime);
  heal();
  world_.run_until([this] { return work_left_ == 0 && is_at_rest(); }, world_.now() + kRestLimit);
  check_rest();
  if (result_.violations.empty()) check_service();
  if (result_.violations.empty()) end_all();

  for (const auto& node : nodes_) {
    const SimNodeCounts& counts = node->counts();
    result_.fetches += counts.fetches_begun;
    result_.chunks_verified += counts.chunks_verified;
    result_.chunks_failed += counts.chunks_failed;
  }
  result_.faults = world_.faults();
  world_.note(static_cast<uint64_t>(result_.chunks_verified));
  result_.fingerprint = world_.fingerprint();
  result_.simulated_seconds = std::chrono::duration<double>(world_.now() - begin).count();
  result_.log = world_.event_log();
  return std::move(result_);
}

}  // namespace

SimulationResult run_simulation(const SimulationOptions& options) {
  return Simulation(options).run();
}

}  // namespace kvferry
