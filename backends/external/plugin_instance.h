#pragma once

#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backends/external/circuit_breaker.h"
#include "backends/external/open_items.h"
#include "backends/external/plugin_library.h"
#include "backends/external/plugin_services.h"
#include "backends/external/posted_tasks.h"

namespace kvferry {

/// One instance of a plugin's class, the thread that calls it, and all that keeps it at bay.
///
/// The thread waits for work, calls the plugin, and waits again; it alone may be stuck. Everybody
/// else queues items and goes on. Items end by the plugin's answer, or by a timer on the context's
/// executor, whichever comes first.
///
/// Threads: any thread, internally locked.
/// Owner:   shared by the backend and the thread, which does not end before the plugin has closed.
class PluginInstance : public std::enable_shared_from_this<PluginInstance> {
 public:
  /// Loads the class and makes the instance, on its thread.
  /// Errors: as make_external_backend.
  static Result<std::shared_ptr<PluginInstance>> start(const BackendContext& context,
                                                       const ExternalOptions& options);

  BackendTraits traits() const { return class_.traits(); }
  PluginServices& services() { return services_; }

  /// Every item ends through group->done; here and now if it is refused. `objs` is empty but for
  /// a put.
  void submit(const std::shared_ptr<const ItemGroup>& group, std::span<const CacheEngineKey> keys,
              std::span<const MemoryObjPtr> objs) KVFERRY_EXCLUDES(mutex_);
  void close(std::function<void()> on_closed) KVFERRY_EXCLUDES(mutex_);
  /// Leaves the plugin behind now. Nothing of the context is touched any more once this returns.
  void abandon() KVFERRY_EXCLUDES(mutex_);

  // What the plugin calls (plugin_host.cc).
  kvferry_outcome allocate(kvferry_item id, size_t header_bytes, size_t payload_bytes,
                           void** header, void** payload) KVFERRY_EXCLUDES(mutex_);
  void complete(kvferry_item id, kvferry_outcome outcome, const char* message)
      KVFERRY_EXCLUDES(mutex_);
  kvferry_outcome post(void (*task)(void*), void* argument) KVFERRY_EXCLUDES(mutex_);
  kvferry_outcome post_at(TimePoint when, void (*task)(void*), void* argument)
      KVFERRY_EXCLUDES(mutex_);

 private:
  enum class Phase : uint8_t { kStarting, kRunning, kClosing, kClosed, kAbandoned };
  enum class WorkKind : uint8_t { kExit, kTask, kItems, kCancel, kClose, kDestroy };

  /// No other item ever gets this number.
  static constexpr kvferry_item kCloseItem = std::numeric_limits<kvferry_item>::max();

  /// The next thing that the thread does.
  struct Work {
    WorkKind kind = WorkKind::kExit;
    PostedTask task;
    std::vector<OpenItems::Ptr> items;
    kvferry_item item = 0;
  };

  PluginInstance(const BackendContext& context, const ExternalOptions& options);

  // On the thread (plugin_start.cc, plugin_thread.cc).
  void run(const std::string& path, const std::string& class_name);
  Status load_and_create(const std::string& path, const std::string& class_name);
  Work next_work() KVFERRY_EXCLUDES(mutex_);
  bool pick_work(Work& work) KVFERRY_REQUIRES(mutex_);
  bool pick_task(Work& work) KVFERRY_REQUIRES(mutex_);
  void do_work(const Work& work);
  void give_items(std::vector<OpenItems::Ptr> items) KVFERRY_EXCLUDES(mutex_);
  void destroy_and_end() KVFERRY_EXCLUDES(mutex_);

  /// Whether a new item may be queued.
  Status admit(TimePoint now) KVFERRY_REQUIRES(mutex_);
  // plugin_deadlines.cc
  void arm_timer() KVFERRY_REQUIRES(mutex_);
  void on_timer(TimePoint when) KVFERRY_EXCLUDES(mutex_);
  void note_late(const std::vector<OpenItems::Ptr>& expired, TimePoint now)
      KVFERRY_REQUIRES(mutex_);
  Status lateness_of(const OpenItem& item, bool is_stuck) const;
  // plugin_answers.cc
  void run_timed_task(uint64_t number) KVFERRY_EXCLUDES(mutex_);
  void note_answer(const Status& status) KVFERRY_EXCLUDES(mutex_);
  /// Queues a remove, for nobody.
  void take_out(const CacheEngineKey& key) KVFERRY_REQUIRES(mutex_);
  /// "item 7, which it was never given, during put()": of an item that the plugin does not have.
  std::string strange_item(kvferry_item id) const KVFERRY_REQUIRES(mutex_);
  /// Ends what nobody waits for any more as `status`, memory included where the plugin never had
  /// it.
  void end_all(const std::vector<OpenItems::Ptr>& items, const Status& status);
  void count_violation(const std::string& what) KVFERRY_EXCLUDES(mutex_);
  /// Tells metrics and log how things stand.
  void publish() KVFERRY_EXCLUDES(mutex_);
  Status named(const OpenItem& item, const Status& status) const;

  const PluginLimits limits_;
  PluginServices services_;
  kvferry_host host_{};
  PluginClass class_;                   // set while starting
  kvferry_instance* plugin_ = nullptr;  // the thread's

  Mutex mutex_;
  CondVar changed_;
  Phase phase_ KVFERRY_GUARDED_BY(mutex_) = Phase::kStarting;
  Status start_status_ KVFERRY_GUARDED_BY(mutex_);
  OpenItems items_ KVFERRY_GUARDED_BY(mutex_);
  CircuitBreaker breaker_ KVFERRY_GUARDED_BY(mutex_);
  std::string last_failure_ KVFERRY_GUARDED_BY(mutex_);       // that the breaker counted
  bool was_breaker_open_ KVFERRY_GUARDED_BY(mutex_) = false;  // when last published
  PostedTasks tasks_ KVFERRY_GUARDED_BY(mutex_);
  std::deque<kvferry_item> cancels_ KVFERRY_GUARDED_BY(mutex_);
  uint64_t violations_ KVFERRY_GUARDED_BY(mutex_) = 0;

  // Of calls to the plugin: the number of the one under way, or of the last.
  uint64_t call_number_ KVFERRY_GUARDED_BY(mutex_) = 0;
  TimePoint call_started_ KVFERRY_GUARDED_BY(mutex_);
  bool is_in_call_ KVFERRY_GUARDED_BY(mutex_) = false;
  std::optional<PluginCall> call_kind_ KVFERRY_GUARDED_BY(mutex_);  // if it brings items
  bool is_stuck_ KVFERRY_GUARDED_BY(mutex_) = false;
  bool items_are_next_ KVFERRY_GUARDED_BY(mutex_) = false;  // else posted tasks

  TimePoint armed_for_ KVFERRY_GUARDED_BY(mutex_) = TimePoint::max();
  TimePoint close_deadline_ KVFERRY_GUARDED_BY(mutex_) = TimePoint::max();
  std::function<void()> on_closed_ KVFERRY_GUARDED_BY(mutex_);
  kvferry_item close_item_ KVFERRY_GUARDED_BY(mutex_) = 0;  // 0: close() not called yet
  bool is_closed_by_plugin_ KVFERRY_GUARDED_BY(mutex_) = false;
};

}  // namespace kvferry
