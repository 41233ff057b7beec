#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kernels/host_paged_copier.h"
#include "kvferry/make_transport.h"
#include "runtime/memory/memory_pool.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"
#include "runtime/transfer/data_path.h"
#include "tests/support/engine_pair.h"
#include "tests/support/run_on.h"

namespace kvferry {

/// A DataPath that receives, and on the other end of its link either a DataPath that sends or a
/// bare link over which a test offers what it likes.
///
/// Threads: the test's own; events are collected under a lock
class DataPathPair {
 public:
  enum class Source : uint8_t { kDataPath, kBareLink };

  /// `late`, if not null, copies for both sides, on the executors of each.
  explicit DataPathPair(Source sends, StagedFragmentHook hook = nullptr,
                        std::optional<DataPath::Copiers> late = std::nullopt)
      : source(PagedKVCache::create(model, PagePreset::kVllmNhd, 64, 1).value()),
        destination(PagedKVCache::create(model, PagePreset::kVllmHnd, 64, 2).value()) {
    const auto transport = make_transport("loopback").value();
    const DataPath::Copiers copiers = late.value_or(DataPath::Copiers{copier, copier});
    std::unique_ptr<Link> out = open(*transport, *send_executor);
    std::unique_ptr<Link> in = open(*transport, *receive_executor);
    const std::string out_address = out->address();
    const std::string in_address = in->address();
    run_on(*receive_executor, [&] {
      receiver = std::make_unique<DataPath>(std::move(in), *receive_executor, events(received),
                                            copiers, nullptr);
      EXPECT_THAT(receiver->connect(out_address), IsOk());
    });
    run_on(*send_executor, [&] {
      if (sends == Source::kDataPath) {
        sender = std::make_unique<DataPath>(std::move(out), *send_executor, events(sent), copiers,
                                            std::move(hook));
        EXPECT_THAT(sender->connect(in_address), IsOk());
        return;
      }
      bare = std::move(out);
      bare->set_offer_handler([](auto, auto) -> OfferReply { return RefuseOffer{}; });
      EXPECT_THAT(bare->connect(in_address), IsOk());
    });
  }
  ~DataPathPair() {
    close_receiver();
    std::promise<void> quiet;
    send_executor->post([&] {
      const auto on_quiet = [&] { quiet.set_value(); };
      sender ? sender->close(on_quiet) : bare->close(on_quiet);
    });
    quiet.get_future().wait();
    run_on(*send_executor, [this] {
      sender.reset();
      bare.reset();
    });
  }
  DataPathPair(const DataPathPair&) = delete;
  DataPathPair& operator=(const DataPathPair&) = delete;

  /// Waits until it is quiet, and ends it. Idempotent.
  void close_receiver() {
    if (receiver == nullptr) return;
    std::promise<void> quiet;
    receive_executor->post([&] { receiver->close([&] { quiet.set_value(); }); });
    quiet.get_future().wait();
    run_on(*receive_executor, [this] { receiver.reset(); });
  }

  /// A chunk whose first 256 tokens' content lies in the source's pages.
  ChunkRef make_ref(uint8_t mark, int64_t num_tokens = 256) const {
    ChunkRef ref;
    ref.key.model = model.name;
    ref.key.chunk_hash.bytes.fill(mark);
    ref.token_end = num_tokens;
    return ref;
  }
  /// Pages from block `first_block` on.
  static PagedChunk pages_of(const PagedKVCache& cache, const ChunkRef& ref, int64_t first_block) {
    PagedChunk pages{&cache.layout(), {}};
    for (int64_t i = 0; i < ref.num_tokens(); ++i) {
      pages.slots.push_back(first_block * cache.model().block_tokens + i);
    }
    return pages;
  }
  ChunkPlan source_plan(const ChunkRef& ref, int64_t first_block = 0) {
    const PagedChunk pages = pages_of(source, ref, first_block);
    EXPECT_THAT(fill_chunk(source.layout(), pages.slots, ref.key.chunk_hash), IsOk());
    return plan_chunk(ref, pages, fragment_bytes).value();
  }
  ChunkPlan destination_plan(const ChunkRef& ref, int64_t first_block = 0) {
    const PagedChunk pages = pages_of(destination, ref, first_block);
    EXPECT_THAT(poison_slots(destination.layout(), pages.slots), IsOk());
    return plan_chunk(ref, pages, fragment_bytes).value();
  }

