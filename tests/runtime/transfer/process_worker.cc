#include "tests/runtime/transfer/process_worker.h"

#include <algorithm>
#include <array>
#include <future>
#include <utility>

#include "kvferry/make_transport.h"
#include "tests/support/engine_pair.h"

namespace kvferry {
namespace {

constexpr int64_t kChunkTokens = 256;
constexpr int64_t kPromptChunks = 8;
// Between two tries of what just failed.
constexpr Duration kPause = std::chrono::milliseconds(2);

std::vector<ChunkRef> chunks_of(int prompt) {
  const ChunkHasher hasher =
      ChunkHasher::create({.chunk_tokens = kChunkTokens, .hash_partial_chunk = true}).value();
  std::vector<uint32_t> tokens;
  for (int64_t i = 0; i < kPromptChunks * kChunkTokens; ++i) {
    tokens.push_back(static_cast<uint32_t>(prompt * 100000 + i));
  }
  return chunks_of_prompt(tiny_model(), hasher, tokens);
}

PagedKVCache make_cache(int num_prompts, uint64_t seed) {
  const ModelShape model = tiny_model();
  const int64_t blocks = num_prompts * kPromptChunks * kChunkTokens / model.block_tokens;
  return PagedKVCache::create(model, model.preset, blocks, seed).value();
}

std::unique_ptr<TransferEngine> make_engine(const WorkerOptions& options) {
  TransferEngineOptions engine;
  engine.name = options.name;
  engine.token = "secret";
  engine.chunk_bytes = static_cast<size_t>(kChunkTokens * tiny_model().token_bytes());
  engine.staging_chunks = options.pool_chunks;
  engine.landing_chunks = options.pool_chunks;
  engine.fragment_bytes = 128 * 1024;
  engine.transport = options.transport ? options.transport : make_transport("ucx").value();
  engine.logger = options.logger;
  engine.best_path = options.best_path;
  engine.handshake_timeout = options.handshake_timeout;
  engine.silence_limit = options.silence_limit;
  engine.transfer_timeout = options.transfer_timeout;
  engine.max_quarantined_chunks = options.max_quarantined_chunks;
  return TransferEngine::create(std::move(engine)).value();
}

/// All prompts, computed.
PromptCache make_prompts() {
  PromptCache prompts(make_cache(ServingWorker::kNumPrompts, 1));
  for (int prompt = 0; prompt < ServingWorker::kNumPrompts; ++prompt) {
    auto opened = prompts.open_prompt(chunks_of(prompt)).value();
    for (PromptChunk& chunk : opened) {
      const KVLayout& layout = prompts.cache().layout();
      EXPECT_THAT(fill_chunk(layout, chunk.slots, chunk.ref.key.chunk_hash), IsOk());
      EXPECT_THAT(prompts.publish(chunk), IsOk());
    }
    EXPECT_THAT(prompts.close_prompt(opened), IsOk());
  }
  return prompts;
}

Duration duration_of(const std::string& word) { return Duration(std::stoll(word)); }
std::string word_of(Duration duration) { return std::to_string(duration.count()); }

}  // namespace

std::vector<std::string> WorkerOptions::to_words() const {
  return {name,
          std::to_string(static_cast<int>(best_path)),
          std::to_string(pool_chunks),
          std::to_string(max_quarantined_chunks),
          word_of(silence_limit),
          word_of(transfer_timeout),
          std::to_string(first_prompt),
          std::to_string(num_prompts)};
}

WorkerOptions WorkerOptions::from_words(const std::vector<std::string>& words) {
  WorkerOptions options;
  options.name = words.at(0);
  options.best_path = static_cast<PeerClass>(std::stoi(words.at(1)));
  options.pool_chunks = std::stoul(words.at(2));
  options.max_quarantined_chunks = std::stoul(words.at(3));
  options.silence_limit = duration_of(words.at(4));
  options.transfer_timeout = duration_of(words.at(5));
  options.first_prompt = std::stoi(words.at(6));
  options.num_prompts = std::stoi(words.at(7));
  return options;
}

// ---- ServingWorker

ServingWorker::ServingWorker(const WorkerOptions& options)
    : provider_(make_prompts()), engine_(make_engine(options)) {
  engine_->set_peer_lost_handler([this](const std::string&, const Status&) { ++num_lost_; });
  engine_->serve(&provider_);
  port_ = engine_->listen("127.0.0.1", 0).value();
}

// ---- FetchingWorker

/// Pages for one prompt. They are poisoned but while a fetch has them.
class FetchingWorker::Lane {
 public:
  Lane() {
    const int64_t chunk_blocks = cache.num_blocks() / kPromptChunks;
    for (int64_t i = 0; i < kPromptChunks; ++i) {
      const std::vector<int64_t> blocks = cache.allocate(chunk_blocks).value();
      const int64_t block_tokens = cache.model().block_tokens;
      slots.push_back(slots_from_block_table(blocks, block_tokens, 0, kChunkTokens).value());
    }
    poison();
  }
  void poison() {
    for (const auto& each : slots) EXPECT_THAT(poison_slots(cache.layout(), each), IsOk());
  }
  bool is_poisoned() const {
    return std::ranges::all_of(
        slots, [&](const auto& each) { return are_poisoned(cache.layout(), each).value(); });
  }
  std::vector<FetchItem> items(int prompt) {
    refs = chunks_of(prompt);
    std::vector<FetchItem> items;
    for (size_t i = 0; i < refs.size(); ++i)
      items.push_back({refs[i], {&cache.layout(), slots[i]}});
    return items;
  }

