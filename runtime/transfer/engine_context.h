#pragma once

#include <string>

#include "kvferry/executor.h"
#include "kvferry/transfer_engine.h"
#include "runtime/memory/lease_table.h"
#include "runtime/memory/memory_pool.h"

namespace kvferry {

/// What the sessions of one engine share.
///
/// Threads: the control executor, but for `data`, which may be posted to from it.
struct EngineContext {
  TransferEngineOptions options;
  Executor& control;
  Executor& data;
  MemoryPool& staging;
  MemoryPool& landing;
  LeaseTable& leases;
  TransferStats& stats;
  ChunkProvider* provider = nullptr;
  uint64_t next_transfer_id = 1;

  void log(LogLevel level, const std::string& line) const {
    if (options.logger != nullptr && options.logger->enabled(level)) {
      options.logger->log(level, line);
    }
  }
};

}  // namespace kvferry
