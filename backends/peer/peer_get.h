#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backends/peer/factory.h"

namespace kvferry {

/// One batch of gets: from the first peer all of it, from the next one what that did not give.
///
/// Threads: any one at a time; it keeps itself alive.
class PeerGet : public std::enable_shared_from_this<PeerGet> {
 public:
  /// What `context` points to, and the rest, is borrowed until the last item has ended.
  PeerGet(const BackendContext& context, PeerExchange& exchange,
          const std::vector<PeerAddress>& peers, const GetOptions& options, GetDone done);

  void start(std::span<const CacheEngineKey> keys);

 private:
  struct Item {
    size_t index = 0;  ///< in the batch
    CacheEngineKey key;
    bool was_answered = false;  ///< a peer said that it does not hold it
    Status fault;               ///< the first that was more than a peer's absence
  };

  void ask_next();
  void on_given(Item item, Result<MemoryObjPtr> obj);
  /// What is said of an item that no peer gave.
  Result<MemoryObjPtr> outcome_of(const Item& item) const;
  void note_loss(const Status& status) const;

  const BackendContext& context_;
  PeerExchange& exchange_;
  const std::vector<PeerAddress>& peers_;
  const GetOptions options_;
  const GetDone done_;
  size_t next_peer_ = 0;
  size_t num_open_ = 0;
  std::vector<Item> wanted_;  // of the next peer
};

}  // namespace kvferry