  PagedKVCache cache = make_cache(1, 2);
  std::vector<std::vector<int64_t>> slots;
  std::vector<ChunkRef> refs;
};

namespace {

/// How the items of one fetch ended. Callbacks keep it, as one may come that must not.
struct Ends {
  std::vector<Status> ends;
  std::vector<int> times;
  std::promise<void> all;
};

}  // namespace

FetchingWorker::FetchingWorker(const WorkerOptions& options, uint16_t port,
                               std::function<void(const std::string&)> on_fault)
    : options_(options),
      on_fault_(std::move(on_fault)),
      port_(port),
      engine_(make_engine(options)) {
  for (const bool connects : {true, false}) {
    Lane* const lane = lanes_.emplace_back(std::make_unique<Lane>()).get();
    threads_.emplace_back([this, lane, connects] { fetch_for_ever(*lane, connects); });
  }
}

FetchingWorker::~FetchingWorker() {
  {
    MutexLock lock(mutex_);
    is_ending_ = true;
    changed_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
}

void FetchingWorker::fetch_for_ever(Lane& lane, bool connects) {
  for (int turn = 0; begin_turn(); ++turn) {
    bool is_connected = !engine_->peers().empty();
    if (!is_connected && connects) is_connected = engine_->connect("127.0.0.1", port_).has_value();
    const int prompt = options_.first_prompt + turn % options_.num_prompts;
    end_turn(!is_connected || !fetch_prompt(lane, prompt));
  }
}

bool FetchingWorker::begin_turn() {
  MutexLock lock(mutex_);
  while (is_paused_ && !is_ending_) changed_.wait(mutex_);
  if (!is_ending_) ++num_busy_;
  return !is_ending_;
}

void FetchingWorker::end_turn(bool has_failed) {
  MutexLock lock(mutex_);
  --num_busy_;
  changed_.notify_all();
  if (has_failed && !is_ending_) {
    changed_.wait_until(mutex_, std::chrono::steady_clock::now() + kPause);
  }
}

bool FetchingWorker::pause(Duration limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  MutexLock lock(mutex_);
  is_paused_ = true;
  while (num_busy_ > 0) {
    if (!changed_.wait_until(mutex_, deadline)) return num_busy_ == 0;
  }
  return true;
}

void FetchingWorker::resume() {
  MutexLock lock(mutex_);
  is_paused_ = false;
  changed_.notify_all();
}

/// False when none of its chunks arrived.
bool FetchingWorker::fetch_prompt(Lane& lane, int prompt) {
  if (!lane.is_poisoned()) on_fault_("pages were written to after their items had ended");
  std::vector<FetchItem> items = lane.items(prompt);
  const auto ends = std::make_shared<Ends>();
  ends->ends.resize(items.size());
  ends->times.resize(items.size());
  FetchOptions options;
  options.on_chunk = [this, ends](size_t item, const Status& status) {
    ends->ends[item] = status;
    if (++ends->times[item] > 1) on_fault_("an item ended twice");
  };
  options.on_done = [this, ends](const auto&...) {
    if (std::ranges::count(ends->times, 0) > 0) on_fault_("a fetch was done before its items");
    ends->all.set_value();
  };
  engine_->fetch("prefill", std::move(items), std::move(options));
  ends->all.get_future().wait();
  int arrived = 0;
  for (size_t i = 0; i < ends->ends.size(); ++i) arrived += verify(lane, i, ends->ends[i]) ? 1 : 0;
  num_verified_ += arrived;
  lane.poison();
  return arrived > 0;
}

bool FetchingWorker::verify(const Lane& lane, size_t chunk, const Status& end) {
  constexpr std::array kExpected = {StatusCode::kUnavailable, StatusCode::kDeadlineExceeded,
                                    StatusCode::kResourceExhausted};
  if (!end.is_ok()) {
    const bool is_expected = std::ranges::find(kExpected, end.code()) != kExpected.end();
    if (!is_expected) on_fault_("an item ended with " + end.to_string());
    return false;
  }
  const auto mismatch =
      verify_chunk(lane.cache.layout(), lane.slots[chunk], lane.refs[chunk].key.chunk_hash);
  if (mismatch->has_value()) on_fault_("a wrong byte was served: " + (*mismatch)->to_string());
  return !mismatch->has_value();
}

}  // namespace kvferry
