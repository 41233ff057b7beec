// Runs `kvferry replay` as a user does: over memory, a disk and a real Redis, in good times and
// bad.

#include <gmock/gmock.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/seeded_rng.h"
#include "workload/processes/server_process.h"
#include "workload/processes/subprocess.h"
#include "workload/processes/temp_dir.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

constexpr auto kRunLimit = std::chrono::seconds(200);

class ReplayProcess : public ::testing::Test {
 protected:
  std::vector<std::string> command(const std::vector<std::string>& more) {
    std::vector<std::string> words = {KVFERRY_TOOL, "replay",      "--config",     config_path(),
                                      "--json",     report_path(), "--max-tokens", "2048"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  std::string config_path() const { return directory.file("config.yaml"); }
  std::string report_path() const { return directory.file("report.json"); }
  std::string disk_path() const { return directory.file("disk"); }

  void configure(const std::string& more = "") {
    std::ofstream file(config_path());
    file << "max_local_cpu_size: 0.1\nlocal_disk: " << disk_path() << "\nmax_local_disk_size: 1\n"
         << more;
  }

  nlohmann::json run(const std::vector<std::string>& more, int expected_exit = 0) {
    Subprocess replay(command(more));
    EXPECT_EQ(replay.wait(kRunLimit), expected_exit) << replay.out() << replay.err();
    return report();
  }
  nlohmann::json report() const {
    std::ifstream file(report_path());
    return nlohmann::json::parse(file, nullptr, false);
  }

  static nlohmann::json sink(const nlohmann::json& report, const std::string& name) {
    for (const auto& each : report.at("sinks")) {
      if (each.at("name") == name) return each;
    }
    ADD_FAILURE() << "no sink " << name;
    return {};
  }

  /// Every retrieved chunk was compared with the oracle, and every bound held.
  static void expect_good(const nlohmann::json& report) {
    EXPECT_EQ(report.at("chunks_wrong"), 0);
    EXPECT_EQ(report.at("chunks_verified"), report.at("chunks_retrieved"));
    EXPECT_LE(report.at("memory_peak_bytes"), report.at("memory_bound_bytes"));
    EXPECT_EQ(report.at("errors"), nlohmann::json::array());
  }
  /// Of a run over stores that were empty.
  static void expect_below_optimum(const nlohmann::json& report) {
    EXPECT_LE(report.at("hit_rate"), report.at("hit_rate_optimum"));
  }

  std::vector<std::filesystem::path> chunk_files() const {
    std::vector<std::filesystem::path> files;
    for (const auto& each : std::filesystem::recursive_directory_iterator(disk_path())) {
      if (each.is_regular_file() && each.file_size() > 100'000) files.push_back(each.path());
    }
    return files;
  }

  TempDir directory;
};

void flip_bit(const std::filesystem::path& path, std::streamoff at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(at);
  const int byte = file.get();
  file.seekp(at);
  file.put(static_cast<char>(byte ^ 1));
}

TEST_F(ReplayProcess, MemoryDiskAndRedisServeWhatTheyHold) {
  const auto redis = RedisServer::start();
  if (!redis) GTEST_SKIP() << "redis-server is not installed (scripts/setup test)";
  configure("remote_url: " + redis->tcp_url() + "\n");
  const nlohmann::json report = run({"--requests", "60"});
  expect_good(report);
  expect_below_optimum(report);
  EXPECT_EQ(report.at("sinks").size(), 3U);
  for (const char* name : {"local_cpu", "local_disk", "remote"}) {
    EXPECT_GT(sink(report, name).at("puts"), 0) << name;
  }
  EXPECT_GT(sink(report, "local_cpu").at("retrieved_chunks"), 0);
  EXPECT_GT(sink(report, "local_disk").at("retrieved_chunks"), 0);
  EXPECT_GT(sink(report, "local_cpu").at("evictions").at("room"), 0);

  // Another engine, with nothing but what Redis has.
  std::filesystem::remove_all(disk_path());
  const nlohmann::json second = run({"--requests", "60"});
  expect_good(second);
  EXPECT_GT(sink(second, "remote").at("retrieved_chunks"), 0);
  EXPECT_GT(second.at("hit_rate"), report.at("hit_rate"));
}

TEST_F(ReplayProcess, ARedisThatDiesAndComesBackCostsMissesOnly) {
  const auto redis = RedisServer::start();
  if (!redis) GTEST_SKIP() << "redis-server is not installed (scripts/setup test)";
  std::ofstream(config_path()) << "max_local_cpu_size: 0.05\nlocal_cpu: False\nremote_url: "
                               << redis->tcp_url() << "\nkvferry: {breaker_cooldown_ms: 50}\n";
  Subprocess replay(command({"--requests", "120"}));
  for (int i = 1; i <= 2; ++i) {
    const std::string mark = "request " + std::to_string(12 * i) + " of";
    replay.read_until([&](const Subprocess& p) { return p.err().find(mark) != std::string::npos; },
                      kRunLimit);
    redis->kill();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_TRUE(redis->restart());
  }
  EXPECT_EQ(replay.wait(kRunLimit), 0) << replay.err();
  const nlohmann::json report = this->report();
  expect_good(report);
  const nlohmann::json remote = sink(report, "remote");
  const int64_t unavailable = remote.at("misses").at("unavailable").get<int64_t>() +
                              remote.at("failed_puts").get<int64_t>();
  EXPECT_GT(unavailable, 0);
  EXPECT_GT(remote.at("retrieved_chunks"), 0);
}

TEST_F(ReplayProcess, FlippedTruncatedAndForeignFilesAreMisses) {
  configure();
  const nlohmann::json first = run({"--requests", "30"});
  expect_good(first);
  const auto files = chunk_files();
  ASSERT_GT(files.size(), 12U);
  SeededRng rng;
  for (size_t i = 0; i < 4; ++i) {
    const auto size = static_cast<std::streamoff>(std::filesystem::file_size(files[i]));
    flip_bit(files[i], size / 2 + static_cast<std::streamoff>(rng.below(1000)));
  }
  for (size_t i = 4; i < 8; ++i) std::filesystem::resize_file(files[i], 70'000);
  for (size_t i = 8; i < 10; ++i) {
    std::filesystem::copy_file(files[i + 2], files[i],
                               std::filesystem::copy_options::overwrite_existing);
  }
  std::ofstream(disk_path() + "/somebody's file") << "not ours";
  const nlohmann::json second = run({"--requests", "30"});
  expect_good(second);
  EXPECT_GE(second.at("chunks_mismatched"), 1);
  EXPECT_GT(sink(second, "local_disk").at("retrieved_chunks"), 0);
  EXPECT_TRUE(std::filesystem::exists(disk_path() + "/somebody's file"));
}

TEST_F(ReplayProcess, AKilledReplayLeavesAWarmDisk) {
  configure("kvferry: {disk_durability: sync}\n");
  SeededRng rng;
  const char* moments = std::getenv("KVFERRY_TEST_MOMENTS");
  const int kills = moments != nullptr ? std::atoi(moments) : 5;
  double hit_rate = run({"--requests", "1"}).at("hit_rate").get<double>();
  std::filesystem::remove_all(disk_path());
  for (int i = 0; i < kills; ++i) {
    Subprocess replay(command({"--requests", "40"}));
    replay.read_until([](const Subprocess& p) { return !p.err().empty(); }, kRunLimit);
    std::this_thread::sleep_for(std::chrono::milliseconds(rng.below(300)));
    ::kill(replay.pid(), SIGKILL);
    replay.wait(kRunLimit);
    const nlohmann::json report = run({"--requests", "1"});
    expect_good(report);
    hit_rate = report.at("hit_rate").get<double>();
  }
  EXPECT_GT(hit_rate, 0.9) << "the first request's chunks are there after a kill";
}

TEST_F(ReplayProcess, WhatCannotWorkIsOneLineAndExitCode2) {
  const auto refused = [&](const std::string& text, const std::string& what) {
    std::ofstream(config_path()) << text;
    Subprocess replay(command({"--requests", "1"}));
    EXPECT_EQ(replay.wait(kRunLimit), 2) << text;
    EXPECT_THAT(replay.err(), HasSubstr(what));
    EXPECT_EQ(std::count(replay.err().begin(), replay.err().end(), '\n'), 1) << replay.err();
  };
  const std::string log = "external_backends: log\nextra_config:\n";
  refused(log, "module_path");
  refused(log +
              "  external_backend.log.module_path: /nowhere/liblog.so\n"
              "  external_backend.log.class_name: ExternalLogBackend\n",
          "/nowhere/liblog.so");
  refused(log + "  external_backend.log.module_path: liblog.so\n", "class_name is not set");
  refused("max_local_cpu_size: 0.001\n", "max_local_cpu_size");
  refused("chunk_sise: 64\n", "chunk_size");
  refused("local_disk: /proc/nowhere\nmax_local_disk_size: 1\n", "local_disk");
}

}  // namespace
}  // namespace kvferry
