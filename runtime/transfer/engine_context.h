#pragma once

#include <functional>
#include <string>

#include "core/printable.h"
#include "kvferry/executor.h"
#include "kvferry/peer_exchange.h"
#include "kvferry/transfer_engine.h"
#include "runtime/control/process_view.h"
#include "runtime/memory/lease_table.h"
#include "runtime/memory/memory_pool.h"
#include "runtime/telemetry/flight_recorder.h"
#include "runtime/transfer/page_copiers.h"

namespace kvferry {

// A reason, a key and a name at their longest fit.
inline constexpr size_t kMaxLogLineBytes = 8192;

/// What the sessions of one engine share.
///
/// Threads: the control executor, but for `data`, which may be posted to from it.
struct EngineContext {
  TransferEngineOptions options;
  Executor& control;
  Executor& data;
  ProcessView& processes;
  PageCopiers& copiers;
  MemoryPool& staging;
  MemoryPool& landing;
  LeaseTable& leases;
  TransferStats& stats;
  FlightRecorder& recorder;
  /// Lets every session use free slots, in turn, soon. Sessions never help themselves: one with
  /// much to do would leave nothing to the others.
  std::function<void()> pump_soon;
  ChunkProvider* provider = nullptr;
  PeerStore* store = nullptr;  ///< what is shared of memory, if anything is
  uint64_t next_transfer_id = 1;
  FetchId next_object_fetch_id = FetchId{1} << 63;  ///< apart from those that callers are given

  /// The one way into the log. A line may quote what a peer wrote (names, reasons): it stays one
  /// line of plain text, of bounded length.
  void log(LogLevel level, const std::string& line) const {
    if (options.logger != nullptr && options.logger->enabled(level)) {
      options.logger->log(level, detail::printable(line, kMaxLogLineBytes));
    }
  }
};

}  // namespace kvferry
