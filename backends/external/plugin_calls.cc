#include "backends/external/plugin_calls.h"

#include <algorithm>
#include <cstring>
#include <exception>

#include "kvferry/chunk_record.h"

namespace kvferry {
namespace {

constexpr size_t kMaxMessageBytes = 1024;

kvferry_text text_of(const std::string& text) { return {text.c_str(), text.size()}; }

kvferry_call make_call(const ItemGroup& group) {
  kvferry_call call{};
  call.size = sizeof(call);
  call.deadline_ns = static_cast<uint64_t>(group.deadline.time_since_epoch().count());
  call.intent = group.intent == GetIntent::kPrefetch ? KVFERRY_PREFETCH : KVFERRY_FOREGROUND;
  call.force = group.force ? 1 : 0;
  call.pin_op = group.pin_op == PinOp::kPin ? KVFERRY_PIN : KVFERRY_UNPIN;
  call.pin_owner = group.pin_owner;
  call.peer = text_of(group.peer);
  return call;
}

std::vector<kvferry_key_item> key_items(const std::vector<OpenItems::Ptr>& items) {
  std::vector<kvferry_key_item> keys;
  keys.reserve(items.size());
  for (const OpenItems::Ptr& item : items) keys.push_back({item->id, text_of(item->key_text)});
  return keys;
}

std::vector<kvferry_chunk_item> chunk_items(const std::vector<OpenItems::Ptr>& items) {
  std::vector<kvferry_chunk_item> chunks;
  chunks.reserve(items.size());
  for (const OpenItems::Ptr& item : items) {
    const auto payload = item->obj->bytes();
    chunks.push_back({item->id,
                      text_of(item->key_text),
                      {item->header.data(), item->header.size()},
                      {payload.data(), payload.size()}});
  }
  return chunks;
}

void call_unguarded(const kvferry_backend_class& table, kvferry_instance* instance,
                    const std::vector<OpenItems::Ptr>& items) {
  const ItemGroup& group = *items.front()->group;
  const kvferry_call call = make_call(group);
  if (group.kind == PluginCall::kPut) {
    const auto chunks = chunk_items(items);
    table.put(instance, &call, chunks.data(), chunks.size());
    return;
  }
  const auto keys = key_items(items);
  switch (group.kind) {
    case PluginCall::kContains:
      return table.contains(instance, &call, keys.data(), keys.size());
    case PluginCall::kGet:
      return table.get(instance, &call, keys.data(), keys.size());
    case PluginCall::kRemove:
      return table.remove(instance, &call, keys.data(), keys.size());
    case PluginCall::kPin:
      return table.pin(instance, &call, keys.data(), keys.size());
    case PluginCall::kPut:
      return;
  }
}

StatusCode code_of(kvferry_outcome outcome) {
  const bool is_known = outcome > KVFERRY_OK && outcome <= KVFERRY_INTERNAL;
  return is_known ? static_cast<StatusCode>(outcome) : StatusCode::kInternal;
}

Status error_of(kvferry_outcome outcome, const char* message) {
  std::string text = message != nullptr && *message != '\0'
                         ? std::string(message, ::strnlen(message, kMaxMessageBytes))
                         : "no reason given (outcome " + std::to_string(outcome) + ")";
  std::replace_if(
      text.begin(), text.end(),
      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
  return Status(code_of(outcome), std::move(text));
}

/// What was got is of the key that was asked for, and complete; its bytes are for others to verify.
Status accept_chunk(OpenItem& item) {
  if (!item.obj) {
    return Status(StatusCode::kInternal, "says that it filled a get without asking for memory");
  }
  KVFERRY_ASSIGN_OR_RETURN(const size_t header_bytes, chunk_record_header_bytes(item.header));
  if (header_bytes != item.header.size()) {
    return Status(StatusCode::kDataLoss,
                  "returned a header of " + std::to_string(item.header.size()) +
                      " bytes that says it has " + std::to_string(header_bytes));
  }
  KVFERRY_ASSIGN_OR_RETURN(ChunkRecord record, decode_chunk_record_header(item.header));
  const size_t payload_bytes = item.obj->bytes().size();
  if (payload_bytes != static_cast<size_t>(record.layout.size_bytes)) {
    return Status(StatusCode::kDataLoss, "returned a payload of " + std::to_string(payload_bytes) +
                                             " bytes; " + std::to_string(record.layout.size_bytes) +
                                             " were put with its header");
  }
  if (record.key != item.key) {
    return Status(StatusCode::kDataLoss,
                  "returned another chunk than was asked for: " + record.key.to_string());
  }
  return apply_chunk_record(std::move(record), item.key, *item.obj);
}

}  // namespace

Status call_plugin(const kvferry_backend_class& table, kvferry_instance* instance,
                   const std::vector<OpenItems::Ptr>& items) {
  try {
    call_unguarded(table, instance, items);
  } catch (const std::exception& error) {
    return Status(StatusCode::kInternal, std::string("threw an exception: ") + error.what());
  } catch (...) {
    return Status(StatusCode::kInternal, "threw an exception");
  }
  return Status();
}

Status encode_put_header(OpenItem& item) {
  KVFERRY_ASSIGN_OR_RETURN(item.header,
                           encode_chunk_record_header(make_chunk_record(item.key, *item.obj)));
  return Status();
}

JudgedAnswer judge_answer(OpenItem& item, kvferry_outcome outcome, const char* message) {
  const PluginCall kind = item.group->kind;
  JudgedAnswer answer;
  if (outcome == KVFERRY_OK) {
    answer.outcome.is_yes = true;
    if (kind != PluginCall::kGet) return answer;
    Status status = accept_chunk(item);
    if (status.is_ok()) {
      answer.outcome.obj = std::move(item.obj);
    } else {
      answer.outcome.status = std::move(status);
      answer.is_fault = true;
    }
  } else if (outcome == KVFERRY_NO && kind == PluginCall::kPut) {
    answer.outcome.status = Status(StatusCode::kInternal, "answers KVFERRY_NO to a put");
    answer.is_fault = true;
  } else if (outcome != KVFERRY_NO) {
    answer.outcome.status = error_of(outcome, message);
  }
  return answer;
}

bool counts_as_failure(const Status& status) {
  return !status.is_ok() && status.code() != StatusCode::kResourceExhausted &&
         status.code() != StatusCode::kCancelled;
}

std::string_view plugin_call_name(PluginCall call) {
  switch (call) {
    case PluginCall::kContains:
      return "contains";
    case PluginCall::kPut:
      return "put";
    case PluginCall::kGet:
      return "get";
    case PluginCall::kRemove:
      return "remove";
    case PluginCall::kPin:
      return "pin";
  }
  return "?";
}

}  // namespace kvferry
