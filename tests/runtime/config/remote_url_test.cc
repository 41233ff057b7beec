#include "runtime/config/remote_url.h"

#include <gmock/gmock.h>

#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

RemoteConfig parse(std::string_view url) {
  const auto parsed = parse_remote_config(url);
  EXPECT_THAT(parsed, IsOk());
  return parsed.value_or(RemoteConfig());
}

TEST(RemoteUrl, RedisHasHostPortDatabaseAndCredentials) {
  EXPECT_EQ(parse("redis://cache").port, 6379);
  EXPECT_EQ(parse("redis://cache/").database, 0);
  EXPECT_EQ(parse("redis://cache:7000/12").database, 12);
  EXPECT_EQ(parse("redis://[::1]").host, "::1");
  EXPECT_EQ(parse("redis://[::1]:7000").port, 7000);
  EXPECT_EQ(parse("redis://:pw@cache").password, "pw");
  EXPECT_EQ(parse("redis://pw@cache").password, "pw");
  EXPECT_EQ(parse("redis://a%3ab:p%2Fw@cache").username, "a:b");
  EXPECT_EQ(parse("redis://a%3ab:p%2Fw@cache").password, "p/w");
  EXPECT_EQ(parse("unix:///run/redis.sock").path, "/run/redis.sock");
  EXPECT_EQ(parse("unix:///run/redis.sock").kind, RemoteKind::kRedis);
}

TEST(RemoteUrl, TextHidesThePassword) {
  EXPECT_EQ(remote_url_text(parse("redis://me:pw@[::1]:7000/2")), "redis://me:***@[::1]:7000/2");
  EXPECT_EQ(remote_url_text(parse("unix:///run/redis.sock")), "unix:///run/redis.sock");
  EXPECT_EQ(remote_url_text(parse("fs://host:0/mnt/kv/")), "fs:///mnt/kv");
  EXPECT_EQ(remote_url_text({}), "");
}

TEST(RemoteUrl, RefusesWhatItCannotReachAndSaysWhy) {
  for (const char* url :
       {"", "redis", "://x", "redis://", "redis://a:b", "redis://a:-1", "redis://a b",
        "redis://a/x", "redis://a/-1", "redis://a:1:2", "redis://u:@h", "redis://%4@h", "unix://",
        "fs:///", "fs://host", "redis://[]:1", "redis://::1"}) {
    EXPECT_THAT(parse_remote_config(url), StatusIs(StatusCode::kInvalidArgument)) << url;
  }
  for (const char* url : {"rediss://h", "redis-sentinel://h", "lm://h:1", "s3://b", "valkey://h"}) {
    EXPECT_THAT(parse_remote_config(url),
                StatusIs(StatusCode::kUnimplemented, HasSubstr("kvferry does not")))
        << url;
  }
}

}  // namespace
}  // namespace kvferry
