// The kvferry command.

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "core/printable.h"
#include "kvferry/version.h"
#include "tools/config/config_command.h"
#include "tools/demo/demo_command.h"
#include "tools/demo/worker_main.h"
#include "tools/doctor/doctor.h"
#include "tools/plugin/plugin_command.h"
#include "tools/replay/replay_command.h"
#include "tools/sim/sim_command.h"
#include "tools/standard_streams.h"

namespace {

/// The text behind a flag, also an empty one: what it means is for the command to check.
void add_text(CLI::App& app, const std::string& flag, const std::string& type,
              std::optional<std::string>& value, const std::string& help) {
  app.add_option_function<std::string>(
         flag, [&value](const std::string& text) { value = text; }, help)
      ->type_name(type);
}

void add_demo(CLI::App& app, kvferry::DemoFlags& flags) {
  CLI::App* demo = app.add_subcommand(
      "demo", "Move a prompt's KV from a prefill process to a decode process, and verify it");
  add_text(*demo, "--trace", "FILE", flags.trace,
           "Requests as JSON lines: timestamp, input_length, output_length, hash_ids of 512 "
           "tokens each; timestamps are not used. Default: a built-in multi-turn workload");
  add_text(*demo, "--requests", "N", flags.requests,
           "Replay so many requests at most. Default: all of a trace, 60 built-in ones");
  add_text(*demo, "--model", "NAME", flags.model,
           "qwen2.5-0.5b (default; 12 KiB a token), llama-3.1-8b (128 KiB), "
           "deepseek-v2-lite (MLA)");
  add_text(*demo, "--max-tokens", "N", flags.max_tokens, "Cut each prompt to so many tokens");
  add_text(*demo, "--memory", "SIZE", flags.memory,
           "Bound of each of the two processes, as in 4GiB. Default: a quarter of what is "
           "available");
  add_text(*demo, "--path", "PATH", flags.path,
           "How the processes reach one another: pull, shm, tcp. Default: auto, the best "
           "that works here");
  add_text(*demo, "--host", "ADDR", flags.host,
           "Where prefill listens and decode connects. Default: 127.0.0.1");
  add_text(*demo, "--prefill-device", "DEVICE", flags.prefill_device,
           "Where prefill's pages lie: host, cuda:0, ... Default: host");
  add_text(*demo, "--decode-device", "DEVICE", flags.decode_device, "The same of decode");
  add_text(*demo, "--prefill-netns", "FILE", flags.prefill_netns,
           "Run prefill in this network namespace (/run/netns/NAME, /proc/PID/ns/net). Over tcp, "
           "if decode's is another");
  add_text(*demo, "--decode-netns", "FILE", flags.decode_netns, "The same for decode");
  add_text(*demo, "--corrupt-one-in", "N", flags.corrupt_one_in,
           "Flip a byte of one in N chunks on its way, N being 2 or more; all must be found and "
           "fetched again");
  add_text(*demo, "--seed", "N", flags.seed, "Seed of workload and fragmentation. Default: 1");
  add_text(*demo, "--json", "FILE", flags.json, "Write the report to this file as well");
  add_text(*demo, "--trace-out", "FILE", flags.trace_out,
           "Write the stages of the last transfers to this file, for Perfetto or chrome://tracing");
  demo->add_flag("--skip-ceilings", flags.skip_ceilings,
                 "Replay only: do not measure stages and their ceilings");
  demo->add_flag("--verbose", flags.verbose, "Log what the workers do");
  demo->footer(
      "A worker that is stopped is named after 5 s and ends the run 15 s later, one that answers "
      "nothing for 10 minutes then. A connection that is lost is made again within 20 s.");
}

CLI::App* add_sim(CLI::App& app, kvferry::SimFlags& flags) {
  CLI::App* sim = app.add_subcommand(
      "sim", "Attack the transfer protocol in a simulated cluster, seed by seed");
  add_text(*sim, "--seeds", "N", flags.seeds, "So many seeds. Default: 500");
  add_text(*sim, "--first-seed", "N", flags.first_seed, "The first of them. Default: 1");
  add_text(*sim, "--jobs", "N", flags.jobs, "So many side by side. Default: one a core");
  add_text(*sim, "--json", "FILE", flags.json, "Write the report to this file as well");
  sim->add_flag("--log", flags.show_log, "Print the event log of the first seed");
  return sim;
}

struct ConfigFlags {
  kvferry::ConfigCheckFlags check;
  std::optional<std::string> schema_json;
};

CLI::App* add_config(CLI::App& app, ConfigFlags& flags) {
  CLI::App* config =
      app.add_subcommand("config", "Say what a configuration means, and what can be configured");
  config->require_subcommand(1);
  CLI::App* check = config->add_subcommand(
      "check", "Say what would be built from a file, or what is wrong with it, line by line");
  check->add_option("file", flags.check.file,
                    "LMCache's YAML, with kvferry's own keys in a kvferry: map. Default: what "
                    "KVFERRY_CONFIG_FILE names, else none");
  check->add_option("--set", flags.check.sets, "KEY=VALUE, above file and environment; repeatable")
      ->allow_extra_args(false);
  check->add_flag("--effective", flags.check.show_effective,
                  "Print every value and where it came from");
  add_text(*check, "--json", "FILE", flags.check.json, "Write the findings to this file as well");
  CLI::App* schema =
      config->add_subcommand("schema", "Print every key with unit, default, range and meaning");
  add_text(*schema, "--json", "FILE", flags.schema_json, "Write the keys to this file as well");
  return config;
}

/// "a, b and c" of what people can call there.
std::string subcommand_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* each : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!each->get_group().empty()) names.push_back(each->get_name());
  }
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) {
    text += (i == 0 ? "" : i + 1 < names.size() ? ", " : " and ") + names[i];
  }
  return text;
}

