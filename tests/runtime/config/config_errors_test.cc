#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "tests/runtime/config/load_text.h"

namespace kvferry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

/// A file with one mistake: its line, and a part of what is said about it.
struct Mistake {
  const char* name;
  std::string text;
  int line;
  const char* says;
};
void PrintTo(const Mistake& mistake, std::ostream* out) { *out << mistake.name; }

class MalformedConfig : public ::testing::TestWithParam<Mistake> {};

TEST_P(MalformedConfig, IsOneErrorWithItsLine) {
  const Mistake& mistake = GetParam();
  const auto errors = errors_of(mistake.text);
  ASSERT_THAT(errors, SizeIs(1));
  EXPECT_THAT(errors[0], StartsWith("F:" + std::to_string(mistake.line) + ": "));
  EXPECT_THAT(errors[0], HasSubstr(mistake.says));
  EXPECT_EQ(errors[0].find('\n'), std::string::npos);
}

const std::string kModule = "external_backend.log.module_path: log\n";
const std::string kLog = kModule + "  external_backend.log.class_name: Log\n";

const Mistake kMistakes[] = {
    // Names.
    {"unknown_key", "chunk_size: 64\nchunk_sise: 64\n", 2, "is 'chunk_size' meant?"},
    {"key_like_no_other", "\n\nfrobnicate: 1\n", 3, "'kvferry config schema' has all keys"},
    {"unknown_own_key", "kvferry:\n  disc_io: auto\n", 2, "is 'disk_io' meant?"},
    {"own_key_outside", "disk_io: auto\n", 1, "put it into the kvferry: map"},
    {"lmcache_key_inside", "kvferry:\n  chunk_size: 64\n", 2, "put it out of the kvferry: map"},
    {"password_in_file", "kvferry:\n  remote_password: x\n", 2, "remote_password_file"},
    {"key_twice", "chunk_size: 64\nlocal_cpu: True\nchunk_size: 32\n", 3, "first in line 1"},
    {"own_key_twice", "kvferry:\n  disk_io: auto\n  disk_io: pread\n", 3, "first in line 2"},
    {"key_is_a_list", "local_cpu: True\n? [a, b]\n: 1\n", 2, "a key must be a word"},
    // Types and ranges.
    {"number_is_text", "chunk_size: many\n", 1, "'many' is no whole number from 1 to 65536"},
    {"number_is_list", "chunk_size: [64]\n", 1, "a list is no whole number"},
    {"number_is_map", "chunk_size: {a: 1}\n", 1, "a map is no whole number"},
    {"number_has_fraction", "chunk_size: 64.5\n", 1, "'64.5' is no whole number"},
    {"number_below", "local_cpu: True\nchunk_size: 0\n", 2, "from 1 to 65536 (tokens)"},
    {"number_above", "chunk_size: 65537\n", 1, "from 1 to 65536 (tokens)"},
    {"number_negative", "chunk_size: -64\n", 1, "'-64' is no whole number"},
    {"number_overflows", "chunk_size: 99999999999999999999\n", 1, "is no whole number"},
    {"number_octal", "chunk_size: 0100\n", 1, "'0100' is no whole number"},
    {"number_hexadecimal", "chunk_size: 0x40\n", 1, "'0x40' is no whole number"},
    {"size_has_unit", "max_local_cpu_size: 5GB\n", 1, "'5GB' is no number from 0 to 1048576 (GB)"},
    {"size_negative", "max_local_cpu_size: -0.5\n", 1, "is no number from 0"},
    {"size_nan", "max_local_cpu_size: .nan\n", 1, "is no number"},
    {"size_nan_bare", "max_local_cpu_size: nan\n", 1, "is no number"},
    {"size_infinite", "max_local_cpu_size: .inf\n", 1, "is no number"},
    {"size_overflows", "max_local_cpu_size: 1e400\n", 1, "is no number"},
    {"size_too_large", "max_local_cpu_size: 1e7\n", 1, "is no number"},
    {"time_is_zero", "blocking_timeout_secs: 0\n", 1, "from 0.001 to 86400 (seconds)"},
    {"bool_is_text", "local_cpu: maybe\n", 1, "'maybe' is neither True nor False"},
    {"bool_is_number", "local_cpu: 2\n", 1, "'2' is neither True nor False"},
    {"bool_is_list", "local_cpu: []\n", 1, "one of True nor False"},
    {"unknown_policy", "cache_policy: LFU\n", 1, "write one of LRU, FIFO, S3FIFO"},
    {"text_is_map", "kvferry: {hash_seed: {a: b}}\n", 1, "a map is no text"},
    {"own_map_is_text", "kvferry: fast\n", 1, "must be a map"},
    {"extra_is_list", "extra_config: [a]\n", 1, "must be a map"},
    // Tiers.
    {"disk_without_size", "chunk_size: 64\nlocal_disk: /tmp/kv\n", 2, "max_local_disk_size"},
    {"disk_relative", "local_disk: tmp/kv\nmax_local_disk_size: 1\n", 1, "no absolute path"},
    {"disk_is_true", "local_disk: True\nmax_local_disk_size: 1\n", 1, "no absolute path"},
    {"disks", "local_disk: /a/,/b/\nmax_local_disk_size: 1\n", 1, "holds a comma"},
    {"no_pool", "max_local_cpu_size: 0\n", 1, "every chunk passes through the pool"},
    {"no_pool_for_disk",
     "local_cpu: False\nmax_local_cpu_size: 0\nlocal_disk: /a\nmax_local_disk_size: 1\n", 2,
     "every chunk passes through the pool"},
    {"no_pool_no_tier", "local_cpu: False\nmax_local_cpu_size: 0\n", 2,
     "every chunk passes through the pool"},
    {"no_queue", "kvferry:\n  sink_queue_chunks: 0\n", 2, "from 1 to 1000000 (chunks)"},
    {"remote_no_url", "remote_url: cache:6379\n", 1, "is no URL"},
    {"remote_tls", "remote_url: rediss://cache:6379\n", 1, "TLS is not there yet"},
    {"remote_unknown_scheme", "remote_url: gopher://cache\n", 1, "scheme 'gopher'"},
    {"remote_no_host", "remote_url: redis://:6379\n", 1, "needs a host"},
    {"remote_port", "remote_url: redis://cache:66666\n", 1, "port from 1 to 65535"},
    {"remote_no_path", "remote_url: fs://host:0\n", 1, "needs an absolute path"},
    {"remote_user_only", "remote_url: redis://cache\nkvferry:\n  remote_username: me\n", 3,
     "needs remote_password_file"},
    {"remote_passwords", "remote_url: redis://:x@cache\nkvferry:\n  remote_password_file: /run/p\n",
     3, "keep one"},
    {"serde_lossy", "remote_serde: cachegen\n", 1, "lossy"},
    {"serde_unknown", "remote_serde: zip\n", 1, "write naive"},
    {"other_hash", "pre_caching_hash_algorithm: blake3\n", 1, "write sha256_cbor"},
    {"peers_without_name", "kvferry:\n  peers: a=h:1\n  peer_token_file: /t\n", 2,
     "needs peer_name"},
    {"peers_without_token", "kvferry:\n  peer_name: b\n  peers: a=h:1\n", 3,
     "needs peer_token_file"},
    {"peer_is_itself", "kvferry: {peer_name: a, peers: 'a=h:1', peer_token_file: /t}\n", 1,
     "names this engine itself"},
    {"peer_twice", "kvferry:\n  peers: [a=h:1, a=h:2]\n", 2, "'a' twice"},
    {"peer_malformed", "kvferry:\n  peers: [h:1]\n", 2, "no NAME=HOST:PORT"},
    {"push_to_no_peer",
     "kvferry: {peer_name: b, peers: 'a=h:1', peer_token_file: /t, peer_push: c}\n", 1,
     "'c' is none of peers"},
    {"listen_malformed", "kvferry:\n  peer_listen: 7000\n", 2, "no HOST:PORT"},
    // External backends.
    {"backend_without_module", "chunk_size: 64\nexternal_backends: log\n", 2,
     "extra_config.external_backend.log.module_path is not set"},
    {"backend_not_listed", "extra_config:\n  " + kModule, 2, "there is no backend 'log'"},
    {"backend_misspelt", "external_backends: lok\nextra_config:\n  " + kModule, 3,
     "is 'lok' meant?"},
    {"backend_twice", "external_backends: log, log\nextra_config:\n  " + kLog, 1,
     "is listed already"},
    {"backend_in_both_lists",
     "external_backends: log\nstorage_plugins: log\nextra_config:\n  " + kLog, 2,
     "is listed already"},
    {"backend_prefixes",
     "external_backends: log\nextra_config:\n  " + kLog + "  storage_plugin.log.module_path: b\n",
     5, "under both prefixes"},
    {"backend_plural", "extra_config:\n  external_backends.log.module_path: b\n", 2,
     "without the s"},
    {"backend_no_setting", "extra_config:\n  external_backend.log: b\n", 2, "NAME.KEY"},
    {"backend_without_class",
     "external_backends: log\nextra_config:\n  external_backend.log.module_path: b\n", 1,
     "extra_config.external_backend.log.class_name is not set; set it"},
    {"backend_nested",
     "external_backends: log\nextra_config:\n  external_backend:\n    log: {module_path: x}\n", 3,
     "in one line, as external_backend.NAME.module_path"},
    {"backend_name", "external_backends: a b\n", 1, "is no name of a backend"},
    {"backend_is_local_cpu", "external_backends: local_cpu\n", 1, "a tier of kvferry's own"},
    {"backend_is_local_disk", "storage_plugins: [local_disk]\n", 1, "a tier of kvferry's own"},
    {"backend_is_remote",
     "remote_url: redis://cache\nexternal_backends: remote\nextra_config:\n"
     "  external_backend.remote.module_path: a\n  external_backend.remote.class_name: A\n",
     2, "'remote' is a tier of kvferry's own; give the backend another name"},
    {"backend_is_peer", "external_backends: peer\n", 1, "a tier of kvferry's own"},
    {"backend_list_of_lists", "external_backends: [[a]]\n", 1, "must be a list of texts"},
    {"backend_empty_name", "external_backends: 'a,,b'\n", 1, "none of them empty"},
    {"backend_required",
     "external_backends: log\nextra_config:\n  " + kLog + "  external_backend.log.required: 7\n", 5,
     "neither True nor False"},
    // YAML itself.
    {"no_map", "- chunk_size\n", 1, "must be a map"},
    {"only_a_word", "\nchunk_size\n", 2, "must be a map"},
    {"open_list", "external_backends: [a\n", 2, "a list that starts with [ has no ]"},
    {"open_quote", "chunk_size: 64\nlocal_disk: \"/tmp/kv\nmax_local_disk_size: 1\n", 2,
     "has no end"},
    {"open_single_quote", "local_disk: '/tmp/kv\n", 1, "has no end"},
    {"wrong_indent", "chunk_size: 64\n local_cpu: True\n", 2, "indented otherwise than"},
    {"two_colons", "chunk_size: 64: 32\n", 1, "a second ': ' in one line"},
    {"tab", "chunk_size: 64\nkvferry:\n\tdisk_io: auto\n", 3, "a tab indents this line"},
    {"unknown_alias", "chunk_size: 64\nlocal_disk: *path\n", 2, "no valid YAML"},
    {"merge_key", "kvferry: &a {disk_io: auto}\n<<: *a\n", 2, "merge keys"},
    {"alias_of_itself", "extra_config: &a {b: *a}\n", 1, "inside what it names"},
    {"tag", "chunk_size: !!int 64\n", 1, "tag"},
    {"second_document", "chunk_size: 64\n---\nchunk_size: 32\n", 2, "second document"},
    {"zero_byte", std::string("chunk_size: 64\nlocal_disk: \0", 28), 2, "byte 0 is no text"},
    {"binary",
     "\x7f"
     "ELF\x02\x01\x01",
     1, "byte 127 is no text"},
    {"latin1", "local_cpu: True\nlocal_disk: /tmp/\xe4\n", 2, "must be UTF-8"},
    {"utf16",
     std::string("\xff\xfe"
                 "a\0",
                 4),
     1, "must be UTF-8"},
    {"deep", std::string(100, '['), 1, "deeper than 16 levels"},
    {"large", std::string(300 * 1024, '#'), 1, "larger than 256 KiB"},
};

