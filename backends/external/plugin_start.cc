#include "backends/external/plugin_instance.h"

#include <array>

#include "backends/external/plugin_calls.h"

namespace kvferry {

// How an instance comes to be.

Result<std::shared_ptr<PluginInstance>> PluginInstance::start(const BackendContext& context,
                                                              const ExternalOptions& options) {
  KVFERRY_ASSIGN_OR_RETURN(const std::string path,
                           find_plugin_library(options.module_path, options.search_path));
  if (!context.start_thread) {
    return make_error(StatusCode::kInvalidArgument,
                      "an external backend needs BackendContext::start_thread");
  }
  std::shared_ptr<PluginInstance> instance(new PluginInstance(context, options));
  KVFERRY_RETURN_IF_ERROR(context.start_thread(
      "kv:" + context.name,
      [instance, path, class_name = options.class_name] { instance->run(path, class_name); }));

  const TimePoint deadline = instance->services_.now() + options.limits.timeout;
  bool is_late = false;
  Status status;
  {
    MutexLock lock(instance->mutex_);
    while (instance->phase_ == Phase::kStarting && !is_late) {
      is_late = !instance->changed_.wait_until(instance->mutex_, deadline);
    }
    is_late = instance->phase_ == Phase::kStarting;
    status = instance->start_status_;
  }
  if (is_late) {
    instance->abandon();
    return make_error(StatusCode::kDeadlineExceeded,
                      "the constructor of class " + options.class_name + " in " + path +
                          " has not returned in " + milliseconds_text(options.limits.timeout) +
                          "; it must not wait for what may be away");
  }
  KVFERRY_RETURN_IF_ERROR(status);
  return instance;
}

Status PluginInstance::load_and_create(const std::string& path, const std::string& class_name) {
  KVFERRY_ASSIGN_OR_RETURN(class_, load_plugin_class(path, class_name));
  std::array<char, 1024> error{};
  const auto failed = [&](const std::string& why) {
    return Status(StatusCode::kFailedPrecondition, "the constructor of class " +
                                                       std::string(class_.table.name) + " in " +
                                                       path + " failed: " + why);
  };
  try {
    plugin_ = class_.table.create(&host_, services_.name().c_str(), error.data(), error.size());
  } catch (const std::exception& thrown) {
    return failed(std::string("it threw ") + thrown.what());
  } catch (...) {
    return failed("it threw an exception");
  }
  error.back() = '\0';
  if (plugin_ == nullptr) return failed(error[0] != '\0' ? error.data() : "no reason given");
  return Status();
}

}  // namespace kvferry
