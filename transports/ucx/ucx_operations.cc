#include "transports/ucx/ucx_operations.h"

#include <utility>

namespace kvferry {
namespace {

constexpr size_t kMaxSpareOperations = 256;

}  // namespace

UcxOperation& UcxOperations::open(LinkCompletion completion) {
  std::unique_ptr<UcxOperation> operation;
  if (spare_.empty()) {
    operation = std::make_unique<UcxOperation>();
    operation->table = this;
  } else {
    operation = std::move(spare_.back());
    spare_.pop_back();
  }
  operation->completion = std::move(completion);
  UcxOperation* const key = operation.get();
  return *open_.emplace(key, std::move(operation)).first->second;
}

void UcxOperations::mark_in_ucx(UcxOperation& operation, bool is_receive) {
  operation.in_ucx = true;
  operation.is_receive = is_receive;
  ++(is_receive ? receives_in_ucx_ : sends_in_ucx_);
}

void UcxOperations::finish(UcxOperation& operation, Status outcome) {
  const auto found = open_.find(&operation);
  if (found == open_.end()) return;  // finished already
  if (std::exchange(operation.in_ucx, false)) {
    --(operation.is_receive ? receives_in_ucx_ : sends_in_ucx_);
  }
  operation.outcome = std::move(outcome);
  finished_.push_back(std::move(found->second));
  open_.erase(found);
}

void UcxOperations::finish_all(const Status& outcome) {
  for (const auto& operation : finished_) operation->request.forget();
  while (!open_.empty()) {
    UcxOperation& operation = *open_.begin()->second;
    operation.request.forget();
    finish(operation, outcome);
  }
}

Status UcxOperations::take_finished(LinkCompletion& completion) {
  std::unique_ptr<UcxOperation> operation = std::move(finished_.front());
  finished_.pop_front();
  completion = std::exchange(operation->completion, nullptr);
  Status outcome = std::exchange(operation->outcome, Status());
  operation->request = UcxRequest();
  operation->source = {};
  operation->header.clear();
  if (spare_.size() < kMaxSpareOperations) spare_.push_back(std::move(operation));
  return outcome;
}

}  // namespace kvferry
