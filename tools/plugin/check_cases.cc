#include "tools/plugin/check_cases.h"

#include <malloc.h>

#include <chrono>
#include <filesystem>
#include <thread>
#include <utility>

#include "conformance/backend_contract_rig.h"

namespace kvferry {
namespace {

using std::chrono::steady_clock;

constexpr int kInstances = 20;
constexpr int kLoadRounds = 16;
// Of memory, by one instance: what it keeps of a chunk is more.
constexpr size_t kLeakBytes = size_t{64} << 10;

size_t count_entries(const char* folder) {
  std::error_code error;
  size_t count = 0;
  for (std::filesystem::directory_iterator each(folder, error), end; each != end;
       each.increment(error)) {
    ++count;
  }
  return count;
}

/// By malloc, in all its arenas; 0 under sanitizers, which look for leaks themselves.
size_t allocated_bytes() {
  const struct mallinfo2 info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

struct Resources {
  size_t threads = count_entries("/proc/self/task");
  size_t descriptors = count_entries("/proc/self/fd");
  size_t bytes = allocated_bytes();
};

Status run_one_instance(PluginCheckFixture& fixture) {
  KVFERRY_ASSIGN_OR_RETURN(const auto rig, BackendRig::open(fixture));
  KVFERRY_RETURN_IF_ERROR(rig->put({0, 1, 7}));
  KVFERRY_RETURN_IF_ERROR(rig->put({0, 7}, 8));
  KVFERRY_RETURN_IF_ERROR(error_of(rig->get({0, 1, 7, 9})));
  KVFERRY_RETURN_IF_ERROR(error_of(rig->remove({1}, true)));
  return rig->finish();
}

/// Threads, descriptors and memory are as many after many instances as after one. Some are the
/// host's.
Status check_leaks(PluginCheckFixture& fixture) {
  KVFERRY_RETURN_IF_ERROR(run_one_instance(fixture));
  const Resources before;
  for (int i = 0; i < kInstances; ++i) KVFERRY_RETURN_IF_ERROR(run_one_instance(fixture));
  // Threads that have been told to end may still be about to.
  const auto deadline = steady_clock::now() + std::chrono::seconds(5);
  const size_t max_bytes = before.bytes + kInstances * kLeakBytes;
  Resources after;
  while ((after.threads > before.threads || after.bytes > max_bytes) &&
         steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    after = Resources();
  }
  std::string left;
  const auto note = [&left](size_t then, size_t now, const char* what) {
    if (now <= then) return;
    left += (left.empty() ? "" : ", ") + std::to_string(now - then) + " " + what;
  };
  note(before.threads, after.threads, "threads");
  note(before.descriptors, after.descriptors, "descriptors");
  if (after.bytes > max_bytes) note(before.bytes, after.bytes, "bytes of memory");
  return expect(left.empty(), std::to_string(kInstances) +
                                  " instances that were closed and destroyed left " + left +
                                  " behind; the destructor must end and free all of it");
}

/// A number for the author, and nothing that can fail.
Status measure_load(BackendRig& rig, CheckLoad& load) {
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

CheckCase own_case(std::string name,
                   std::function<Status(PluginCheckFixture& fixture, CheckLoad& load)> run) {
  return {.name = std::move(name), .why_skipped = "", .run = std::move(run)};
}

}  // namespace

std::vector<CheckCase> check_cases(BackendTraits traits) {
  std::vector<CheckCase> cases;
  cases.push_back(own_case("OpensAndCloses", [](PluginCheckFixture& fixture, CheckLoad&) -> Status {
    KVFERRY_ASSIGN_OR_RETURN(const auto rig, BackendRig::open(fixture));
    return rig->finish();
  }));
  const PluginCheckFixture nothing_made({}, traits);
  for (BackendContractCase& each : backend_contract_cases()) {
    std::string reason = why_skipped(each, nothing_made);
    cases.push_back({.name = each.name,
                     .why_skipped = std::move(reason),
                     .run = [run = std::move(each.run)](PluginCheckFixture& fixture, CheckLoad&) {
                       return run(fixture);
                     }});
  }
  cases.push_back(
      own_case("InstancesLeaveNothingBehind",
               [](PluginCheckFixture& fixture, CheckLoad&) { return check_leaks(fixture); }));
  cases.push_back(own_case("WorksUnderLoad", [](PluginCheckFixture& fixture, CheckLoad& load) {
    return rig_case("WorksUnderLoad", ContractPart::kAll,
                    [&load](BackendRig& rig) { return measure_load(rig, load); })
        .run(fixture);
  }));
  return cases;
}

}  // namespace kvferry
