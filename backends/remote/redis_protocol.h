#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "kvferry/status.h"

struct redisReader;
struct redisReadTask;

namespace kvferry {

/// Larger values are refused, here as by Redis.
inline constexpr size_t kMaxRedisValueBytes = size_t{512} << 20;

/// A command in the wire's form.
std::string redis_command(std::initializer_list<std::string_view> words);
/// SET up to its value of `value_bytes`; after that comes "\r\n".
std::string redis_set_head(std::string_view key, size_t value_bytes);

/// What a server answers to one command.
struct RedisAnswer {
  enum class Kind : uint8_t { kNil, kStatus, kError, kInteger, kBulk, kOther };
  Kind kind = Kind::kOther;
  int64_t integer = 0;
  std::string text;  ///< of kStatus and kError; bounded
};

/// The error that an answer of kError stands for.
Status redis_error(const std::string& text);

/// Takes a server's bytes apart. Values are handed on where they lie, not copied into answers.
///
/// Threads: caller serialises
class RedisReplyReader {
 public:
  RedisReplyReader();
  ~RedisReplyReader();
  RedisReplyReader(const RedisReplyReader&) = delete;
  RedisReplyReader& operator=(const RedisReplyReader&) = delete;

  /// Errors: kResourceExhausted for a value that is too large.
  Status feed(std::span<const std::byte> bytes);
  /// The next answer, if all of it has come. A value is given to `on_value`, for the call.
  /// Errors: kDataLoss for what is no answer; nothing more can be read then.
  Result<std::optional<RedisAnswer>> next(
      const std::function<void(std::span<const std::byte> value)>& on_value);

 private:
  struct Callbacks;
  struct Free {
    void operator()(redisReader* reader) const;
  };

  std::unique_ptr<redisReader, Free> reader_;
  RedisAnswer answer_;
  const std::function<void(std::span<const std::byte>)>* on_value_ = nullptr;
};

}  // namespace kvferry
