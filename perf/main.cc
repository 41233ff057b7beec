// kvferry-bench host_copy [--gib N] [--reps N] | transfer [--rounds N] | local_cpu | external |
// stuck_plugin | redis | local_disk [--dir D]

#include <CLI/CLI.hpp>

#include "perf/benchmarks.h"

int main(int argc, char** argv) {
  CLI::App app("kvferry-bench measures kvferry beside what the machine could give.");
  app.require_subcommand(1);

  size_t gib = 1;
  int reps = 3;
  CLI::App* host_copy = app.add_subcommand("host_copy", "Gather and scatter beside their ceilings");
  host_copy->add_option("--gib", gib, "Size of pages and of chunks")->check(CLI::Range(1, 1024));
  host_copy->add_option("--reps", reps, "Times through all of it")->check(CLI::Range(1, 1000));

  int rounds = 2000;
  CLI::App* transfer = app.add_subcommand("transfer", "What a transfer costs apart from its bytes");
  transfer->add_option("--rounds", rounds, "Transfers timed")->check(CLI::Range(4, 10'000'000));

  int cpu_rounds = 200;
  CLI::App* local_cpu = app.add_subcommand("local_cpu", "Lookups and gets of chunks in memory");
  local_cpu->add_option("--rounds", cpu_rounds, "Times each")->check(CLI::Range(3, 1'000'000));

  int plugin_rounds = 25;
  CLI::App* external = app.add_subcommand("external", "The way to a plugin and back");
  external->add_option("--rounds", plugin_rounds, "Times through all of it")
      ->check(CLI::Range(1, 10'000));

  kvferry::StuckPluginOptions stuck;
  CLI::App* stuck_plugin =
      app.add_subcommand("stuck_plugin", "What a plugin that answers nothing costs other tiers");
  stuck_plugin->add_option("--dir", stuck.directory, "Where; emptied of kvferry-bench/ afterwards")
      ->check(CLI::ExistingDirectory);
  stuck_plugin->add_option("--rounds", stuck.rounds, "Windows each")->check(CLI::Range(1, 10'000));
  stuck_plugin->add_option("--window-ms", stuck.window_ms, "Of a window")
      ->check(CLI::Range(10, 60'000));

#if KVFERRY_HAVE_HIREDIS
  kvferry::RedisBenchOptions redis_options;
  CLI::App* redis = app.add_subcommand("redis", "Chunks in Redis beside a bare hiredis loop");
  redis->add_option("--mib", redis_options.mib, "Put and got each time")
      ->check(CLI::Range(1, 65536));
  redis->add_option("--connections", redis_options.connections, "On either side")
      ->check(CLI::Range(1, 64));
  redis->add_option("--rounds", redis_options.rounds, "Times each")->check(CLI::Range(1, 999));
#endif

  kvferry::DiskBenchOptions disk;
  CLI::App* local_disk = app.add_subcommand("local_disk", "Chunks on disk beside fio");
  local_disk->add_option("--dir", disk.directory, "Where; emptied of kvferry-bench/ afterwards")
      ->check(CLI::ExistingDirectory);
  local_disk->add_option("--mib", disk.mib, "Put and got each time")->check(CLI::Range(64, 65536));
  local_disk->add_option("--chunk-mib", disk.chunk_mib, "Sizes of chunks")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024));
  local_disk->add_option("--depth", disk.depth, "Chunks at once")->check(CLI::Range(1, 256));
  local_disk->add_option("--reps", disk.reps, "Times through all of it")->check(CLI::Range(1, 99));

  CLI11_PARSE(app, argc, argv);
  if (local_cpu->parsed()) return kvferry::run_local_cpu_bench(cpu_rounds);
  if (stuck_plugin->parsed()) return kvferry::run_stuck_plugin_bench(stuck);
  if (external->parsed()) return kvferry::run_plugin_bench(plugin_rounds);
#if KVFERRY_HAVE_HIREDIS
  if (redis->parsed()) return kvferry::run_redis_bench(redis_options);
#endif
  if (local_disk->parsed()) return kvferry::run_local_disk_bench(disk);
  return transfer->parsed() ? kvferry::run_transfer_bench(rounds)
                            : kvferry::run_host_copy_bench(gib, reps);
}
