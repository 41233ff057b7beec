#include <algorithm>
#include <utility>

#include "backends/external/factory.h"
#include "backends/external/plugin_instance.h"

namespace kvferry {
namespace {

/// Completions of questions that are answered yes or no.
std::function<void(size_t, ItemOutcome)> answer_with(
    std::function<void(size_t, Result<bool>)> done) {
  return [done = std::move(done)](size_t item, ItemOutcome outcome) {
    if (outcome.status.is_ok()) {
      done(item, outcome.is_yes);
    } else {
      done(item, make_error(std::move(outcome.status)));
    }
  };
}

/// A backend that lives in a plugin.
class ExternalBackend final : public StorageBackend {
 public:
  ExternalBackend(BackendContext context, std::shared_ptr<PluginInstance> instance,
                  Duration timeout)
      : StorageBackend(std::move(context), instance->traits()),
        instance_(std::move(instance)),
        timeout_(timeout) {}
  /// Leaves the plugin behind if close() has not ended.
  ~ExternalBackend() override { instance_->abandon(); }

  BackendUsage usage() const override { return instance_->services().usage(); }

 protected:
  void do_contains(std::span<const CacheEngineKey> keys, ContainsDone done) override {
    ItemGroup group = make_group(PluginCall::kContains);
    group.done = answer_with(std::move(done));
    submit(std::move(group), keys);
  }

  void do_put(std::span<const CacheEngineKey> keys, std::span<const MemoryObjPtr> objs,
              const TransferSpec& spec, PutDone done) override {
    ItemGroup group = make_group(PluginCall::kPut);
    group.peer = spec.peer;
    group.done = [done = std::move(done)](size_t item, ItemOutcome outcome) {
      done(item, std::move(outcome.status));
    };
    submit(std::move(group), keys, objs);
  }

  void do_get(std::span<const CacheEngineKey> keys, const GetOptions& options,
              GetDone done) override {
    ItemGroup group = make_group(PluginCall::kGet);
    group.intent = options.intent;
    group.is_short_deadline = options.deadline < group.deadline;
    group.deadline = std::min(group.deadline, options.deadline);
    group.done = [done = std::move(done)](size_t item, ItemOutcome outcome) {
      if (outcome.status.is_ok()) {
        done(item, std::move(outcome.obj));
      } else {
        done(item, make_error(std::move(outcome.status)));
      }
    };
    submit(std::move(group), keys);
  }

  void do_remove(std::span<const CacheEngineKey> keys, bool force, RemoveDone done) override {
    ItemGroup group = make_group(PluginCall::kRemove);
    group.force = force;
    group.done = answer_with(std::move(done));
    submit(std::move(group), keys);
  }

  void do_pin(std::span<const CacheEngineKey> keys, PinOwner owner, PinOp op,
              PinDone done) override {
    if (!traits().pins) {
      StorageBackend::do_pin(keys, owner, op, std::move(done));
      return;
    }
    ItemGroup group = make_group(PluginCall::kPin);
    group.pin_owner = owner;
    group.pin_op = op;
    group.done = answer_with(std::move(done));
    submit(std::move(group), keys);
  }

  void do_close(std::function<void()> on_closed) override {
    instance_->close(std::move(on_closed));
  }

 private:
  ItemGroup make_group(PluginCall kind) const {
    ItemGroup group;
    group.kind = kind;
    group.deadline = context().executor->clock().now() + timeout_;
    return group;
  }

  void submit(ItemGroup group, std::span<const CacheEngineKey> keys,
              std::span<const MemoryObjPtr> objs = {}) {
    instance_->submit(std::make_shared<const ItemGroup>(std::move(group)), keys, objs);
  }

  const std::shared_ptr<PluginInstance> instance_;
  const Duration timeout_;
};

}  // namespace

Result<std::unique_ptr<StorageBackend>> make_external_backend(BackendContext context,
                                                              const ExternalOptions& options) {
  auto instance = PluginInstance::start(context, options);
  if (!instance) return make_error(instance.error().with_context("backend " + context.name));
  return std::make_unique<ExternalBackend>(std::move(context), *std::move(instance),
                                           options.limits.timeout);
}

}  // namespace kvferry
