#include "runtime/config/config_settings.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>

#include "core/printable.h"
#include "core/unique_fd.h"
#include "runtime/config/lmcache_keys.h"
#include "runtime/config/nearest_name.h"
#include "runtime/config/schema.h"

namespace kvferry {
namespace {

constexpr size_t kMaxEchoed = 96;
constexpr std::string_view kOwnMap = "kvferry";
constexpr std::string_view kExtraKey = "extra_config";
constexpr std::string_view kOurPrefix = "KVFERRY_";
constexpr std::string_view kLmcachePrefix = "LMCACHE_";

std::string quoted(std::string_view text) {
  return "'" + detail::printable(text, kMaxEchoed) + "'";
}

YamlNode text_node(std::string_view text) {
  YamlNode node;
  node.kind = text.empty() ? YamlNode::Kind::kNull : YamlNode::Kind::kScalar;
  node.text = text;
  return node;
}

std::vector<std::string_view> known_names() {
  std::vector<std::string_view> names = {kOwnMap};
  for (const KeySpec& spec : config_schema()) names.push_back(spec.name);
  for (const LmcacheKey& key : lmcache_only_keys()) names.push_back(key.name);
  return names;
}

std::string unsupported_text(const LmcacheKey& key) {
  return "key " + quoted(key.name) + " is LMCache's, kvferry does not have it; it has no effect" +
         (key.advice.empty() ? "" : ": " + std::string(key.advice));
}

std::string unknown_text(std::string_view key) {
  if (key.find("password") != std::string_view::npos) {
    return "key " + quoted(key) +
           " is unknown; passwords are in files of their own, see "
           "'remote_password_file'";
  }
  const std::string_view nearest = detail::nearest_name(key, known_names());
  return "key " + quoted(key) + " is unknown" +
         (nearest.empty() ? "; 'kvferry config schema' has all keys"
                          : "; is " + quoted(nearest) + " meant?");
}

/// One setting, or one for each entry of extra_config.
void add_setting(std::string_view key, const YamlNode& value, const std::string& where,
                 const std::string& file, ConfigFindings& findings) {
  if (key != kExtraKey || value.kind != YamlNode::Kind::kMap) {
    findings.settings.push_back({std::string(key), value, where});
    return;
  }
  for (const YamlEntry& entry : value.entries) {
    findings.settings.push_back({std::string(kExtraPrefix) + entry.key, entry.value,
                                 file.empty() ? where : file + ":" + std::to_string(entry.line)});
  }
}

/// The entries of the file, or of its kvferry: map.
class FileReader {
 public:
  FileReader(std::string file, ConfigFindings& findings)
      : file_(std::move(file)), findings_(findings) {}

  void read(const YamlDocument& document) {
    for (const YamlProblem& problem : document.problems) {
      findings_.fail(at(problem.line), problem.text);
    }
    const YamlNode& root = document.root;
    if (root.kind == YamlNode::Kind::kNull) return;  // empty: all defaults
    if (root.kind != YamlNode::Kind::kMap) {
      findings_.fail(at(root.line), "the file must be a map, with lines as in 'chunk_size: 256'");
      return;
    }
    for (const YamlEntry& entry : root.entries) {
      if (entry.key == kOwnMap) {
        read_own_map(entry);
      } else {
        add(entry, KeyHome::kLmcache);
      }
    }
  }

 private:
  std::string at(int64_t line) const { return file_ + ":" + std::to_string(line); }

  void read_own_map(const YamlEntry& own) {
    if (own.value.kind == YamlNode::Kind::kNull) return;
    if (own.value.kind != YamlNode::Kind::kMap) {
      findings_.fail(at(own.line), "key 'kvferry': must be a map of kvferry's own keys");
      return;
    }
    for (const YamlEntry& entry : own.value.entries) add(entry, KeyHome::kKvferry);
  }
  void add(const YamlEntry& entry, KeyHome home) {
    const std::string where = at(entry.line);
    if (const LmcacheKey* key = find_lmcache_only_key(entry.key)) {
      findings_.warn(where, unsupported_text(*key));
      return;
    }
    // LMCache's settings for the caches of encoders.
    if (home == KeyHome::kLmcache && entry.key.starts_with("ec_")) {
      findings_.warn(where, unsupported_text({.name = entry.key, .advice = ""}));
      return;
    }
    const KeySpec* spec = find_key(entry.key);
    if (spec == nullptr) {
      findings_.fail(where, unknown_text(entry.key));
    } else if (spec->home != home) {
      findings_.fail(
          where, "key " + quoted(entry.key) +
                     (home == KeyHome::kLmcache ? " is kvferry's own; put it into the kvferry: map"
                                                : " is LMCache's; put it out of the kvferry: map"));
    } else {
      add_setting(entry.key, entry.value, where, file_, findings_);
    }
  }

