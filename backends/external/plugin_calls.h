#pragma once

#include "backends/external/open_items.h"
#include "backends/external/plugin_library.h"

namespace kvferry {

/// Calls the plugin's function for the kind of `items`, which are of one group. What it throws
/// comes back as kInternal.
Status call_plugin(const kvferry_backend_class& table, kvferry_instance* instance,
                   const std::vector<OpenItems::Ptr>& items);

/// Writes the header that goes with a put's payload.
/// Errors: those of encode_chunk_record_header().
Status encode_put_header(OpenItem& item);

/// What a plugin's answer means. `is_fault` is set if no honest plugin answers so.
struct JudgedAnswer {
  ItemOutcome outcome;
  bool is_fault = false;
};

/// Turns the plugin's answer to `item` into what whoever asked gets; checks what a get brought and
/// takes it out of the item. `message` may be null.
JudgedAnswer judge_answer(OpenItem& item, kvferry_outcome outcome, const char* message);

/// Whether `status` says that the plugin does not work, rather than that it may not or is full.
bool counts_as_failure(const Status& status);

std::string_view plugin_call_name(PluginCall call);

/// "5000 ms"
inline std::string milliseconds_text(Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count()) +
         " ms";
}

}  // namespace kvferry
