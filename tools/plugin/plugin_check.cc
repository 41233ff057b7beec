#include <chrono>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "backends/external/plugin_library.h"
#include "conformance/backend_contract_rig.h"
#include "runtime/config/load_config.h"
#include "tools/json_file.h"
#include "tools/plugin/check_fixture.h"
#include "tools/plugin/plugin_command.h"

namespace kvferry {
namespace {

using std::chrono::steady_clock;

constexpr int kInstances = 20;
constexpr int kLoadRounds = 16;

int refuse(const std::string& why) {
  std::fprintf(stderr, "kvferry plugin check: %s\n", why.c_str());
  return 2;
}

size_t count_entries(const char* folder) {
  std::error_code error;
  size_t count = 0;
  for (std::filesystem::directory_iterator each(folder, error), end; each != end;
       each.increment(error)) {
    ++count;
  }
  return count;
}

struct Resources {
  size_t threads = count_entries("/proc/self/task");
  size_t descriptors = count_entries("/proc/self/fd");
};

/// Threads and descriptors are as many after many instances as after one. Some are the host's.
Status check_leaks(PluginCheckFixture& fixture) {
  const auto run_one = [&fixture]() -> Status {
    KVFERRY_ASSIGN_OR_RETURN(const auto rig, BackendRig::open(fixture));
    KVFERRY_RETURN_IF_ERROR(rig->put({1, 2, 3}));
    if (const auto got = rig->get({1, 2, 3, 4}); !got) return got.error();
    return rig->finish();
  };
  KVFERRY_RETURN_IF_ERROR(run_one());
  const Resources before;
  for (int i = 0; i < kInstances; ++i) KVFERRY_RETURN_IF_ERROR(run_one());
  // Threads that have been told to end may still be about to.
  const auto deadline = steady_clock::now() + std::chrono::seconds(5);
  Resources after;
  while (after.threads > before.threads && steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    after = Resources();
  }
  if (after.threads > before.threads || after.descriptors > before.descriptors) {
    return Status(StatusCode::kInternal,
                  std::to_string(kInstances) + " instances that were closed and destroyed left " +
                      std::to_string(after.threads) + " threads and " +
                      std::to_string(after.descriptors) + " descriptors; before there were " +
                      std::to_string(before.threads) + " and " +
                      std::to_string(before.descriptors));
  }
  return {};
}

/// Nothing that an honest plugin never does was counted in all the cases before.
Status check_manners(const PluginCheckFixture& fixture) {
  const auto counters = fixture.metrics().counters();
  for (const auto& [name, meaning] :
       {std::pair{"external_violations", "answers twice, wrongly, or by an exception"},
        std::pair{"external_timeouts", "answers that came too late"},
        std::pair{"external_abandoned", "instances that did not close"}}) {
    const auto found = counters.find(name);
    if (found == counters.end()) continue;
    return Status(StatusCode::kInternal,
                  std::string(name) + " is " + std::to_string(found->second) + ": " + meaning);
  }
  return {};
}

struct Load {
  double put_gb_per_s = 0;
  double get_gb_per_s = 0;
};

/// How fast chunks go in and come back. A number for the author, and nothing that can fail.
Status measure_load(BackendRig& rig, Load& load) {
  const std::vector<int> numbers = {0, 7, 8, 15, 16, 23, 24, 31};  // the large shapes
  Duration putting{};
  Duration getting{};
  size_t bytes = 0;
  for (int round = 0; round < kLoadRounds; ++round) {
    const auto start = steady_clock::now();
    KVFERRY_RETURN_IF_ERROR(rig.put(numbers));
    const auto middle = steady_clock::now();
    KVFERRY_ASSIGN_OR_RETURN(const auto objs, rig.get(numbers));
    getting += steady_clock::now() - middle;
    putting += middle - start;
    for (const MemoryObjPtr& obj : objs) bytes += obj ? obj->bytes().size() : 0;
  }
  load.put_gb_per_s = static_cast<double>(bytes) / static_cast<double>(putting.count());
  load.get_gb_per_s = static_cast<double>(bytes) / static_cast<double>(getting.count());
  return {};
}

/// Runs cases and keeps their verdicts.
class CheckReport {
 public:
  void skip(const std::string& name, const std::string& why) { note("SKIP", name, why, 0); }

  void run(const std::string& name, const std::function<Status()>& body) {
    const auto start = steady_clock::now();
    const Status status = body();
    const std::chrono::duration<double> took = steady_clock::now() - start;
    if (!status.is_ok()) ++num_failed_;
    note(status.is_ok() ? "PASS" : "FAIL", name, std::string(status.message()), took.count());
  }

  int num_failed() const { return num_failed_; }
  const nlohmann::json& cases() const { return cases_; }

 private:
  void note(const char* verdict, const std::string& name, const std::string& text, double took) {
    std::printf("%s  %-36s %s\n", verdict, name.c_str(), text.c_str());
    std::fflush(stdout);
    cases_.push_back({{"name", name}, {"verdict", verdict}, {"text", text}, {"seconds", took}});
  }