  const std::string file_;
  ConfigFindings& findings_;
};

std::string upper(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return out;
}
std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

/// A value that is one text, except for extra_config, which is a map written as JSON.
void add_text(const KeySpec& spec, std::string_view text, const std::string& where,
              ConfigFindings& findings) {
  if (spec.name != kExtraKey) {
    add_setting(spec.name, text_node(text), where, "", findings);
    return;
  }
  const YamlDocument document = parse_yaml(text);
  for (const YamlProblem& problem : document.problems) {
    findings.fail(where, "key 'extra_config': " + problem.text);
  }
  if (document.problems.empty()) add_setting(spec.name, document.root, where, "", findings);
}

void read_variable(const std::string& variable, const std::string& text, bool is_lmcache,
                   ConfigFindings& findings) {
  const std::string name =
      lower(std::string_view(variable).substr((is_lmcache ? kLmcachePrefix : kOurPrefix).size()));
  if (name == "config_file") return;
  if (const LmcacheKey* key = find_lmcache_only_key(name)) {
    findings.warn(variable, unsupported_text(*key));
    return;
  }
  const KeySpec* spec = find_key(name);
  if (spec == nullptr || (is_lmcache && spec->home != KeyHome::kLmcache)) {
    // Others use these prefixes, too: only what looks like a slip is worth a word.
    const std::string_view nearest = detail::nearest_name(name, known_names(), 2);
    if (!nearest.empty() && find_key(nearest) != nullptr) {
      findings.warn(
          detail::printable(variable, kMaxEchoed),
          "is not read; is " + quoted(std::string(kOurPrefix) + upper(nearest)) + " meant?");
    }
    return;
  }
  if (is_lmcache) {
    findings.warn(variable, "is read, too; kvferry's own name for it is " +
                                std::string(kOurPrefix) + upper(name) + ", and overrides it");
  }
  add_text(*spec, text, variable, findings);
}

}  // namespace

void read_config_file(const std::string& path, ConfigFindings& findings) {
  const std::string file = detail::printable(path, 4096);
  const auto fail = [&] {
    findings.fail(file, std::string("cannot be read: ") + std::strerror(errno));
  };
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.is_open()) return fail();
  std::string text;
  std::string part(64 * 1024, '\0');
  while (text.size() <= kMaxYamlBytes) {
    const ssize_t n = ::read(fd.get(), part.data(), part.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail();
    if (n == 0) break;
    text.append(part, 0, static_cast<size_t>(n));
  }
  FileReader(file, findings).read(parse_yaml(text));
}

void read_config_environment(const std::map<std::string, std::string>& environment,
                             ConfigFindings& findings) {
  for (const bool is_lmcache : {true, false}) {
    for (const auto& [variable, text] : environment) {
      if (!variable.starts_with(is_lmcache ? kLmcachePrefix : kOurPrefix)) continue;
      read_variable(variable, text, is_lmcache, findings);
    }
  }
}

void read_config_flags(const std::vector<std::string>& flags, ConfigFindings& findings) {
  for (const std::string& flag : flags) {
    const size_t sign = flag.find('=');
    std::string_view key = std::string_view(flag).substr(0, std::min(sign, flag.size()));
    const std::string where = "--set " + detail::printable(key, kMaxEchoed);
    if (sign == std::string::npos || key.empty()) {
      findings.fail(where, "must be KEY=VALUE");
      continue;
    }
    const std::string_view text = std::string_view(flag).substr(sign + 1);
    if (key.starts_with("kvferry.")) key.remove_prefix(8);
    if (key.starts_with(kExtraPrefix) && key.size() > kExtraPrefix.size()) {
      findings.settings.push_back({std::string(key), text_node(text), where});
    } else if (const LmcacheKey* unsupported = find_lmcache_only_key(key)) {
      findings.warn(where, unsupported_text(*unsupported));
    } else if (const KeySpec* spec = find_key(key)) {
      add_text(*spec, text, where, findings);
    } else {
      findings.fail(where, unknown_text(key));
    }
  }
}

}  // namespace kvferry
