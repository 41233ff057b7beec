#include <algorithm>

#include "conformance/backend_contract_cases.h"

// Cases about what a put makes visible, and what a remove takes away.
namespace kvferry {
namespace {

Status each_shape_comes_back(BackendRig& rig) {
  for (const int number : numbers_from(0, 8)) {
    KVFERRY_RETURN_IF_ERROR(rig.expect_missing({number}));
    KVFERRY_RETURN_IF_ERROR(rig.put({number}));
    KVFERRY_RETURN_IF_ERROR(rig.expect_held({number}));
  }
  return rig.expect_held(numbers_from(0, 8));
}

Status batches_of_any_size(BackendRig& rig) {
  int first = 0;
  for (const int size : {0, 1, 2, 64}) {
    const std::vector<int> numbers = numbers_from(first, size);
    first += size;
    KVFERRY_RETURN_IF_ERROR(rig.expect_missing(numbers).with_context("before the put"));
    KVFERRY_RETURN_IF_ERROR(rig.put(numbers));
    KVFERRY_RETURN_IF_ERROR(rig.expect_held(numbers));
    KVFERRY_ASSIGN_OR_RETURN(const std::vector<bool> removed, rig.remove(numbers, true));
    for (size_t i = 0; i < removed.size(); ++i) {
      KVFERRY_RETURN_IF_ERROR(expect(removed[i], "removing chunk " + std::to_string(numbers[i]) +
                                                     ", which is there, says it was not"));
    }
    KVFERRY_RETURN_IF_ERROR(rig.expect_missing(numbers).with_context("after the remove"));
  }
  return {};
}

Status every_item_ends_once(BackendRig& rig) {
  for (const int size : {0, 1, 64}) {
    const std::vector<int> numbers = numbers_from(0, size);
    KVFERRY_RETURN_IF_ERROR(rig.put(numbers));
    KVFERRY_RETURN_IF_ERROR(error_of(rig.contains(numbers)));
    KVFERRY_RETURN_IF_ERROR(error_of(rig.get(numbers)));
    const GetOptions prefetch = {.intent = GetIntent::kPrefetch, .deadline = TimePoint::max()};
    KVFERRY_RETURN_IF_ERROR(error_of(rig.begin_get(numbers, prefetch).wait(rig.limit())));
    for (const PinOp op : {PinOp::kPin, PinOp::kUnpin}) {
      BatchEnds<Result<bool>> ends(op == PinOp::kPin ? "pin" : "unpin", numbers.size());
      rig.backend().submit_pin(contract_keys(numbers), 1, op, ends.done());
      KVFERRY_RETURN_IF_ERROR(error_of(ends.wait(rig.limit())));
    }
    KVFERRY_RETURN_IF_ERROR(error_of(rig.remove(numbers, false)));
  }
  return {};
}

// The outcome of a double key is either version, whole.
Status double_keys_in_one_put(BackendRig& rig) {
  const std::vector<int> numbers = {3, 4, 3, 3, 5};
  std::vector<MemoryObjPtr> objs;
  for (size_t i = 0; i < numbers.size(); ++i) {
    KVFERRY_ASSIGN_OR_RETURN(MemoryObjPtr obj, rig.make_object(numbers[i], static_cast<int>(i)));
    objs.push_back(std::move(obj));
  }
  BatchEnds<Status> ends("put", numbers.size());
  rig.backend().submit_put(contract_keys(numbers), objs, {}, ends.done());
  objs.clear();
  KVFERRY_ASSIGN_OR_RETURN(const auto statuses, ends.wait(rig.limit()));
  for (const Status& status : statuses) {
    KVFERRY_RETURN_IF_ERROR(
        expect(status.is_ok(), "a put with one key several times ended " + status.to_string()));
  }
  KVFERRY_ASSIGN_OR_RETURN(const auto found, rig.get({3, 4, 5}));
  for (const MemoryObjPtr& obj : found) {
    KVFERRY_RETURN_IF_ERROR(expect(static_cast<bool>(obj), "a chunk of that put is missing"));
  }
  KVFERRY_RETURN_IF_ERROR(expect_chunk(make_contract_chunk(4, 1), *found[1]));
  KVFERRY_RETURN_IF_ERROR(expect_chunk(make_contract_chunk(5, 4), *found[2]));
  const int version = version_in(*found[0]);
  KVFERRY_RETURN_IF_ERROR(expect(version == 0 || version == 2 || version == 3,
                                 "a chunk put three times at once is none of the three"));
  return expect_chunk(make_contract_chunk(3, version), *found[0]);
}

Status overwriting_gives_the_new_chunk(BackendRig& rig) {
  const std::vector<int> numbers = numbers_from(0, 9);
  for (const int version : {0, 1, 2, 3}) {
    KVFERRY_RETURN_IF_ERROR(rig.put(numbers, version));
    KVFERRY_RETURN_IF_ERROR(rig.expect_held(numbers, version));
  }
  return {};
}

Status remove_answers(BackendRig& rig) {
  for (const bool force : {false, true}) {
    const std::string how = force ? "a forced remove" : "a remove";
    KVFERRY_RETURN_IF_ERROR(rig.put({1, 2}));
    KVFERRY_ASSIGN_OR_RETURN(const auto removed, rig.remove({1, 7, 2}, force));
    KVFERRY_RETURN_IF_ERROR(
        expect(removed[0] && removed[2], how + " of a chunk that is there says it was not"));
    KVFERRY_RETURN_IF_ERROR(
        expect(!removed[1], how + " of a chunk that was never there says it was"));
    KVFERRY_ASSIGN_OR_RETURN(const auto again, rig.remove({1}, force));
    KVFERRY_RETURN_IF_ERROR(
        expect(!again[0], how + " of a chunk that was removed before says it was there"));
    KVFERRY_RETURN_IF_ERROR(rig.expect_missing({1, 2}));
  }
  KVFERRY_RETURN_IF_ERROR(rig.put({1}, 1));
  return rig.expect_held({1}, 1).with_context("put again after a remove");
}

Status batched_remove_counts(BackendRig& rig) {
  KVFERRY_RETURN_IF_ERROR(rig.put({1, 2, 3}));
  const int64_t removed = rig.backend().batched_remove(contract_keys({9, 1, 3, 8}));
  KVFERRY_RETURN_IF_ERROR(
      expect(removed == 2, "batched_remove of two held chunks counted " + std::to_string(removed)));
  KVFERRY_RETURN_IF_ERROR(
      expect(!rig.backend().remove(contract_key(1)), "remove() found a chunk removed before"));
  KVFERRY_RETURN_IF_ERROR(
      expect(rig.backend().remove(contract_key(2)), "remove() did not find a chunk that is there"));
  return rig.expect_missing({1, 2, 3});
}

// What still reads an object after its put ended finds poison.
Status source_is_free_once_put(BackendRig& rig) {
  const bool is_memory = rig.backend().traits().is_memory;
  for (int round = 0; round < 4; ++round) {
    const std::vector<int> numbers = numbers_from(round * 8, 8);
    KVFERRY_RETURN_IF_ERROR(rig.put(numbers));
    if (is_memory) continue;
    const bool came_back =
        rig.allocator().wait_until_used(0, std::chrono::steady_clock::now() + rig.limit());
    KVFERRY_RETURN_IF_ERROR(expect(came_back, std::to_string(rig.allocator().used()) +
                                                  " objects were kept after their puts had ended"));
  }
  if (!rig.backend().traits().retains) return {};
  return rig.expect_held(numbers_from(0, 32));
}

Status put_tasks_end(BackendRig& rig) {
  const std::vector<int> numbers = numbers_from(0, 8);
  KVFERRY_RETURN_IF_ERROR(rig.put(numbers));
  for (const int number : numbers) {
    KVFERRY_RETURN_IF_ERROR(expect(!rig.backend().exists_in_put_tasks(contract_key(number)),
                                   "exists_in_put_tasks says yes after the put has ended"));
  }
  return {};
}

Status batched_submit_put_task_calls_back(BackendRig& rig) {
  const std::vector<int> numbers = numbers_from(0, 4);
  std::vector<MemoryObjPtr> objs;
  for (const int number : numbers) {
    KVFERRY_ASSIGN_OR_RETURN(MemoryObjPtr obj, rig.make_object(number));
    objs.push_back(std::move(obj));
  }
  BatchEnds<Status> ends("batched_submit_put_task", numbers.size());
  rig.backend().batched_submit_put_task(contract_keys(numbers), objs, {},
                                        [done = ends.done(), keys = contract_keys(numbers)](
                                            const CacheEngineKey& key, Status status) {
                                          const auto found = std::ranges::find(keys, key);
                                          done(static_cast<size_t>(found - keys.begin()),
                                               std::move(status));
                                        });
  objs.clear();
  KVFERRY_ASSIGN_OR_RETURN(const auto statuses, ends.wait(rig.limit()));
  for (const Status& status : statuses) {
    KVFERRY_RETURN_IF_ERROR(
        expect(status.is_ok(), "batched_submit_put_task ended " + status.to_string()));
  }
  return rig.backend().traits().retains ? rig.expect_held(numbers) : Status();
}

Status holds_nothing(BackendRig& rig) {
  const std::vector<int> numbers = numbers_from(0, 8);
  KVFERRY_RETURN_IF_ERROR(rig.put(numbers));
  return rig.expect_missing(numbers).with_context("after a put into what retains nothing");
}

Status reopened_store_holds_what_was_put(BackendRig& rig) {
  const std::vector<int> numbers = numbers_from(0, 24);
  KVFERRY_RETURN_IF_ERROR(rig.put(numbers));
  KVFERRY_RETURN_IF_ERROR(rig.put({2, 3}, 1));
  KVFERRY_ASSIGN_OR_RETURN(const auto removed, rig.remove({4}, true));
  KVFERRY_RETURN_IF_ERROR(expect(removed[0], "removing a chunk that is there says it was not"));
  KVFERRY_RETURN_IF_ERROR(rig.reopen());
  const size_t prefix = rig.backend().batched_contains(contract_keys({0, 1, 2, 3, 5, 6}));
  KVFERRY_RETURN_IF_ERROR(
      expect(prefix == 6, "of six chunks that were put, batched_contains finds " +
                              std::to_string(prefix) + " after a reopening"));
  KVFERRY_RETURN_IF_ERROR(rig.expect_held({0, 1}));
  KVFERRY_RETURN_IF_ERROR(rig.expect_held({2, 3}, 1));
  KVFERRY_RETURN_IF_ERROR(rig.expect_held(numbers_from(5, 19)));
  KVFERRY_RETURN_IF_ERROR(rig.expect_missing({4}).with_context("removed before the reopening"));
  KVFERRY_RETURN_IF_ERROR(rig.put({0, 4}, 2));
  KVFERRY_RETURN_IF_ERROR(rig.reopen());
  return rig.expect_held({0, 4}, 2);
}

}  // namespace

std::vector<BackendContractCase> backend_put_cases() {
  return {
      rig_case("EachShapeComesBack", ContractPart::kRetains, each_shape_comes_back),
      rig_case("BatchesOfAnySize", ContractPart::kRetains, batches_of_any_size),
      rig_case("EveryItemEndsOnce", ContractPart::kAll, every_item_ends_once),
      rig_case("DoubleKeysInOnePut", ContractPart::kRetains, double_keys_in_one_put),
      rig_case("OverwritingGivesTheNewChunk", ContractPart::kRetains,
               overwriting_gives_the_new_chunk),
      rig_case("RemoveAnswers", ContractPart::kRetains, remove_answers),
      rig_case("BatchedRemoveCounts", ContractPart::kRetains, batched_remove_counts),
      rig_case("SourceIsFreeOncePut", ContractPart::kAll, source_is_free_once_put),
      rig_case("PutTasksEnd", ContractPart::kAll, put_tasks_end),
      rig_case("BatchedSubmitPutTaskCallsBack", ContractPart::kAll,
               batched_submit_put_task_calls_back),
      rig_case("HoldsNothing", ContractPart::kRetainsNot, holds_nothing),
      rig_case("ReopenedStoreHoldsWhatWasPut", ContractPart::kPersists,
               reopened_store_holds_what_was_put),
  };
}

}  // namespace kvferry