  void expect(uint64_t id, ChunkPlan plan, LeaseId landing) {
    MemoryObjPtr memory = allocate(plan);
    auto chunk = std::make_shared<IncomingChunk>(IncomingChunk{.transfer_id = id,
                                                               .plan = std::move(plan),
                                                               .landing_memory = std::move(memory),
                                                               .landing = landing});
    run_on(*receive_executor, [&] { receiver->expect(std::move(chunk)); });
  }
  void send(uint64_t id, ChunkPlan plan, LeaseId landing) {
    MemoryObjPtr memory = allocate(plan);
    auto chunk = std::make_shared<OutgoingChunk>(OutgoingChunk{.transfer_id = id,
                                                               .plan = std::move(plan),
                                                               .staging = std::move(memory),
                                                               .landing = landing});
    run_on(*send_executor, [&] { sender->send(std::move(chunk)); });
  }
  MemoryObjPtr allocate(const ChunkPlan& plan) {
    // What earlier chunks had comes back a little after their ends.
    const TimePoint limit = clock.now() + std::chrono::seconds(20);
    return pool->allocate_until(static_cast<size_t>(plan.layout.size_bytes), limit).value();
  }
  Status offer(std::span<const std::byte> header, std::span<const std::byte> payload) {
    std::promise<Status> end;
    send_executor->post([&] {
      bare->offer(header, payload, [&](Status status) { end.set_value(std::move(status)); });
    });
    return end.get_future().get();
  }

  using Ends = std::unordered_map<uint64_t, Status>;
  /// How transfer `id` ended; nothing while it has not.
  std::optional<Status> end_of(const Ends& ends, uint64_t id) const {
    const std::lock_guard lock(mutex_);
    const auto found = ends.find(id);
    return found == ends.end() ? std::nullopt : std::optional(found->second);
  }
  bool is_content(const ChunkRef& ref, int64_t first_block = 0) const {
    const PagedChunk pages = pages_of(destination, ref, first_block);
    return !verify_chunk(destination.layout(), pages.slots, ref.key.chunk_hash).value().has_value();
  }
  size_t chunk_bytes() const { return static_cast<size_t>(256 * model.token_bytes()); }

  const ModelShape model = tiny_model();
  const int64_t fragment_bytes = 128 * 1024;  // a layer each
  PagedKVCache source;
  PagedKVCache destination;
  std::unique_ptr<MemoryPool> pool =
      MemoryPool::create({.slot_bytes = chunk_bytes(), .num_slots = 8}).value();
  Ends sent;
  Ends received;
  std::atomic<int> num_abandoned = 0;
  const SteadyClock clock{};
  std::unique_ptr<ThreadExecutor> send_executor = ThreadExecutor::create("send", clock).value();
  std::unique_ptr<ThreadExecutor> receive_executor = ThreadExecutor::create("recv", clock).value();
  HostPagedCopier copier{{.store = StoreHint::kCached}};
  std::unique_ptr<DataPath> sender;
  std::unique_ptr<Link> bare;
  std::unique_ptr<DataPath> receiver;

 private:
  static std::unique_ptr<Link> open(Transport& transport, Executor& executor) {
    return run_on(executor,
                  [&] { return transport.open_link(PeerClass::kSameProcess, executor).value(); });
  }
  void add(Ends& ends, uint64_t id, const Status& status) {
    const std::lock_guard lock(mutex_);
    EXPECT_TRUE(ends.emplace(id, status).second) << "a chunk ends exactly once";
  }
  DataPath::Events events(Ends& ends) {
    return {
        .on_sent = [this, &ends](uint64_t id, const Status& status) { add(ends, id, status); },
        .on_received = [this, &ends](uint64_t id, const Status& status) { add(ends, id, status); },
        .on_abandoned = [this](uint64_t) { ++num_abandoned; }};
  }

  mutable std::mutex mutex_;
};

}  // namespace kvferry
