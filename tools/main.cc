// The kvferry command.

#include <CLI/CLI.hpp>
#include <string>

#include "kvferry/version.h"
#include "tools/demo/demo_command.h"
#include "tools/demo/worker_main.h"
#include "tools/doctor/doctor.h"

namespace {

void add_demo(CLI::App& app, kvferry::DemoFlags& flags) {
  CLI::App* demo = app.add_subcommand(
      "demo", "Move a prompt's KV from a prefill process to a decode process, and verify it");
  demo->add_option(
      "--trace", flags.trace,
      "Requests as JSON lines: timestamp, input_length, output_length, hash_ids of 512 "
      "tokens each. Default: a built-in multi-turn workload");
  demo->add_option("--requests", flags.requests,
                   "Replay so many requests at most. Default: all of a trace, 60 built-in ones");
  demo->add_option("--model", flags.model,
                   "qwen2.5-0.5b (default; 12 KiB a token), llama-3.1-8b (128 KiB), "
                   "deepseek-v2-lite (MLA)");
  demo->add_option("--max-tokens", flags.max_tokens, "Cut each prompt to so many tokens");
  demo->add_option("--memory", flags.memory,
                   "Bound of each process, as in 4GiB. Default: a quarter of what is free");
  demo->add_option("--path", flags.path,
                   "How the processes reach one another: pull, shm, tcp. Default: auto, the best "
                   "that works here");
  demo->add_option(
      "--corrupt-one-in", flags.corrupt_one_in,
      "Flip a byte of one in N chunks on its way; all must be found and fetched again");
  demo->add_option("--seed", flags.seed, "Seed of workload and fragmentation. Default: 1");
  demo->add_option("--json", flags.json, "Write the report to this file as well");
  demo->add_flag("--skip-ceilings", flags.skip_ceilings,
                 "Replay only: do not measure stages and their ceilings");
  demo->add_flag("--verbose", flags.verbose, "Log what the workers do");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("kvferry moves LLM KV caches between processes, devices and stores.");
  app.set_version_flag("--version", "kvferry " KVFERRY_VERSION_STRING);
  app.require_subcommand(1);
  app.footer("Try: kvferry doctor, then kvferry demo.");

  kvferry::DemoFlags flags;
  add_demo(app, flags);

  std::string doctor_json;
  CLI::App* doctor = app.add_subcommand(
      "doctor", "Say what this machine has for moving KV caches, what it lacks, and what to do");
  doctor->add_option("--json", doctor_json, "Write the findings to this file as well");

  int channel_fd = -1;
  int supervisor_pid = 0;
  CLI::App* worker =
      app.add_subcommand("worker")->group("");  // started by the demo; not for people
  worker->add_option("--channel", channel_fd)->required();
  worker->add_option("--supervisor", supervisor_pid)->required();

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    std::fprintf(stderr, "kvferry: %s (see kvferry --help)\n", error.what());
    return 2;
  }
  if (worker->parsed()) return kvferry::run_worker(channel_fd, supervisor_pid);
  if (doctor->parsed()) return kvferry::run_doctor(doctor_json);
  return kvferry::run_demo(flags);
}
