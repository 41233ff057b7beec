#include "backends/external/plugin_host.h"

#include <iterator>

#include "backends/external/plugin_instance.h"

namespace kvferry {
namespace {

// The numbers of the boundary are those of StatusCode.
static_assert(KVFERRY_OK == static_cast<int>(StatusCode::kOk));
static_assert(KVFERRY_CANCELLED == static_cast<int>(StatusCode::kCancelled));
static_assert(KVFERRY_INVALID_ARGUMENT == static_cast<int>(StatusCode::kInvalidArgument));
static_assert(KVFERRY_DEADLINE_EXCEEDED == static_cast<int>(StatusCode::kDeadlineExceeded));
static_assert(KVFERRY_NOT_FOUND == static_cast<int>(StatusCode::kNotFound));
static_assert(KVFERRY_ALREADY_EXISTS == static_cast<int>(StatusCode::kAlreadyExists));
static_assert(KVFERRY_RESOURCE_EXHAUSTED == static_cast<int>(StatusCode::kResourceExhausted));
static_assert(KVFERRY_FAILED_PRECONDITION == static_cast<int>(StatusCode::kFailedPrecondition));
static_assert(KVFERRY_OUT_OF_RANGE == static_cast<int>(StatusCode::kOutOfRange));
static_assert(KVFERRY_UNIMPLEMENTED == static_cast<int>(StatusCode::kUnimplemented));
static_assert(KVFERRY_UNAVAILABLE == static_cast<int>(StatusCode::kUnavailable));
static_assert(KVFERRY_DATA_LOSS == static_cast<int>(StatusCode::kDataLoss));
static_assert(KVFERRY_PERMISSION_DENIED == static_cast<int>(StatusCode::kPermissionDenied));
static_assert(KVFERRY_INTERNAL == static_cast<int>(StatusCode::kInternal));

PluginInstance& instance_of(const kvferry_host* host) {
  return *static_cast<PluginInstance*>(host->data);
}

TimePoint time_point(uint64_t ns) { return TimePoint(Duration(static_cast<int64_t>(ns))); }

kvferry_outcome allocate(const kvferry_host* host, kvferry_item item, size_t header_bytes,
                         size_t payload_bytes, void** header, void** payload) {
  if (header == nullptr || payload == nullptr) return KVFERRY_INVALID_ARGUMENT;
  *header = nullptr;
  *payload = nullptr;
  return instance_of(host).allocate(item, header_bytes, payload_bytes, header, payload);
}

void complete(const kvferry_host* host, kvferry_item item, kvferry_outcome outcome,
              const char* message) {
  instance_of(host).complete(item, outcome, message);
}

void log(const kvferry_host* host, int32_t level, const char* line) {
  instance_of(host).services().plugin_log(level, line);
}

void add_counter(const kvferry_host* host, const char* name, uint64_t amount) {
  instance_of(host).services().plugin_add(name, amount);
}

void set_gauge(const kvferry_host* host, const char* name, double value) {
  instance_of(host).services().plugin_set(name, value);
}

void set_usage(const kvferry_host* host, const kvferry_usage* usage) {
  instance_of(host).services().set_usage(usage);
}

kvferry_outcome post(const kvferry_host* host, void (*task)(void*), void* argument) {
  return instance_of(host).post(task, argument);
}

kvferry_outcome post_at(const kvferry_host* host, uint64_t when_ns, void (*task)(void*),
                        void* argument) {
  return instance_of(host).post_at(time_point(when_ns), task, argument);
}

uint64_t now_ns(const kvferry_host* host) {
  return static_cast<uint64_t>(instance_of(host).services().now().time_since_epoch().count());
}

const char* setting(const kvferry_host* host, const char* key) {
  if (key == nullptr) return nullptr;
  const ConfigSection& settings = instance_of(host).services().settings();
  const auto found = settings.find(key);
  return found == settings.end() ? nullptr : found->second.c_str();
}

int32_t setting_at(const kvferry_host* host, size_t index, const char** key, const char** value) {
  const ConfigSection& settings = instance_of(host).services().settings();
  if (index >= settings.size()) return 0;
  const auto found = std::next(settings.begin(), static_cast<std::ptrdiff_t>(index));
  *key = found->first.c_str();
  *value = found->second.c_str();
  return 1;
}

}  // namespace

kvferry_host make_host_table(PluginInstance& instance) {
  kvferry_host host{};
  host.size = sizeof(host);
  host.abi_major = KVFERRY_ABI_MAJOR;
  host.abi_minor = KVFERRY_ABI_MINOR;
  host.data = &instance;
  host.allocate = allocate;
  host.complete = complete;
  host.log = log;
  host.add_counter = add_counter;
  host.set_gauge = set_gauge;
  host.set_usage = set_usage;
  host.post = post;
  host.post_at = post_at;
  host.now_ns = now_ns;
  host.setting = setting;
  host.setting_at = setting_at;
  return host;
}

}  // namespace kvferry
