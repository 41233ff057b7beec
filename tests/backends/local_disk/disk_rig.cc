#include "tests/backends/local_disk/disk_rig.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <utility>

#include "backends/local_disk/io/aligned_buffer.h"
#include "backends/local_disk/local_disk_backend.h"
#include "backends/local_disk/open_store.h"

namespace kvferry {
namespace {

constexpr size_t kNumObjects = 64;
constexpr size_t kNumThreads = 4;

Result<std::unique_ptr<BlockIo>> no_ring(const BackendContext& /*context*/) {
  return make_error(StatusCode::kFailedPrecondition, "files in memory have no ring");
}

}  // namespace

void DiskNotes::add(std::string_view counter, uint64_t amount) {
  MutexLock lock(mutex_);
  counts_[std::string(counter)] += amount;
}

void DiskNotes::log(LogLevel /*level*/, std::string_view line) {
  MutexLock lock(mutex_);
  lines_.emplace_back(line);
}

uint64_t DiskNotes::counted(const std::string& counter) const {
  MutexLock lock(mutex_);
  const auto found = counts_.find(counter);
  return found == counts_.end() ? 0 : found->second;
}

bool DiskNotes::has_logged(std::string_view text) const {
  MutexLock lock(mutex_);
  return std::ranges::any_of(
      lines_, [&](const std::string& line) { return line.find(text) != std::string::npos; });
}

DiskRig::DiskRig(LocalDiskOptions given, std::shared_ptr<SimFileSystem> sim)
    : options(std::move(given)), sim_(std::move(sim)) {
  memory_ = MemoryPool::create({kContractChunkBytes, kNumObjects}).value();
  executor_ = ThreadExecutor::create("disk", clock_).value();
  work_pool_ = ThreadWorkPool::create("disk", kNumThreads).value();
  open().ignore("opened() has it");
}

DiskRig::~DiskRig() {
  close();
  work_pool_.reset();
}

BackendContext DiskRig::context() {
  BackendContext context;
  context.name = "local_disk";
  context.executor = executor_.get();
  context.work_pool = work_pool_.get();
  context.allocator = memory_.get();
  context.logger = &notes_;
  context.metrics = &notes_;
  context.blocking_timeout = std::chrono::seconds(30);
  return context;
}

Status DiskRig::open() {
  if (sim_ == nullptr) {
    auto backend = make_local_disk_backend(context(), options);
    opened_ = backend ? Status() : backend.error();
    if (backend) backend_ = std::move(backend).value();
  } else {
    auto store = open_disk_store(context(), options, sim_, no_ring);
    opened_ = store ? Status() : store.error();
    if (store) backend_ = std::make_unique<LocalDiskBackend>(std::move(store).value());
  }
  return opened_;
}

void DiskRig::close() {
  if (backend_ == nullptr) return;
  std::promise<void> closed;
  backend_->close([&closed] { closed.set_value(); });
  closed.get_future().wait();
  backend_.reset();
}

MemoryObjPtr DiskRig::make_object(int number, int version) {
  const ContractChunk chunk = make_contract_chunk(number, version);
  MemoryObjPtr obj = memory_->allocate(chunk.bytes.size()).value();
  fill_object(chunk, *obj);
  return obj;
}

Status DiskRig::put(int number, int version) {
  const CacheEngineKey key = contract_key(number);
  const MemoryObjPtr obj = make_object(number, version);
  std::promise<Status> done;
  backend_->submit_put({&key, 1}, {&obj, 1}, {},
                       [&done](size_t, Status status) { done.set_value(std::move(status)); });
  return done.get_future().get();
}

Result<MemoryObjPtr> DiskRig::get(int number, const GetOptions& get_options) {
  const CacheEngineKey key = contract_key(number);
  std::promise<Result<MemoryObjPtr>> done;
  backend_->submit_get({&key, 1}, get_options, [&done](size_t, Result<MemoryObjPtr> obj) {
    done.set_value(std::move(obj));
  });
  return done.get_future().get();
}

int DiskRig::version_held(int number) {
  const MemoryObjPtr obj = backend_->get_blocking(contract_key(number));
  if (!obj) return -1;
  const int version = version_in(*obj);
  const Status status = expect_chunk(make_contract_chunk(number, version), *obj);
  EXPECT_TRUE(status.is_ok()) << status.to_string();
  return version;
}

size_t chunk_disk_bytes(int number, int version) {
  const ContractChunk chunk = make_contract_chunk(number, version);
  return round_up_to_block(encode_chunk_record_header(chunk.record).value().size()) +
         round_up_to_block(chunk.bytes.size());
}

}  // namespace kvferry
