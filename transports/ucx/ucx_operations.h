#pragma once

#include <ucs/memory/memory_type.h>

#include <cstddef>
#include <deque>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "kvferry/transport.h"
#include "transports/ucx/ucx_handles.h"

namespace kvferry {

class UcxOperations;

/// One send or receive that its completion is still owed for.
struct UcxOperation {
  UcxOperations* table = nullptr;
  LinkCompletion completion;
  std::vector<std::byte> header;  // UCX reads it until the send is done
  std::span<const std::byte> source;
  ucs_memory_type_t memory_type = UCS_MEMORY_TYPE_HOST;  // of source
  UcxRequest request;
  Status outcome;
  bool in_ucx = false;  // given to UCX, which has not called back yet
  bool is_receive = false;
};

/// The open operations of a link. UCX's callbacks only mark an operation as finished; its
/// completion is called later, outside UCX, where it may do as it likes.
///
/// Threads: the link's executor only
class UcxOperations {
 public:
  UcxOperation& open(LinkCompletion completion);
  void finish(UcxOperation& operation, Status outcome);
  /// Finishes everything open; for after the worker's end, with which requests are gone.
  void finish_all(const Status& outcome);

  /// Calls the completions of what has finished, also of what finishes meanwhile. False: none.
  /// `final_status` turns an outcome into what the caller hears.
  template <typename F>
  bool deliver(F&& final_status) {
    bool any = false;
    while (!finished_.empty()) {
      LinkCompletion completion;
      Status outcome = take_finished(completion);
      if (completion) completion(final_status(std::move(outcome)));
      any = true;
    }
    return any;
  }

  bool has_finished() const { return !finished_.empty(); }
  void mark_in_ucx(UcxOperation& operation, bool is_receive);
  /// How many UCX still works on.
  size_t sends_in_ucx() const { return sends_in_ucx_; }
  size_t receives_in_ucx() const { return receives_in_ucx_; }

 private:
  Status take_finished(LinkCompletion& completion);

  std::unordered_map<UcxOperation*, std::unique_ptr<UcxOperation>> open_;
  std::deque<std::unique_ptr<UcxOperation>> finished_;
  std::vector<std::unique_ptr<UcxOperation>> spare_;  // keeps their headers' memory
  size_t sends_in_ucx_ = 0;
  size_t receives_in_ucx_ = 0;
};

}  // namespace kvferry
