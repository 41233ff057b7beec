#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/transfer/engine_core.h"
#include "transports/sim/sim_transport.h"
#include "workload/engine/paged_kv_cache.h"
#include "workload/simulation/memory_oracle.h"
#include "workload/simulation/sim_process_view.h"

namespace kvferry {

/// What goes wrong inside a node. Chances are per million.
struct NodeFaults {
  uint32_t flip_staged = 0;  ///< a byte of a staged fragment flips after its digest
  uint32_t not_held = 0;     ///< a chunk that is asked for is not held
};

/// What the nodes of one simulation share.
struct SimNodeSetup {
  SimNetwork& network;
  MemoryOracle& oracle;
  const NodeFaults& faults;  ///< may change meanwhile
  std::function<void(const std::string&)> violate;
  bool can_pull = true;
  size_t pool_chunks = 2;
  uint64_t seed = 1;
};

/// What a node is to fetch.
struct SimFetch {
  std::string peer;
  std::vector<uint32_t> chunks;  ///< by number
  FetchPriority priority = FetchPriority::kForeground;
  Duration timeout{};   ///< of the fetch; 0: none
  Duration patience{};  ///< cancelled after it; 0: never
};

/// How the fetches of a node ended.
struct SimNodeCounts {
  int64_t fetches_begun = 0;
  int64_t fetches_done = 0;
  int64_t chunks_verified = 0;
  int64_t chunks_failed = 0;
};

/// One process of a simulation: the real engine over simulated executors, with an engine-like cache
/// whose every byte the oracle knows. It serves any chunk, and fetches from others.
///
/// Chunks that nobody reads any more are poisoned, and so are pages that are to be filled: whoever
/// reads too late, or not at all, is found by the content.
///
/// Threads: one
class SimNode final : private ChunkProvider {
 public:
  static constexpr int64_t kChunkTokens = 64;

  SimNode(const SimNodeSetup& setup, std::string name);
  ~SimNode() override;
  SimNode(const SimNode&) = delete;
  SimNode& operator=(const SimNode&) = delete;

  SimProcess& process() { return process_; }
  SimExecutor& control() { return control_; }
  EngineCore& core() { return *core_; }
  const std::string& name() const { return process_.name(); }

  /// Fetches, soon, and checks every byte of what arrives.
  void fetch(const SimFetch& what);

  const SimNodeCounts& counts() const { return counts_; }
  /// Chunks that a peer's transfer has open.
  int64_t open_chunks() const;

  /// At rest: nothing was written into pages after they had been given back.
  void check_pages();
  /// Every slot of both pools is back.
  bool is_memory_back() const;

 private:
  struct Held {
    std::vector<int64_t> blocks;
    std::vector<int64_t> slots;
    int64_t readers = 0;
  };
  struct Fetch;

  FetchId begin(const SimFetch& what);
  Result<PagedChunk> open_chunk(const ChunkRef& ref) override;
  void close_chunk(const ChunkRef& ref) override;
  void check_poison(SlotMapping slots);
  std::vector<int64_t> all_slots() const;
  Result<std::vector<int64_t>> allocate_slots(std::vector<int64_t>& blocks);
  void on_chunk(Fetch& fetch, size_t item, const Status& status);
  void on_done(Fetch& fetch, const FetchSummary& summary);

  const SimNodeSetup setup_;
  SimProcess& process_;
  SimExecutor& control_;
  SimProcessView view_;
  PagedKVCache cache_;
  std::unique_ptr<EngineCore> core_;
  std::map<std::string, Held> held_;
  FetchId next_fetch_ = 1;
  SimNodeCounts counts_;
};

}  // namespace kvferry
