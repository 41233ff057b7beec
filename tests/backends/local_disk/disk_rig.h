#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backends/local_disk/factory.h"
#include "conformance/backend_contract_chunks.h"
#include "kvferry/backend_context.h"
#include "kvferry/mutex.h"
#include "runtime/memory/memory_pool.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"
#include "runtime/thread_work_pool.h"
#include "tests/backends/local_disk/sim_file_system.h"

namespace kvferry {

/// Keeps what a backend counts and logs.
///
/// Threads: any thread, internally locked.
class DiskNotes final : public BackendMetrics, public Logger {
 public:
  void add(std::string_view counter, uint64_t amount) override;
  void set(std::string_view, double) override {}
  bool enabled(LogLevel) const override { return true; }
  void log(LogLevel level, std::string_view line) override;

  uint64_t counted(const std::string& counter) const;
  bool has_logged(std::string_view text) const;

 private:
  mutable Mutex mutex_;
  std::map<std::string, uint64_t, std::less<>> counts_ KVFERRY_GUARDED_BY(mutex_);
  std::vector<std::string> lines_ KVFERRY_GUARDED_BY(mutex_);
};

/// A local_disk backend with all that it is given, and calls that wait for their end. Chunks are
/// those of the contract: all of them follows from a number and a version.
///
/// Threads: one at a time.
class DiskRig {
 public:
  /// Over a simulated file system, if there is one, else over the real one.
  explicit DiskRig(LocalDiskOptions options, std::shared_ptr<SimFileSystem> sim = nullptr);
  /// Closes it.
  ~DiskRig();
  DiskRig(const DiskRig&) = delete;
  DiskRig& operator=(const DiskRig&) = delete;

  /// Done by the constructor; again after close().
  Status open();
  /// What open() said last.
  const Status& opened() const { return opened_; }
  void close();

  StorageBackend& backend() { return *backend_; }
  const DiskNotes& notes() const { return notes_; }
  MemoryPool& memory() { return *memory_; }
  BackendContext context();

  MemoryObjPtr make_object(int number, int version = 0);
  Status put(int number, int version = 0);
  /// As the backend gives it, unverified.
  Result<MemoryObjPtr> get(int number, const GetOptions& options = {});
  bool contains(int number) { return backend_->contains(contract_key(number)); }
  /// Verified, and compared with what was put: -1 if it is missing.
  int version_held(int number);

  LocalDiskOptions options;

 private:
  const SteadyClock clock_;
  DiskNotes notes_;
  const std::shared_ptr<SimFileSystem> sim_;
  std::unique_ptr<MemoryPool> memory_;
  std::unique_ptr<ThreadExecutor> executor_;
  std::unique_ptr<ThreadWorkPool> work_pool_;  // joined first: it posts to the executor
  std::unique_ptr<StorageBackend> backend_;
  Status opened_;
};

/// Bytes that chunk `number` takes on disk.
size_t chunk_disk_bytes(int number, int version = 0);

}  // namespace kvferry
