#include "backends/remote/redis_protocol.h"

#include <hiredis/read.h>

#include <array>
#include <new>
#include <utility>

#include "core/printable.h"

namespace kvferry {
namespace {

constexpr size_t kMaxTextBytes = 200;

std::string bulk_head(size_t size_bytes) { return "$" + std::to_string(size_bytes) + "\r\n"; }

void append_word(std::string& command, std::string_view word) {
  command += bulk_head(word.size());
  command += word;
  command += "\r\n";
}

}  // namespace

std::string redis_command(std::initializer_list<std::string_view> words) {
  std::string command = "*" + std::to_string(words.size()) + "\r\n";
  for (const std::string_view word : words) append_word(command, word);
  return command;
}

std::string redis_set_head(std::string_view key, size_t value_bytes) {
  std::string head = "*3\r\n";
  append_word(head, "SET");
  append_word(head, key);
  return head + bulk_head(value_bytes);
}

Status redis_error(const std::string& text) {
  struct Known {
    std::string_view word;
    StatusCode code;
  };
  static constexpr std::array<Known, 12> kKnown = {{
      {"OOM", StatusCode::kResourceExhausted},
      {"NOAUTH", StatusCode::kPermissionDenied},
      {"WRONGPASS", StatusCode::kPermissionDenied},
      {"NOPERM", StatusCode::kPermissionDenied},
      {"WRONGTYPE", StatusCode::kDataLoss},  // the key holds something of another program
      {"LOADING", StatusCode::kUnavailable},
      {"BUSY", StatusCode::kUnavailable},
      {"TRYAGAIN", StatusCode::kUnavailable},
      {"READONLY", StatusCode::kUnavailable},
      {"MISCONF", StatusCode::kUnavailable},
      {"MASTERDOWN", StatusCode::kUnavailable},
      {"CLUSTERDOWN", StatusCode::kUnavailable},
  }};
  const std::string_view word = std::string_view(text).substr(0, text.find(' '));
  for (const Known& known : kKnown) {
    if (known.word == word) return Status(known.code, "the server says: " + text);
  }
  return Status(StatusCode::kFailedPrecondition, "the server says: " + text);
}

// ---- reading

/// What hiredis calls for each part of an answer. It is given non-null handles of nothing: the
/// answer is built in the reader.
struct RedisReplyReader::Callbacks {
  static RedisReplyReader& reader_of(const redisReadTask* task) {
    return *static_cast<RedisReplyReader*>(task->privdata);
  }
  static bool is_top(const redisReadTask* task) { return task->parent == nullptr; }

  static void* create_string(const redisReadTask* task, char* text, size_t size_bytes) {
    RedisReplyReader& self = reader_of(task);
    if (!is_top(task)) return &self;
    if (task->type == REDIS_REPLY_STRING) {
      self.answer_.kind = RedisAnswer::Kind::kBulk;
      (*self.on_value_)(std::as_bytes(std::span(text, size_bytes)));
    } else {
      self.answer_.kind =
          task->type == REDIS_REPLY_ERROR ? RedisAnswer::Kind::kError : RedisAnswer::Kind::kStatus;
      self.answer_.text = detail::printable({text, size_bytes}, kMaxTextBytes);
    }
    return &self;
  }
  static void* create_array(const redisReadTask* task, int /*num_elements*/) {
    return &reader_of(task);  // kOther
  }
  static void* create_integer(const redisReadTask* task, long long value) {
    RedisReplyReader& self = reader_of(task);
    if (is_top(task)) {
      self.answer_.kind = RedisAnswer::Kind::kInteger;
      self.answer_.integer = value;
    }
    return &self;
  }
  static void* create_nil(const redisReadTask* task) {
    RedisReplyReader& self = reader_of(task);
    if (is_top(task)) self.answer_.kind = RedisAnswer::Kind::kNil;
    return &self;
  }
  static void free_object(void* /*object*/) {}

  static redisReplyObjectFunctions* functions() {
    static redisReplyObjectFunctions functions = {&create_string, &create_array, &create_integer,
                                                  &create_nil, &free_object};
    return &functions;
  }
};

void RedisReplyReader::Free::operator()(redisReader* reader) const { redisReaderFree(reader); }

RedisReplyReader::RedisReplyReader()
    : reader_(redisReaderCreateWithFunctions(Callbacks::functions())) {
  if (reader_ == nullptr) throw std::bad_alloc();
  reader_->privdata = this;
  // Values are large: what the buffer has grown to it keeps, or every value would be paid for with
  // fresh pages.
  reader_->maxbuf = 0;
}

RedisReplyReader::~RedisReplyReader() = default;

Status RedisReplyReader::feed(std::span<const std::byte> bytes) {
  if (reader_->len - reader_->pos > kMaxRedisValueBytes) {
    return Status(StatusCode::kResourceExhausted, "an answer is larger than 512 MiB");
  }
  if (redisReaderFeed(reader_.get(), reinterpret_cast<const char*>(bytes.data()), bytes.size()) !=
      REDIS_OK) {
    return Status(StatusCode::kResourceExhausted, "no memory for an answer");
  }
  return {};
}

Result<std::optional<RedisAnswer>> RedisReplyReader::next(
    const std::function<void(std::span<const std::byte>)>& on_value) {
  answer_ = RedisAnswer();
  on_value_ = &on_value;
  void* reply = nullptr;
  const int outcome = redisReaderGetReply(reader_.get(), &reply);
  on_value_ = nullptr;
  if (outcome != REDIS_OK) {
    return make_error(StatusCode::kDataLoss, "the server's bytes are no answer: " +
                                                 detail::printable(reader_->errstr, kMaxTextBytes));
  }
  if (reply == nullptr) return std::nullopt;
  return std::move(answer_);
}

}  // namespace kvferry