INSTANTIATE_TEST_SUITE_P(ConfigErrors, MalformedConfig, ::testing::ValuesIn(kMistakes),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(ConfigErrors, AreAllSaidNotOnlyTheFirst) {
  EXPECT_THAT(errors_of("chunk_size: 0\nlocal_cpu: 7\nfoo: 1\nkvferry:\n  disk_io: slow\n"),
              SizeIs(4));
}

TEST(ConfigErrors, AreBoundedInNumber) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "frobnicate_" + std::to_string(i) + ": 1\n";
  const auto errors = errors_of(text);
  EXPECT_THAT(errors, SizeIs(101));
  EXPECT_EQ(errors.back(), "and 900 more");
}

TEST(ConfigErrors, AliasesMayNotMultiplyWithoutBound) {
  std::string text = "a: &a [x, x, x, x, x, x, x, x, x]\n";
  for (char name = 'b'; name < 'm'; ++name) {
    std::string line = "N: &N [*L, *L, *L, *L, *L, *L]\n";
    std::ranges::replace(line, 'N', name);
    std::ranges::replace(line, 'L', static_cast<char>(name - 1));
    text += line;
  }
  EXPECT_THAT(errors_of(text), ::testing::Contains(HasSubstr("more than 10000 values")));
}

TEST(ConfigErrors, NameAFileThatCannotBeRead) {
  const auto errors_at = [](const std::string& path) {
    const auto loaded = load_config({.path = path, .environment = {}, .flags = {}});
    return loaded ? std::vector<std::string>() : lines(loaded.error().errors);
  };
  EXPECT_THAT(errors_at("/nowhere/c.yaml"),
              ElementsAre("/nowhere/c.yaml: cannot be read: No such file or directory"));
  EXPECT_THAT(errors_at("/proc"), ElementsAre("/proc: cannot be read: Is a directory"));
  const TempFile file("chunk_size: 64\n");
  ASSERT_EQ(::chmod(file.path().c_str(), 0), 0);
  const bool is_root = ::geteuid() == 0;  // may read everything
  constexpr uid_t kNobody = 65'534;
  ASSERT_EQ(is_root ? ::seteuid(kNobody) : 0, 0);
  const auto errors = errors_at(file.path());
  ASSERT_EQ(is_root ? ::seteuid(0) : 0, 0);
  EXPECT_THAT(errors, ElementsAre(HasSubstr("Permission denied")));
}

TEST(ConfigErrors, NeverRepeatAUrlWithAPassword) {
  for (const char* url : {"redis://u:hunter2@h:0", "gopher://u:hunter2@h", "redis://u:hunter2%zz@h",
                          "hunter2", "redis://u:hunter2@h/x"}) {
    const auto errors = errors_of(std::string("remote_url: ") + url + "\n");
    ASSERT_THAT(errors, SizeIs(1)) << url;
    EXPECT_THAT(errors[0], ::testing::Not(HasSubstr("hunter2")));
  }
}

TEST(ConfigErrors, BecomeOneStatusWithALineEach) {
  const auto loaded = load_text("chunk_size: 0\nlocal_cpu: 7\n");
  ASSERT_FALSE(loaded.has_value());
  const Status status = loaded.error().to_status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("(tokens)\nF:2: key 'local_cpu'"));
}

}  // namespace
}  // namespace kvferry
