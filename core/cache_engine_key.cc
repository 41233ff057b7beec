#include "kvferry/cache_engine_key.h"

#include <charconv>

#include "core/xxh3.h"

namespace kvferry {
namespace {

constexpr size_t kMaxModelBytes = 256;
constexpr size_t kNumFixedFields = 5;

Status refuse(std::string_view field, std::string_view what) {
  return Status(StatusCode::kInvalidArgument,
                "cache key " + std::string(field) + " " + std::string(what));
}

/// Text between separators. Bytes from 0x80 up are let through: model names may be UTF-8.
Status check_text(std::string_view field, std::string_view text) {
  if (text.empty()) return refuse(field, "is empty");
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) return refuse(field, "holds a control character");
    if (c == '@' || c == '%') return refuse(field, "holds '@' or '%', which separate fields");
  }
  return Status();
}

/// Decimal digits without sign or leading zero, as std::to_string writes them.
Result<int32_t> parse_number(std::string_view field, std::string_view text) {
  int32_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  const bool is_number =
      error == std::errc() && stop == end && value >= 0 && text == std::to_string(value);
  if (is_number) return value;
  return make_error(refuse(field, "is no plain decimal number from 0 to 2147483647"));
}

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> fields;
  for (size_t at = text.find('@'); at != std::string_view::npos; at = text.find('@')) {
    fields.push_back(text.substr(0, at));
    text.remove_prefix(at + 1);
  }
  fields.push_back(text);
  return fields;
}

Status check_tags(const CacheEngineKey& key) {
  for (size_t i = 0; i < key.tags.size(); ++i) {
    const std::string field = "tag " + std::to_string(i);
    KVFERRY_RETURN_IF_ERROR(check_text(field + " name", key.tags[i].first));
    KVFERRY_RETURN_IF_ERROR(check_text(field + " value", key.tags[i].second));
    if (i > 0 && key.tags[i - 1].first >= key.tags[i].first) {
      return refuse(field, "is out of order or double; tags are sorted by name");
    }
  }
  return Status();
}

}  // namespace

std::string CacheEngineKey::to_string() const {
  std::string text = model;
  text += '@';
  text += std::to_string(world_size);
  text += '@';
  text += std::to_string(worker_id);
  text += '@';
  text += chunk_hash.to_hex();
  text += '@';
  text += dtype_name(dtype);
  for (const auto& [name, value] : tags) {
    text += '@';
    text += name;
    text += '%';
    text += value;
  }
  return text;
}

Status CacheEngineKey::validate() const {
  KVFERRY_RETURN_IF_ERROR(check_text("model", model));
  if (model.size() > kMaxModelBytes) {
    return refuse("model", "has " + std::to_string(model.size()) + " bytes; at most " +
                               std::to_string(kMaxModelBytes));
  }
  if (world_size < 1) return refuse("world_size", "is less than 1");
  if (worker_id < 0 || worker_id >= world_size) {
    return refuse("worker_id", "is " + std::to_string(worker_id) + ", outside a world of " +
                                   std::to_string(world_size));
  }
  if (dtype_size(dtype) == 0) return refuse("dtype", "is unknown");
  KVFERRY_RETURN_IF_ERROR(check_tags(*this));
  const size_t bytes = to_string().size();
  if (bytes <= kMaxKeyBytes) return Status();
  return refuse("text",
                "has " + std::to_string(bytes) + " bytes; at most " + std::to_string(kMaxKeyBytes));
}

Result<CacheEngineKey> CacheEngineKey::parse(std::string_view text) {
  if (text.size() > kMaxKeyBytes) {
    return make_error(refuse("text", "has " + std::to_string(text.size()) + " bytes; at most " +
                                         std::to_string(kMaxKeyBytes)));
  }
  const std::vector<std::string_view> fields = split(text);
  if (fields.size() < kNumFixedFields) {
    return make_error(
        refuse("text", "has " + std::to_string(fields.size()) +
                           " fields; it is model@world@worker@hash@dtype[@tag%value]"));
  }
  constexpr std::string_view kNames[] = {"model", "world_size", "worker_id", "hash", "dtype"};
  for (size_t i = 0; i < kNumFixedFields; ++i) {
    KVFERRY_RETURN_IF_ERROR(check_text(kNames[i], fields[i]));
  }
  CacheEngineKey key;
  key.model = fields[0];
  KVFERRY_ASSIGN_OR_RETURN(key.world_size, parse_number(kNames[1], fields[1]));
  KVFERRY_ASSIGN_OR_RETURN(key.worker_id, parse_number(kNames[2], fields[2]));
  auto hash = ChunkHash::from_hex(fields[3]);
  if (!hash) return make_error(hash.error().with_context("cache key hash"));
  key.chunk_hash = *hash;
  auto dtype = parse_dtype(fields[4]);
  if (!dtype) return make_error(dtype.error().with_context("cache key dtype"));
  key.dtype = *dtype;
  for (size_t i = kNumFixedFields; i < fields.size(); ++i) {
    const size_t percent = fields[i].find('%');
    if (percent == std::string_view::npos) {
      return make_error(
          refuse("tag " + std::to_string(i - kNumFixedFields), "is not written name%value"));
    }
    key.tags.emplace_back(fields[i].substr(0, percent), fields[i].substr(percent + 1));
  }
  KVFERRY_RETURN_IF_ERROR(key.validate());
  return key;
}

std::array<uint8_t, 16> CacheEngineKey::digest() const {
  const std::string text = to_string();
  return detail::xxh3_128(std::as_bytes(std::span(text)));
}

}  // namespace kvferry
