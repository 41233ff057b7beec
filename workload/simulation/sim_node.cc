#include "workload/simulation/sim_node.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "kvferry/slot_mapping.h"
#include "workload/oracle/kv_content.h"

namespace kvferry {
namespace {

// Two layers, rows of 64 bytes: small enough for thousands of runs, and four fragments a chunk.
constexpr ModelShape kModel = {.name = "simulated",
                               .num_layers = 4,
                               .num_heads = 1,
                               .head_dim = 32,
                               .dtype = DType::kBF16,
                               .preset = PagePreset::kVllmNhd,
                               .block_tokens = 16};
constexpr int64_t kBlocksPerChunk = SimNode::kChunkTokens / 16;
constexpr int64_t kCacheChunks = 40;

ChunkRef ref_of(uint32_t number) {
  ChunkRef ref;
  ref.key.model = "simulated";
  ref.key.dtype = kModel.dtype;
  for (size_t i = 0; i < 4; ++i) {
    ref.key.chunk_hash.bytes[i] = static_cast<uint8_t>(number >> (8 * i));
  }
  ref.key.chunk_hash.bytes[4] = 1;
  ref.token_begin = SimNode::kChunkTokens * number;
  ref.token_end = ref.token_begin + SimNode::kChunkTokens;
  return ref;
}

}  // namespace

struct SimNode::Fetch {
  std::string peer;
  std::vector<ChunkRef> refs;
  std::vector<std::vector<int64_t>> blocks;
  std::vector<std::vector<int64_t>> slots;
  std::vector<int> ends;
  std::vector<bool> arrived;
  bool has_timeout = false;
  bool is_done = false;
};

SimNode::SimNode(const SimNodeSetup& setup, std::string name)
    : setup_(setup),
      process_(setup.network.world().add_process(std::move(name))),
      control_(process_.add_executor()),
      view_(setup.network.world(), process_, setup.can_pull),
      cache_(PagedKVCache::create(kModel, kModel.preset, kCacheChunks * kBlocksPerChunk, setup.seed)
                 .value()) {
  TransferEngineOptions options;
  options.name = process_.name();
  options.token = "secret";
  options.chunk_bytes = static_cast<size_t>(kChunkTokens * kModel.token_bytes());
  options.staging_chunks = setup.pool_chunks;
  options.landing_chunks = setup.pool_chunks;
  options.fragment_bytes = kChunkTokens * kModel.token_bytes() / kModel.num_layers;
  options.transport = std::make_shared<SimTransport>(setup.network);
  options.staged_fragment_hook = [this](const StagedFragment& fragment) {
    if (!setup_.network.strikes(setup_.faults.flip_staged)) return;
    fragment.bytes[setup_.network.world().random().below(fragment.bytes.size())] ^= std::byte{64};
  };
  core_ =
      EngineCore::create(std::move(options), {control_, process_.add_executor(), view_}).value();
  core_->set_provider(this);
  poison_slots(cache_.layout(), all_slots()).ignore("the slots are the cache's");
  setup.oracle.watch(core_->context().staging);
  setup.oracle.watch(core_->context().landing);
}

SimNode::~SimNode() { process_.forget_tasks(); }

Result<std::vector<int64_t>> SimNode::allocate_slots(std::vector<int64_t>& blocks) {
  KVFERRY_ASSIGN_OR_RETURN(blocks, cache_.allocate(kBlocksPerChunk));
  KVFERRY_ASSIGN_OR_RETURN(std::vector<int64_t> slots,
                           slots_from_block_table(blocks, kModel.block_tokens, 0, kChunkTokens));
  check_poison(slots);
  return slots;
}

void SimNode::check_poison(SlotMapping slots) {
  if (are_poisoned(cache_.layout(), slots).value_or(false)) return;
  setup_.violate(name() + ": pages were written after they had been given back");
}

std::vector<int64_t> SimNode::all_slots() const {
  std::vector<int64_t> slots(static_cast<size_t>(cache_.num_blocks() * kModel.block_tokens));
  std::iota(slots.begin(), slots.end(), 0);
  return slots;
}

void SimNode::check_pages() { check_poison(all_slots()); }

// ---- as a source

Result<PagedChunk> SimNode::open_chunk(const ChunkRef& ref) {
  if (setup_.network.strikes(setup_.faults.not_held)) {
    return make_error(StatusCode::kNotFound, "the chunk is not held any more");
  }
  Held& held = held_[ref.key.to_string()];
  if (held.readers == 0) {
    KVFERRY_ASSIGN_OR_RETURN(held.slots, allocate_slots(held.blocks));
    fill_chunk(cache_.layout(), held.slots, ref.key.chunk_hash).ignore("the slots are the cache's");
  }
  ++held.readers;
  return PagedChunk{&cache_.layout(), held.slots};
}

void SimNode::close_chunk(const ChunkRef& ref) {
  const auto found = held_.find(ref.key.to_string());
  if (found == held_.end() || found->second.readers == 0) {
    return setup_.violate(name() + ": chunk " + ref.key.to_string() +
                          " was closed more often than opened");
  }
  Held& held = found->second;
  if (--held.readers > 0) return;
  poison_slots(cache_.layout(), held.slots).ignore("the slots are the cache's");
  cache_.free(held.blocks).ignore("they are the cache's");
  held_.erase(found);
}

int64_t SimNode::open_chunks() const {
  int64_t open = 0;
  for (const auto& [key, held] : held_) open += held.readers;
  return open;
}

// ---- as a destination

void SimNode::fetch(const SimFetch& what) {
  ++counts_.fetches_begun;
  control_.post([this, what] {
    const FetchId id = begin(what);
    if (what.patience == Duration::zero()) return;
    setup_.network.world().after(what.patience,
                                 [this, id] { control_.post([this, id] { core_->cancel(id); }); });
  });
}

FetchId SimNode::begin(const SimFetch& what) {
  const auto fetch = std::make_shared<Fetch>();
  fetch->has_timeout = what.timeout > Duration::zero();
  fetch->peer = what.peer;
  std::vector<FetchItem> items;
  for (const uint32_t number : what.chunks) {
    std::vector<int64_t> blocks;
    Result<std::vector<int64_t>> slots = allocate_slots(blocks);
    if (!slots) break;  // the cache is full of fetches under way
    fetch->refs.push_back(ref_of(number));
    fetch->blocks.push_back(std::move(blocks));
    fetch->slots.push_back(*slots);
    items.push_back({ref_of(number), {&cache_.layout(), std::move(*slots)}});
  }
  fetch->ends.assign(items.size(), 0);
  fetch->arrived.assign(items.size(), false);
  const FetchId id = next_fetch_++;
  core_->fetch(
      id, what.peer, std::move(items),
      {.priority = what.priority,
       .timeout = what.timeout,
       .on_chunk = [this, fetch](size_t item,
                                 const Status& status) { on_chunk(*fetch, item, status); },
       .on_done = [this, fetch](const FetchSummary& summary) { on_done(*fetch, summary); }});
  return id;
}

void SimNode::on_chunk(Fetch& fetch, size_t item, const Status& status) {
  const ChunkRef& ref = fetch.refs.at(item);
  SimWorld& world = setup_.network.world();
  world.log([&] {
    return name() + " has chunk " + std::to_string(ref.token_begin / kChunkTokens) + " of " +
           fetch.peer + ": " + status.to_string();
  });
  world.note(static_cast<uint64_t>(status.code()));
  if (++fetch.ends[item] > 1 || fetch.is_done) setup_.violate(name() + ": a chunk ended twice");
  if (status.code() == StatusCode::kDeadlineExceeded && !fetch.has_timeout &&
      setup_.network.losses() == 0) {
    setup_.violate(name() + ": a transfer was stuck though nothing was lost");
  }
  if (!status.is_ok()) {
    ++counts_.chunks_failed;
    return;
  }
  ++counts_.chunks_verified;
  fetch.arrived[item] = true;
  const auto mismatch = verify_chunk(cache_.layout(), fetch.slots[item], ref.key.chunk_hash);
  if (!mismatch || *mismatch) {
    setup_.violate(name() + ": a wrong byte was published: " +
                   (mismatch ? (*mismatch)->to_string() : mismatch.error().to_string()));
  }
}

void SimNode::on_done(Fetch& fetch, const FetchSummary& summary) {
  const auto first_missing = std::ranges::find(fetch.arrived, false);
  if (summary.verified_prefix !=
      static_cast<size_t>(std::ranges::distance(fetch.arrived.begin(), first_missing))) {
    setup_.violate(name() + ": a fetch has another verified prefix than it says");
  }
  if (std::exchange(fetch.is_done, true)) setup_.violate(name() + ": a fetch was done twice");
  ++counts_.fetches_done;
  for (size_t i = 0; i < fetch.refs.size(); ++i) {
    if (fetch.ends[i] != 1) setup_.violate(name() + ": a fetch was done before all of its chunks");
    // The pages are somebody else's now; who still scatters into them is found by their content.
    poison_slots(cache_.layout(), fetch.slots[i]).ignore("the slots are the cache's");
    cache_.free(fetch.blocks[i]).ignore("they are the cache's");
  }
}

bool SimNode::is_memory_back() const {
  const EngineContext& context = core_->context();
  return context.staging.usage().used_slots == 0 && context.landing.usage().used_slots == 0;
}

}  // namespace kvferry