CLI::App* add_replay(CLI::App& app, kvferry::ReplayFlags& flags) {
  CLI::App* replay = app.add_subcommand(
      "replay", "Drive a cache engine and its sinks with the requests of a trace");
  add_text(*replay, "--trace", "FILE", flags.trace,
           "Requests as JSON lines, as for kvferry demo. Default: a built-in multi-turn workload");
  add_text(*replay, "--config", "FILE", flags.config,
           "The configuration (docs/config.md). Default: as the environment says, else defaults");
  replay->add_option("--set", flags.settings, "Override one key of the configuration: KEY=VALUE")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add_text(*replay, "--model", "NAME", flags.model, "As for kvferry demo. Default: qwen2.5-0.5b");
  add_text(*replay, "--requests", "N", flags.requests, "Replay so many requests at most");
  add_text(*replay, "--max-tokens", "N", flags.max_tokens, "Cut each prompt to so many tokens");
  add_text(*replay, "--clients", "N", flags.clients, "Requests at the same time. Default: 2");
  add_text(*replay, "--speed", "X", flags.speed,
           "Follow the trace's timestamps, X times as fast. Default: as fast as they are served");
  add_text(*replay, "--seed", "N", flags.seed, "Seed of workload and fragmentation. Default: 1");
  add_text(*replay, "--json", "FILE", flags.json, "Write the report to this file as well");
  add_text(*replay, "--log", "FILE", flags.log, "Write what the engine and its sinks log there");
  replay->add_flag("--capacity-curve", flags.capacity_curve,
                   "Add the hit rate by policy at five capacities, as a table and a plot");
  return replay;
}

struct PluginFlags {
  kvferry::PluginCheckFlags check;
  kvferry::PluginNewFlags fresh;
};