  int num_failed_ = 0;
  nlohmann::json cases_ = nlohmann::json::array();
};

/// What the flags, and the configuration behind one of them, say of the backend.
Result<ExternalOptions> make_options(const PluginCheckFlags& flags) {
  ConfigSources sources;
  sources.environment = config_environment();
  if (flags.config.has_value()) {
    sources.path = *flags.config;
  } else {  // another file than a --config is none of our business
    sources.environment.erase("KVFERRY_CONFIG_FILE");
    sources.environment.erase("LMCACHE_CONFIG_FILE");
  }
  const auto loaded = load_config(sources);
  if (!loaded) return make_error(loaded.error().to_status());
  ExternalOptions options;
  for (const std::string& folder : loaded->config.plugins.search_path) {
    options.search_path += folder + ":";  // NOLINT(performance-inefficient-string-concatenation)
  }
  if (flags.config.has_value()) {
    if (loaded->config.external_backends.empty()) {
      return make_error(StatusCode::kInvalidArgument,
                        *flags.config + " names no external_backends");
    }
    const ExternalBackendConfig& external = loaded->config.external_backends.front();
    options.class_name = external.class_name;
    options.settings = external.settings;
  }
  options.module_path = flags.library;
  if (flags.class_name.has_value()) options.class_name = *flags.class_name;
  for (const std::string& setting : flags.settings) {
    const size_t equals = setting.find('=');
    if (equals == std::string::npos || equals == 0) {
      return make_error(StatusCode::kInvalidArgument, "--set '" + setting + "' is not KEY=VALUE");
    }
    options.settings[setting.substr(0, equals)] = setting.substr(equals + 1);
  }
  return options;
}

}  // namespace

int run_plugin_check(const PluginCheckFlags& flags) {
  auto json_file = JsonFile::open_flag("--json", flags.json);
  if (!json_file) return refuse(std::string(json_file.error().message()));
  auto options = make_options(flags);
  if (!options) return refuse(std::string(options.error().message()));
  const auto path = find_plugin_library(options->module_path, options->search_path);
  if (!path) return refuse(std::string(path.error().message()));
  const auto found = load_plugin_class(*path, options->class_name);
  if (!found) return refuse(std::string(found.error().message()));
  options->class_name = found->table.name;

  const uint32_t flags_of_class = found->table.traits;
  const BackendTraits traits = {.retains = (flags_of_class & KVFERRY_RETAINS) != 0,
                                .pins = (flags_of_class & KVFERRY_PINS) != 0,
                                .persists = (flags_of_class & KVFERRY_PERSISTS) != 0,
                                .is_memory = false};
  std::printf("%s: class %s, version %s:%s%s%s\n\n", path->c_str(), found->table.name,
              found->plugin_version.c_str(), traits.retains ? " retains" : " retains nothing",
              traits.pins ? ", pins" : "", traits.persists ? ", persists" : "");

  PluginCheckFixture fixture(*options, traits);
  const auto first = BackendRig::open(fixture);
  if (!first) return refuse(std::string(first.error().message()));
  CheckReport report;
  report.run("OpensAndCloses", [&] { return (*first)->finish(); });
  for (const BackendContractCase& each : backend_contract_cases()) {
    const std::string reason = why_skipped(each, fixture);
    if (!reason.empty()) {
      report.skip(each.name, reason);
    } else {
      report.run(each.name, [&] { return each.run(fixture); });
    }
  }
  report.run("InstancesLeaveNothingBehind", [&] { return check_leaks(fixture); });
  Load load;
  report.run("WorksUnderLoad", [&] {
    const auto load_case = rig_case("WorksUnderLoad", ContractPart::kAll,
                                    [&load](BackendRig& rig) { return measure_load(rig, load); });
    return load_case.run(fixture);
  });
  report.run("BreaksNoRuleOnTheWay", [&] { return check_manners(fixture); });

  std::printf("\n%s", report.num_failed() == 0
                          ? "It keeps the contract.\n"
                          : (std::to_string(report.num_failed()) + " failed.\n").c_str());
  if (traits.retains) {
    std::printf("put %.2f GB/s, get %.2f GB/s, 8 chunks at a time\n", load.put_gb_per_s,
                load.get_gb_per_s);
  }
  if (*json_file != nullptr) {
    const nlohmann::json object = {
        {"library", *path},
        {"class", found->table.name},
        {"version", found->plugin_version},
        {"traits",
         {{"retains", traits.retains}, {"pins", traits.pins}, {"persists", traits.persists}}},
        {"failed", report.num_failed()},
        {"put_gb_per_s", load.put_gb_per_s},
        {"get_gb_per_s", load.get_gb_per_s},
        {"counters", fixture.metrics().counters()},
        {"cases", report.cases()}};
    if (const Status status = (*json_file)->write(object); !status.is_ok()) {
      return refuse(std::string(status.message()));
    }
  }
  return report.num_failed() == 0 ? 0 : 1;
}

}  // namespace kvferry
