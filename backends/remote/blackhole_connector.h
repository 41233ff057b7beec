#pragma once

#include "backends/remote/remote_connector.h"

namespace kvferry {

/// Accepts and forgets: what a remote store costs the rest.
class BlackholeConnector final : public RemoteConnector {
 public:
  void exists(std::span<const CacheEngineKey> keys, ContainsDone done) override {
    for (size_t i = 0; i < keys.size(); ++i) done(i, false);
  }
  void put(std::span<const CacheEngineKey> keys, std::span<const MemoryObjPtr> /*objs*/,
           PutDone done) override {
    for (size_t i = 0; i < keys.size(); ++i) done(i, {});
  }
  void get(std::span<const CacheEngineKey> keys, const GetOptions& /*options*/,
           GetDone done) override {
    for (size_t i = 0; i < keys.size(); ++i) done(i, MemoryObjPtr());
  }
  void remove(std::span<const CacheEngineKey> keys, RemoveDone done) override {
    for (size_t i = 0; i < keys.size(); ++i) done(i, false);
  }
  void close(std::function<void()> on_closed) override { on_closed(); }
};

}  // namespace kvferry