CLI::App* add_plugin(CLI::App& app, PluginFlags& flags) {
  CLI::App* plugin =
      app.add_subcommand("plugin", "Start a storage backend of your own, and check one");
  plugin->require_subcommand(1);
  CLI::App* fresh = plugin->add_subcommand(
      "new", "Write a project that builds a backend against the installed kvferry");
  fresh->add_option("name", flags.fresh.name, "Of the library, as in my_store")->required();
  add_text(*fresh, "--folder", "DIR", flags.fresh.folder, "Where to. Default: its name");
  CLI::App* check = plugin->add_subcommand(
      "check", "Hold a backend against the contract that every backend of kvferry keeps");
  check->add_option("library", flags.check.library, "A file, or a name on KVFERRY_PLUGIN_PATH")
      ->required();
  add_text(*check, "--class", "NAME", flags.check.class_name,
           "Which backend of it. Default: its only one");
  check
      ->add_option("--set", flags.check.settings,
                   "A setting of the backend; {fresh} in it becomes an empty folder for each store")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add_text(*check, "--config", "FILE", flags.check.config,
           "Take class, settings and plugin_timeout_ms of the first of external_backends in this "
           "file");
  add_text(*check, "--case", "NAME", flags.check.case_name,
           "Run this case only, and in this process: for a debugger");
  add_text(*check, "--timeout", "SECONDS", flags.check.timeout,
           "A case that takes longer is stopped, and fails. Default: 120");
  add_text(*check, "--log", "FILE", flags.check.log,
           "Write what the backend, and kvferry about it, logs there");
  add_text(*check, "--json", "FILE", flags.check.json, "Write the verdicts to this file as well");
  check->add_option("--report-fd", flags.check.report_fd)
      ->group("");  // a case's process; not for people
  return plugin;
}

/// Says what is wrong with a command line; returns the exit code.
int refuse(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App* command = &app;
  std::string name = "kvferry";
  while (!command->get_subcommands().empty()) {
    command = command->get_subcommands().front();
    name += " " + command->get_name();
  }
  const std::vector<std::string> words = app.remaining(true);
  const std::string known = subcommand_names(*command);
  std::string what = error.what();
  if (!words.empty() && !known.empty()) {
    constexpr size_t kMaxEchoed = 64;
    what = "'" + kvferry::detail::printable(words.front(), kMaxEchoed) +
           "' is not known here; the subcommands are " + known;
  }
  std::fprintf(stderr, "%s: %s (see %s --help)\n", name.c_str(), what.c_str(), name.c_str());
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  kvferry::open_standard_streams();
  CLI::App app("kvferry moves LLM KV caches between processes, devices and stores.");
  app.set_version_flag("--version", "kvferry " KVFERRY_VERSION_STRING);
  app.require_subcommand(1);
  app.footer("Try: kvferry doctor, then kvferry demo.");

  ConfigFlags config_flags;
  const CLI::App* config = add_config(app, config_flags);

  kvferry::DemoFlags flags;
  add_demo(app, flags);

  kvferry::DoctorFlags doctor_flags;
  CLI::App* doctor = app.add_subcommand(
      "doctor", "Say what this machine has for moving KV caches, what it lacks, and what to do");
  add_text(*doctor, "--json", "FILE", doctor_flags.json, "Write the findings to this file as well");
  add_text(*doctor, "--engine", "HOST:PORT", doctor_flags.engine,
           "Ask the engine that listens there, too: peers, memory in use, quarantine");
  add_text(*doctor, "--token-file", "FILE", doctor_flags.token_file,
           "The token of that engine's peers is the first line of this file");

  kvferry::SimFlags sim_flags;
  CLI::App* sim = add_sim(app, sim_flags);

  PluginFlags plugin_flags;
  CLI::App* plugin = add_plugin(app, plugin_flags);

  kvferry::ReplayFlags replay_flags;
  CLI::App* replay = add_replay(app, replay_flags);

  int channel_fd = -1;
  int supervisor_pid = 0;
  CLI::App* worker =
      app.add_subcommand("worker")->group("");  // started by the demo; not for people
  worker->add_option("--channel", channel_fd)->required();
  worker->add_option("--supervisor", supervisor_pid)->required();

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return error.get_exit_code() == 0 ? app.exit(error) : refuse(app, error);
  }
  if (worker->parsed()) return kvferry::run_worker(channel_fd, supervisor_pid);
  if (doctor->parsed()) return kvferry::run_doctor(doctor_flags);
  if (config->parsed()) {
    return config->got_subcommand("schema") ? kvferry::run_config_schema(config_flags.schema_json)
                                            : kvferry::run_config_check(config_flags.check);
  }
  if (plugin->parsed()) {
    return plugin->got_subcommand("new") ? kvferry::run_plugin_new(plugin_flags.fresh)
                                         : kvferry::run_plugin_check(plugin_flags.check);
  }
  if (replay->parsed()) return kvferry::run_replay(replay_flags);
  if (sim->parsed()) return kvferry::run_sim(sim_flags);
  return kvferry::run_demo(flags);
}
