#include "backends/remote/remote_url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backends/remote/factory.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(RemoteUrl, TakesAServerApart) {
  const RemoteUrl url = parse_remote_url("redis://ann:p%40s%3as@kv.example:7001/12").value();
  EXPECT_EQ(url.scheme, RemoteScheme::kRedis);
  EXPECT_EQ(url.username, "ann");
  EXPECT_EQ(url.password, "p@s:s");
  EXPECT_EQ(url.host, "kv.example");
  EXPECT_EQ(url.port, 7001);
  EXPECT_EQ(url.database, 12);
  EXPECT_EQ(url.to_string(), "redis://kv.example:7001/12");
}

TEST(RemoteUrl, HasDefaults) {
  const RemoteUrl url = parse_remote_url("redis://:only-a-password@localhost").value();
  EXPECT_EQ(url.username, "");
  EXPECT_EQ(url.password, "only-a-password");
  EXPECT_EQ(url.port, 6379);
  EXPECT_EQ(url.database, 0);
}

TEST(RemoteUrl, KnowsIpv6AndPaths) {
  EXPECT_EQ(parse_remote_url("redis://[::1]:7000").value().to_string(), "redis://[::1]:7000");
  EXPECT_EQ(parse_remote_url("redis://[fe80::2]").value().host, "fe80::2");
  EXPECT_EQ(parse_remote_url("fs:///shared/kv@home").value().path, "/shared/kv@home");
  const RemoteUrl local = parse_remote_url("unix://bob:x@/run/redis.sock").value();
  EXPECT_EQ(local.path, "/run/redis.sock");
  EXPECT_EQ(local.username, "bob");
  EXPECT_EQ(parse_remote_url("blackhole://").value().scheme, RemoteScheme::kBlackhole);
}

TEST(RemoteUrl, RefusalsNameWhatIsWrong) {
  struct Row {
    std::string text;
    std::string what;
  };
  const std::string long_path(120, 'x');
  const std::vector<Row> rows = {
      {"", "no known scheme; known are fs:///directory, redis://host:port, unix:///path"},
      {"http://host", "no known scheme"},
      {"redis:/host", "no known scheme"},
      {"redis://", "names no host"},
      {"redis://:6379", "names no host"},
      {"redis://host:", "port"},
      {"redis://host:0", "port"},
      {"redis://host:65536", "port"},
      {"redis://host:6379x", "port"},
      {"redis://host/db", "database"},
      {"redis://host/-1", "database"},
      {"redis://[::1", "'[' without ']'"},
      {"redis://[::1]7000", "port"},
      {"redis://a:%4g@host", "two hex digits"},
      {"fs://relative/directory", "no absolute path of a directory"},
      {"fs://", "no absolute path of a directory"},
      {"unix://", "no absolute path of a socket"},
      {"unix:///" + long_path, "longer than 107 bytes"},
      {"blackhole://x", "after blackhole://"},
      {"redis://" + std::string(5000, 'h'), "longer than 4096 bytes"},
  };
  for (const Row& row : rows) {
    EXPECT_THAT(parse_remote_url(row.text),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(row.what)))
        << row.text;
  }
}

TEST(RemoteUrl, NeverShowsThePassword) {
  for (const std::string text :
       {"redis://ann:hidden@host:port", "redis://ann:hid@den@", "ftp://ann:hidden@host",
        "ann:hidden@host", "redis://ann:hidden%@host"}) {
    EXPECT_THAT(
        parse_remote_url(text),
        StatusIs(StatusCode::kInvalidArgument, AllOf(Not(HasSubstr("hid")), Not(HasSubstr("den")))))
        << text;
  }
}

TEST(RemoteFactory, RefusesOptionsOutOfRange) {
  const auto refusal = [](const std::function<void(RemoteOptions&)>& change) {
    RemoteOptions options;
    options.url = "blackhole://";
    change(options);
    return make_remote_backend({}, options);
  };
  EXPECT_THAT(refusal([](RemoteOptions&) {}), IsOk());
  const auto is_refused = [](const std::string& what) {
    return StatusIs(StatusCode::kInvalidArgument, HasSubstr(what));
  };
  EXPECT_THAT(refusal([](RemoteOptions& options) { options.connections = 0; }),
              is_refused("connections is 0"));
  EXPECT_THAT(refusal([](RemoteOptions& options) { options.timeout = Duration::zero(); }),
              is_refused("timeout"));
  EXPECT_THAT(refusal([](RemoteOptions& options) { options.max_queued = 0; }),
              is_refused("max_queued"));
  EXPECT_THAT(refusal([](RemoteOptions& options) { options.breaker_failures = 0; }),
              is_refused("breaker_failures"));
  EXPECT_THAT(refusal([](RemoteOptions& options) { options.stale_after = Duration(-1); }),
              is_refused("stale_after"));
}

}  // namespace
}  // namespace kvferry
