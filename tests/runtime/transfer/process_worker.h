#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "kvferry/chunk_hash.h"
#include "kvferry/mutex.h"
#include "kvferry/transfer_engine.h"
#include "workload/engine/prompt_provider.h"

namespace kvferry {

/// What workers do not agree on by themselves. As words, on the command line of a process.
struct WorkerOptions {
  std::string name;
  PeerClass best_path = PeerClass::kSameHostPull;
  size_t pool_chunks = 4;
  size_t max_quarantined_chunks = 0;
  Duration silence_limit = std::chrono::milliseconds(300);
  Duration transfer_timeout = std::chrono::seconds(60);
  /// Of the prompts that it fetches; a FetchingWorker's business only.
  int first_prompt = 0;
  int num_prompts = 4;

  // Within one process only; not in words.
  Duration handshake_timeout = std::chrono::seconds(1);  ///< who is stopped answers none
  std::shared_ptr<Transport> transport = nullptr;        ///< null: UCX
  Logger* logger = nullptr;

  std::vector<std::string> to_words() const;
  static WorkerOptions from_words(const std::vector<std::string>& words);
};

/// The prefill side: serves the prompts that every worker knows, and looks after its peers' ends.
///
/// Threads: any thread
class ServingWorker {
 public:
  static constexpr int kNumPrompts = 8;

  explicit ServingWorker(const WorkerOptions& options);

  uint16_t port() const { return port_; }
  TransferStats stats() const { return engine_->stats(); }
  std::vector<PeerInfo> peers() const { return engine_->peers(); }
  /// Peers whose connections have ended, and every transfer with them.
  int num_lost() const { return num_lost_; }
  /// Chunks whose pages somebody still reads.
  int64_t num_open() const { return provider_.num_open(); }

 private:
  PromptProvider provider_;
  std::atomic<int> num_lost_{0};
  std::unique_ptr<TransferEngine> engine_;
  uint16_t port_ = 0;
};

/// The decode side: fetches prompts for ever into poisoned pages, two at a time; looks at every
/// byte of each chunk that is said to be there, and connects again when its connection is lost.
///
/// Threads: any thread
class FetchingWorker {
 public:
  /// `on_fault`: something is wrong (a wrong byte, an item that ended twice); from any thread.
  FetchingWorker(const WorkerOptions& options, uint16_t port,
                 std::function<void(const std::string&)> on_fault);
  ~FetchingWorker();
  FetchingWorker(const FetchingWorker&) = delete;
  FetchingWorker& operator=(const FetchingWorker&) = delete;

  /// Where it connects to from now on.
  void set_port(uint16_t port) { port_ = port; }
  /// Begins no more fetches. False when those under way have not ended within `limit`.
  bool pause(Duration limit) KVFERRY_EXCLUDES(mutex_);
  void resume() KVFERRY_EXCLUDES(mutex_);

  /// Chunks that arrived, each byte of them right.
  int num_verified() const { return num_verified_; }
  TransferStats stats() const { return engine_->stats(); }
  std::vector<PeerInfo> peers() const { return engine_->peers(); }

 private:
  class Lane;

  void fetch_for_ever(Lane& lane, bool connects);
  /// False when this worker ends.
  bool begin_turn() KVFERRY_EXCLUDES(mutex_);
  void end_turn(bool has_failed) KVFERRY_EXCLUDES(mutex_);
  bool fetch_prompt(Lane& lane, int prompt);
  bool verify(const Lane& lane, size_t chunk, const Status& end);

  const WorkerOptions options_;
  const std::function<void(const std::string&)> on_fault_;
  std::atomic<uint16_t> port_;
  std::atomic<int> num_verified_{0};
  Mutex mutex_;
  CondVar changed_;
  bool is_paused_ KVFERRY_GUARDED_BY(mutex_) = false;
  bool is_ending_ KVFERRY_GUARDED_BY(mutex_) = false;
  size_t num_busy_ KVFERRY_GUARDED_BY(mutex_) = 0;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::unique_ptr<TransferEngine> engine_;
  std::vector<std::thread> threads_;
};

}  // namespace kvferry
