#include "tools/config/config_command.h"

#include <cstdio>
#include <memory>

#include "tools/config/config_text.h"
#include "tools/json_file.h"
#include "tools/standard_streams.h"

namespace kvferry {
namespace {

void complain(const char* command, const Status& status) {
  std::fprintf(stderr, "kvferry config %s: %s\n", command, std::string(status.message()).c_str());
}

/// The file behind --json; complains if it cannot be opened.
Result<std::unique_ptr<JsonFile>> open_json(const char* command,
                                            const std::optional<std::string>& path) {
  auto opened = JsonFile::open_flag("--json", path);
  if (!opened) complain(command, opened.error());
  return opened;
}

/// Whether all of it arrived.
bool put_out(const char* command, const std::string& text, JsonFile* file,
             const nlohmann::json& json) {
  const Status printed = print_out(text);
  const Status written = file == nullptr ? Status() : file->write(json);
  for (const Status& output : {printed, written}) {
    if (!output.is_ok()) complain(command, output);
  }
  return printed.is_ok() && written.is_ok();
}

std::string warnings_text(const std::vector<ConfigNotice>& warnings) {
  std::string text;
  for (const ConfigNotice& warning : warnings) text += "warning: " + warning.line() + "\n";
  return text;
}

}  // namespace

int run_config_check(const ConfigCheckFlags& flags) {
  const auto json = open_json("check", flags.json);
  if (!json) return 2;
  const auto loaded =
      load_config({.path = flags.file, .environment = config_environment(), .flags = flags.sets});
  if (!loaded) {
    for (const ConfigNotice& error : loaded.error().errors) {
      std::fprintf(stderr, "%s\n", error.line().c_str());
    }
    put_out("check", warnings_text(loaded.error().warnings), json->get(),
            config_json(loaded.error()));
    return 2;
  }
  std::string text = built_text(loaded->config);
  if (flags.show_effective) text += "\n" + effective_text(*loaded);
  if (!loaded->warnings.empty()) text += "\n" + warnings_text(loaded->warnings);
  return put_out("check", text, json->get(), config_json(*loaded)) ? 0 : 1;
}

int run_config_schema(const std::optional<std::string>& json_path) {
  const auto json = open_json("schema", json_path);
  if (!json) return 2;
  return put_out("schema", schema_text(), json->get(), schema_json()) ? 0 : 1;
}

}  // namespace kvferry
