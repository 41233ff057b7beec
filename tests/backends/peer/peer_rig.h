#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backends/local_cpu/factory.h"
#include "backends/peer/factory.h"
#include "conformance/backend_contract_chunks.h"
#include "kvferry/make_transport.h"
#include "kvferry/transfer_engine.h"
#include "runtime/cache/memory_store.h"
#include "runtime/memory/memory_pool.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"
#include "runtime/thread_work_pool.h"

namespace kvferry {

/// Options of an engine that moves chunks between memories and lasts as long as a test.
inline TransferEngineOptions peer_engine_options(std::string name,
                                                 std::shared_ptr<Transport> transport) {
  TransferEngineOptions options;
  options.name = std::move(name);
  options.token = "secret";
  options.chunk_bytes = 1;  // slots are credits: chunks lie in the objects themselves
  options.staging_chunks = 16;
  options.landing_chunks = 16;
  options.fragment_bytes = 128 * 1024;
  options.handshake_timeout = std::chrono::seconds(20);
  options.silence_limit = std::chrono::seconds(60);
  options.transport = std::move(transport);
  return options;
}

/// An engine with a hot cache in memory that it shares with its peers.
class PeerEngine {
 public:
  explicit PeerEngine(TransferEngineOptions options, size_t num_chunks = 160, uint16_t port = 0,
                      MemoryStore::Check check = nullptr)
      : name_(options.name),
        pool_(MemoryPool::create({.slot_bytes = kContractChunkBytes, .num_slots = num_chunks})
                  .value()),
        executor_(ThreadExecutor::create("peer", clock_).value()),
        work_pool_(ThreadWorkPool::create("peer_work", 1).value()) {
    BackendContext context;
    context.name = "local_cpu";
    context.executor = executor_.get();
    context.work_pool = work_pool_.get();
    context.allocator = pool_.get();
    memory_ = make_local_cpu_backend(context, {.max_bytes = pool_->bytes()}).value();
    store_ = std::make_unique<MemoryStore>(*memory_, *pool_, std::move(check));
    engine_ = TransferEngine::create(std::move(options)).value();
    engine_->share(store_.get());
    port_ = engine_->listen("127.0.0.1", port).value();
  }
  ~PeerEngine() {
    engine_.reset();
    memory_->close([] {});
  }
  PeerEngine(const PeerEngine&) = delete;
  PeerEngine& operator=(const PeerEngine&) = delete;

  PeerAddress address() const { return {name_, "127.0.0.1", port_}; }
  StorageBackend& memory() { return *memory_; }
  TransferEngine& engine() { return *engine_; }
  MemoryPool& pool() { return *pool_; }

  /// As if its own engine had stored the chunk.
  Status hold(int number, int version = 0) {
    const ContractChunk chunk = make_contract_chunk(number, version);
    KVFERRY_ASSIGN_OR_RETURN(const MemoryObjPtr obj, pool_->allocate(chunk.bytes.size()));
    fill_object(chunk, *obj);
    return store_->keep(contract_key(number), obj);
  }

 private:
  const SteadyClock clock_;
  const std::string name_;
  std::unique_ptr<MemoryPool> pool_;
  std::unique_ptr<ThreadExecutor> executor_;
  std::unique_ptr<ThreadWorkPool> work_pool_;
  std::unique_ptr<StorageBackend> memory_;
  std::unique_ptr<MemoryStore> store_;
  std::unique_ptr<TransferEngine> engine_;
  uint16_t port_ = 0;
};

}  // namespace kvferry
