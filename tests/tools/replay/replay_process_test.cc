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
    table = replay.out();
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
  std::string table;  // of the last run()
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
  EXPECT_THAT(table, HasSubstr("; no cache that starts empty could pass "))
      << "Redis has no bound that we know";

  // Another engine, with nothing but what Redis has.
  std::filesystem::remove_all(disk_path());
  const nlohmann::json second = run({"--requests", "60"});
  expect_good(second);
  EXPECT_GT(sink(second, "remote").at("retrieved_chunks"), 0);
  EXPECT_GT(second.at("hit_rate"), report.at("hit_rate"));
}

TEST_F(ReplayProcess, TheSampleTraceGoesOverAllTiers) {
  const auto redis = RedisServer::start();
  if (!redis) GTEST_SKIP() << "redis-server is not installed (scripts/setup test)";
  configure("remote_url: " + redis->tcp_url() + "\n");
  const nlohmann::json report = run({"--trace", KVFERRY_SAMPLE_TRACE});
  expect_good(report);
  expect_below_optimum(report);
  EXPECT_EQ(report.at("workload"), KVFERRY_SAMPLE_TRACE);
  EXPECT_EQ(report.at("requests"), 60);
  EXPECT_GT(report.at("chunks_retrieved"), 0);
  for (const char* name : {"local_cpu", "local_disk", "remote"}) {
    EXPECT_GT(sink(report, name).at("puts"), 0) << name;
    EXPECT_EQ(sink(report, name).at("failed_puts"), 0) << name;
  }
}

TEST_F(ReplayProcess, AShorterLastChunkCountsAsOneInItsTier) {
  configure("save_unfull_chunk: True\n");
  const std::string trace = directory.file("trace.jsonl");
  const std::string prompt = "\"input_length\": 700, \"output_length\": 1, \"hash_ids\": [1, 2]}\n";
  std::ofstream(trace) << "{\"timestamp\": 0, " << prompt << "{\"timestamp\": 1, " << prompt;
  const nlohmann::json report = run({"--trace", trace, "--clients", "1"});
  expect_good(report);
  EXPECT_EQ(report.at("chunks_retrieved"), 3) << "256 tokens, 256, 188";
  EXPECT_EQ(sink(report, "local_cpu").at("retrieved_chunks"), 3);
  EXPECT_EQ(sink(report, "local_cpu").at("hit_rate"), 0.5);
}

TEST_F(ReplayProcess, TheCapacityCurveRisesToWhatTheOptimumOfAllChunksIs) {
  configure();
  const nlohmann::json report = run({"--requests", "30", "--capacity-curve"});
  expect_good(report);
  EXPECT_THAT(table, HasSubstr(" chunks (all tiers) that starts empty could pass "));
  EXPECT_THAT(table, HasSubstr("Hit rate by policy, as a model of one cache"));
  EXPECT_THAT(table, HasSubstr("L LRU, F FIFO, S S3FIFO, O optimum"));
  const nlohmann::json& curve = report.at("capacity_curve");
  ASSERT_GT(curve.size(), 2U);
  double before = 0;
  for (const auto& point : curve) {
    EXPECT_GE(point.at("optimum"), before);
    before = point.at("optimum").get<double>();
    for (const char* policy : {"LRU", "FIFO", "S3FIFO"}) {
      EXPECT_LE(point.at(policy), before) << policy;
    }
  }
  EXPECT_EQ(curve.back().at("optimum"), curve.back().at("LRU")) << "there is room for all";
  EXPECT_EQ(curve.back().at("capacity_bytes"), curve.back().at("capacity_chunks").get<int64_t>() *
                                                   report.at("chunk_bytes").get<int64_t>());
  EXPECT_GT(before, 0);
  EXPECT_FALSE(run({"--requests", "1"}).contains("capacity_curve"));
}

TEST_F(ReplayProcess, SpeedKeepsTheTimestampsOfATrace) {
  configure();
  const std::string trace = directory.file("trace.jsonl");
  const std::string prompt = "\"input_length\": 300, \"output_length\": 1, \"hash_ids\": [1]}\n";
  std::ofstream(trace) << "{\"timestamp\": 5000, " << prompt << "{\"timestamp\": 6000, " << prompt;
  const nlohmann::json report = run({"--trace", trace, "--speed", "2"});
  expect_good(report);
  EXPECT_EQ(report.at("speed"), 2);
  EXPECT_EQ(report.at("requests"), 2);
  EXPECT_GE(report.at("seconds"), 0.5) << "the second is not before its time";
  EXPECT_TRUE(run({"--trace", trace}).at("speed").is_null());
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
  // The deadlines of the configuration, with slack for a busy machine: nothing hangs.
  constexpr double kSlackMs = 10'000;
  EXPECT_LT(report.at("lookup").at("max_ms"), 3'000 + kSlackMs);
  EXPECT_LT(report.at("retrieve").at("max_ms"), 10'000 + kSlackMs);
  EXPECT_LT(report.at("store").at("max_ms"), 10'000 + kSlackMs);
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
    EXPECT_EQ(replay.out(), "");
  };
  const std::string log = "max_local_cpu_size: 0.05\nexternal_backends: log\nextra_config:\n";
  refused(log, "module_path");
  refused(log +
              "  external_backend.log.module_path: /nowhere/liblog.so\n"
              "  external_backend.log.class_name: ExternalLogBackend\n",
          "/nowhere/liblog.so");
  refused(log + "  external_backend.log.module_path: liblog.so\n", "class_name is not set");
  refused(log + "  external_backend.log.module_path: " LOG_BACKEND
                "\n  external_backend.log.class_name: Other\n",
          "ExternalLogBackend");
  refused("max_local_cpu_size: 0.001\n", "max_local_cpu_size");
  refused("chunk_sise: 64\n", "chunk_size");
  refused("max_local_cpu_size: 0.05\nlocal_disk: /proc/nowhere\nmax_local_disk_size: 1\n",
          "local_disk");
}

}  // namespace
}  // namespace kvferry
