#include "conformance/backend_contract_rig.h"

#include <future>

namespace kvferry {
namespace {

std::string milliseconds(Duration limit) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(limit).count()) +
         " ms";
}

bool same_traits(const BackendTraits& a, const BackendTraits& b) {
  return a.retains == b.retains && a.pins == b.pins && a.persists == b.persists &&
         a.is_memory == b.is_memory && a.takes_puts == b.takes_puts;
}

/// The values of a batch, none of which may be an error.
template <typename T>
Result<std::vector<T>> values_of(const std::string& call, const std::vector<int>& numbers,
                                 Result<std::vector<Result<T>>> ends) {
  if (!ends) return make_error(ends.error());
  std::vector<T> values;
  for (size_t i = 0; i < ends->size(); ++i) {
    Result<T>& end = (*ends)[i];
    if (!end) {
      return make_error(contract_broken(call + " of chunk " + std::to_string(numbers[i]) +
                                        " ended with an error: " + end.error().to_string()));
    }
    values.push_back(std::move(*end));
  }
  return values;
}

}  // namespace

// ---- the rig's life

Result<std::unique_ptr<BackendRig>> BackendRig::open(BackendContractFixture& fixture) {
  std::unique_ptr<BackendRig> rig(new BackendRig(fixture));
  KVFERRY_ASSIGN_OR_RETURN(rig->executor_, ThreadExecutor::create("contract", *rig->clock_));
  KVFERRY_ASSIGN_OR_RETURN(rig->work_pool_, ThreadWorkPool::create("contract_work", 2));
  rig->allocator_ = std::make_unique<PoisonedAllocator>(kContractChunkBytes, kContractObjects);
  KVFERRY_ASSIGN_OR_RETURN(rig->backend_, fixture.make(rig->context()));
  return rig;
}

BackendContext BackendRig::context() const {
  BackendContext context;
  context.name = "contract";
  context.executor = executor_.get();
  context.work_pool = work_pool_.get();
  context.allocator = allocator_.get();
  context.blocking_timeout = limit();
  return context;
}

BackendRig::~BackendRig() {
  if (!backend_) return;
  // It did not close: whatever of it still runs must find what it was given, to the process' end.
  struct Remains {
    std::unique_ptr<SteadyClock> clock;
    std::unique_ptr<PoisonedAllocator> allocator;
    std::unique_ptr<ThreadWorkPool> work_pool;
    std::unique_ptr<ThreadExecutor> executor;
    std::unique_ptr<StorageBackend> backend;
  };
  static Mutex mutex;
  // Reachable, so no leak to a checker; never destroyed.
  static std::vector<Remains>* const abandoned = std::make_unique<std::vector<Remains>>().release();
  MutexLock lock(mutex);
  abandoned->push_back({std::move(clock_), std::move(allocator_), std::move(work_pool_),
                        std::move(executor_), std::move(backend_)});
}

Status BackendRig::close() {
  auto closed = std::make_shared<std::promise<void>>();
  auto future = closed->get_future();
  auto times = std::make_shared<std::atomic<int>>(0);
  backend_->close([closed, times] {
    if (times->fetch_add(1) == 0) closed->set_value();
  });
  if (future.wait_for(limit()) != std::future_status::ready) {
    return contract_broken("close() did not end within " + milliseconds(limit()) + "; " +
                           std::to_string(backend_->stats().open_items) + " items are open");
  }
  is_closed_ = true;
  return {};
}

Status BackendRig::destroy() {
  if (!is_closed_) KVFERRY_RETURN_IF_ERROR(close());
  const uint64_t num_strays = backend_->stats().stray_ends;
  backend_.reset();
  is_closed_ = false;
  // What it posted runs now, and must not miss it.
  std::promise<void> drained;
  executor_->post([&drained] { drained.set_value(); });
  drained.get_future().wait();
  return expect(num_strays == 0, std::to_string(num_strays) +
                                     " completions were called for items that had ended already, "
                                     "or for items that the batch does not have");
}

Status BackendRig::reopen() {
  KVFERRY_RETURN_IF_ERROR(destroy());
  KVFERRY_ASSIGN_OR_RETURN(backend_, fixture_.reopen(context()));
  return {};
}

Status BackendRig::finish() {
  KVFERRY_RETURN_IF_ERROR(destroy());
  if (!allocator_->wait_until_used(0, clock_->now() + limit())) {
    return contract_broken(std::to_string(allocator_->used()) +
                           " objects did not come back to their allocator: a reference to each was "
                           "kept after the backend's end");
  }
  return allocator_->check_quiet();
}

BackendContractCase rig_case(std::string name, ContractPart part,
                             std::function<Status(BackendRig&)> body) {
  return {std::move(name), part,
          [body = std::move(body)](BackendContractFixture& fixture) -> Status {
            KVFERRY_ASSIGN_OR_RETURN(const auto rig, BackendRig::open(fixture));
            Status status = expect(same_traits(rig->backend().traits(), fixture.traits()),
                                   "the backend says other traits than its fixture");
            if (status.is_ok()) status = body(*rig);
            const Status end = rig->finish();
            return status.is_ok() ? end : status;
          }};
}

// ---- calls on chunks

Result<MemoryObjPtr> BackendRig::make_object(int number, int version) const {
  const ContractChunk chunk = make_contract_chunk(number, version);
  KVFERRY_ASSIGN_OR_RETURN(MemoryObjPtr obj, allocator_->allocate(chunk.bytes.size()));
  fill_object(chunk, *obj);
  return obj;
}

BatchEnds<Status> BackendRig::begin_put(const std::vector<int>& numbers, int version) const {
  BatchEnds<Status> ends("put", numbers.size());
  std::vector<MemoryObjPtr> objs;
  for (const int number : numbers) {
    Result<MemoryObjPtr> obj = make_object(number, version);
    if (!obj) {
      for (size_t i = 0; i < numbers.size(); ++i) ends.done()(i, obj.error());
      return ends;
    }
    objs.push_back(std::move(*obj));
  }
  backend_->submit_put(contract_keys(numbers), objs, {}, ends.done());
  return ends;
}

Status BackendRig::put(const std::vector<int>& numbers, int version) const {
  KVFERRY_ASSIGN_OR_RETURN(const auto ends, begin_put(numbers, version).wait(limit()));
  for (size_t i = 0; i < ends.size(); ++i) {
    KVFERRY_RETURN_IF_ERROR(expect(ends[i].is_ok(), "a put of chunk " + std::to_string(numbers[i]) +
                                                        " ended " + ends[i].to_string()));
  }
  return {};
}

BatchEnds<Result<MemoryObjPtr>> BackendRig::begin_get(const std::vector<int>& numbers,
                                                      const GetOptions& options) const {
  BatchEnds<Result<MemoryObjPtr>> ends("get", numbers.size());
  backend_->submit_get(contract_keys(numbers), options, ends.done());
  return ends;
}

Result<std::vector<MemoryObjPtr>> BackendRig::get(const std::vector<int>& numbers) const {
  return values_of("a get", numbers, begin_get(numbers).wait(limit()));
}

Result<std::vector<bool>> BackendRig::contains(const std::vector<int>& numbers) const {
  BatchEnds<Result<bool>> ends("contains", numbers.size());
  backend_->submit_contains(contract_keys(numbers), ends.done());
  return values_of("a contains", numbers, ends.wait(limit()));
}

Result<std::vector<bool>> BackendRig::remove(const std::vector<int>& numbers, bool force) const {
  BatchEnds<Result<bool>> ends("remove", numbers.size());
  backend_->submit_remove(contract_keys(numbers), force, ends.done());
  return values_of("a remove", numbers, ends.wait(limit()));
}

Result<bool> BackendRig::pin(int number, PinOwner owner, PinOp op) const {
  BatchEnds<Result<bool>> ends(op == PinOp::kPin ? "pin" : "unpin", 1);
  backend_->submit_pin(contract_keys({number}), owner, op, ends.done());
  KVFERRY_ASSIGN_OR_RETURN(const std::vector<bool> done,
                           values_of("a pin", {number}, ends.wait(limit())));
  return done.front();
}

Status BackendRig::expect_held(const std::vector<int>& numbers, int version) const {
  KVFERRY_ASSIGN_OR_RETURN(const std::vector<bool> held, contains(numbers));
  KVFERRY_ASSIGN_OR_RETURN(const std::vector<MemoryObjPtr> objs, get(numbers));
  for (size_t i = 0; i < numbers.size(); ++i) {
    const std::string name = "chunk " + std::to_string(numbers[i]);
    KVFERRY_RETURN_IF_ERROR(
        expect(held[i], name + " was put, and the put ended OK, but contains says no"));
    KVFERRY_RETURN_IF_ERROR(expect(static_cast<bool>(objs[i]),
                                   name + " was put, and the put ended OK, but a get misses it"));
    KVFERRY_RETURN_IF_ERROR(expect_chunk(make_contract_chunk(numbers[i], version), *objs[i]));
  }
  return {};
}

Status BackendRig::expect_missing(const std::vector<int>& numbers) const {
  KVFERRY_ASSIGN_OR_RETURN(const std::vector<bool> held, contains(numbers));
  KVFERRY_ASSIGN_OR_RETURN(const std::vector<MemoryObjPtr> objs, get(numbers));
  for (size_t i = 0; i < numbers.size(); ++i) {
    const std::string name = "chunk " + std::to_string(numbers[i]);
    KVFERRY_RETURN_IF_ERROR(expect(!held[i], name + " is not there, but contains says yes"));
    KVFERRY_RETURN_IF_ERROR(expect(!objs[i], name + " is not there, but a get gives something"));
  }
  return {};
}

}  // namespace kvferry
