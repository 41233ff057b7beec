#include <algorithm>
#include <chrono>
#include <future>

#include "conformance/backend_contract_cases.h"

// Cases about what gets and contains give, and where they put it.
namespace kvferry {
namespace {

TimePoint now() { return std::chrono::steady_clock::now(); }

Status contains_gives_the_longest_prefix(BackendRig& rig) {
  struct Row {
    std::vector<int> asked;
    size_t expected;
  };
  KVFERRY_RETURN_IF_ERROR(rig.put({0, 1, 2, 4, 5}));
  const std::vector<Row> rows = {{{0, 1, 2, 3, 4, 5}, 3}, {{4, 5}, 2}, {{3, 0}, 0},
                                 {{0, 0, 1, 1, 9}, 4},    {{}, 0},     {{5}, 1}};
  for (const Row& row : rows) {
    const size_t prefix = rig.backend().batched_contains(contract_keys(row.asked));
    KVFERRY_RETURN_IF_ERROR(
        expect(prefix == row.expected, "of " + std::to_string(row.asked.size()) +
                                           " chunks the first " + std::to_string(row.expected) +
                                           " are held, but batched_contains says " +
                                           std::to_string(prefix)));
  }
  KVFERRY_RETURN_IF_ERROR(expect(rig.backend().contains(contract_key(4)), "contains(4) says no"));
  return expect(!rig.backend().contains(contract_key(3)), "contains(3) says yes");
}

Status hits_and_misses_in_one_get(BackendRig& rig) {
  KVFERRY_RETURN_IF_ERROR(rig.put(numbers_from(0, 16)));
  std::vector<int> asked;
  asked.reserve(64);
  for (int i = 0; i < 64; ++i) asked.push_back((i * 7) % 32);  // each twice; half are not there
  KVFERRY_ASSIGN_OR_RETURN(const auto objs, rig.get(asked));
  for (size_t i = 0; i < asked.size(); ++i) {
    const std::string name = "chunk " + std::to_string(asked[i]);
    if (asked[i] >= 16) {
      KVFERRY_RETURN_IF_ERROR(expect(!objs[i], name + " was never put, but a get gives something"));
      continue;
    }
    KVFERRY_RETURN_IF_ERROR(expect(static_cast<bool>(objs[i]), name + " is missed by a batch"));
    KVFERRY_RETURN_IF_ERROR(expect_chunk(make_contract_chunk(asked[i]), *objs[i]));
  }
  return {};
}

Status unknown_keys_are_misses(BackendRig& rig) {
  KVFERRY_RETURN_IF_ERROR(rig.expect_missing(numbers_from(0, 8)));
  KVFERRY_RETURN_IF_ERROR(
      expect(!rig.backend().get_blocking(contract_key(1)), "get_blocking gives an unknown chunk"));
  for (const MemoryObjPtr& obj : rig.backend().batched_get_blocking(contract_keys({1, 2}))) {
    KVFERRY_RETURN_IF_ERROR(expect(!obj, "batched_get_blocking gives an unknown chunk"));
  }
  const BackendStats stats = rig.backend().stats();
  return expect(stats.get_failures == 0,
                std::to_string(stats.get_failures) + " misses were counted as failures");
}

Status blocking_gets_give_the_chunk(BackendRig& rig) {
  KVFERRY_RETURN_IF_ERROR(rig.put({0, 1, 3}));
  const MemoryObjPtr one = rig.backend().get_blocking(contract_key(3));
  KVFERRY_RETURN_IF_ERROR(expect(static_cast<bool>(one), "get_blocking misses a chunk"));
  KVFERRY_RETURN_IF_ERROR(expect_chunk(make_contract_chunk(3), *one));
  const auto objs = rig.backend().batched_get_blocking(contract_keys({0, 1, 2, 3}));
  KVFERRY_RETURN_IF_ERROR(expect(objs[0] && objs[1] && !objs[2] && objs[3],
                                 "batched_get_blocking does not give the three chunks of four"));
  KVFERRY_RETURN_IF_ERROR(expect_chunk(make_contract_chunk(1), *objs[1]));
  auto future = rig.backend().get_non_blocking(contract_key(1));
  KVFERRY_RETURN_IF_ERROR(expect(future.wait_for(rig.limit()) == std::future_status::ready,
                                 "the future of get_non_blocking does not become ready"));
  const MemoryObjPtr later = future.get();
  KVFERRY_RETURN_IF_ERROR(expect(static_cast<bool>(later), "get_non_blocking misses a chunk"));
  return expect_chunk(make_contract_chunk(1), *later);
}

Status non_blocking_miss_is_null(BackendRig& rig) {
  auto future = rig.backend().get_non_blocking(contract_key(1));
  KVFERRY_RETURN_IF_ERROR(expect(future.wait_for(rig.limit()) == std::future_status::ready,
                                 "the future of get_non_blocking does not become ready"));
  return expect(!future.get(), "get_non_blocking gives an unknown chunk");
}

Status prefetch_reaches_the_handler(BackendRig& rig) {
  using Found = std::pair<CacheEngineKey, MemoryObjPtr>;
  auto found = std::make_shared<std::promise<Found>>();
  auto calls = std::make_shared<std::atomic<int>>(0);
  rig.backend().set_prefetch_handler([found, calls](const CacheEngineKey& key, MemoryObjPtr obj) {
    if (calls->fetch_add(1) == 0) found->set_value({key, std::move(obj)});
  });
  KVFERRY_RETURN_IF_ERROR(rig.put({2}));
  KVFERRY_RETURN_IF_ERROR(expect(rig.backend().submit_prefetch_task(contract_key(2)),
                                 "submit_prefetch_task says that nothing is under way"));
  auto future = found->get_future();
  KVFERRY_RETURN_IF_ERROR(expect(future.wait_for(rig.limit()) == std::future_status::ready,
                                 "what a prefetch found did not reach the handler"));
  const Found what = future.get();
  KVFERRY_RETURN_IF_ERROR(
      expect(what.first == contract_key(2), "the handler was given another key than was asked"));
  KVFERRY_RETURN_IF_ERROR(expect_chunk(make_contract_chunk(2), *what.second));
  rig.backend().submit_prefetch_task(contract_key(1));
  KVFERRY_RETURN_IF_ERROR(rig.close());  // waits for it
  return expect(calls->load() == 1, "the handler was called for a chunk that is not held");
}

Status objects_are_of_the_allocator(BackendRig& rig) {
  KVFERRY_RETURN_IF_ERROR(rig.put(numbers_from(0, 8)));
  KVFERRY_ASSIGN_OR_RETURN(const auto objs, rig.get(numbers_from(0, 8)));
  for (const MemoryObjPtr& obj : objs) {
    KVFERRY_RETURN_IF_ERROR(expect(static_cast<bool>(obj), "a chunk that was put is missed"));
    KVFERRY_RETURN_IF_ERROR(expect(rig.allocator().owns(*obj),
                                   "a get gives memory that is not of the allocator that "
                                   "the backend's context names"));
  }
  return {};
}

Status exhausted_allocator_is_no_hang(BackendRig& rig) {
  KVFERRY_RETURN_IF_ERROR(rig.put({0, 1}));
  if (!rig.backend().traits().is_memory) {
    // Else what was put comes back to the allocator in mid-test.
    KVFERRY_RETURN_IF_ERROR(
        expect(rig.allocator().wait_until_used(0, std::chrono::steady_clock::now() + rig.limit()),
               "a put that has ended still holds its object"));
  }
  std::vector<MemoryObjPtr> all;
  while (rig.allocator().used() < rig.allocator().num_objects()) {
    Result<MemoryObjPtr> obj = rig.allocator().allocate(1);
    if (!obj) break;
    all.push_back(std::move(*obj));
  }
  KVFERRY_ASSIGN_OR_RETURN(auto ends, rig.begin_get({0, 1}).wait(rig.limit()));
  for (size_t i = 0; i < ends.size(); ++i) {
    if (!ends[i] || !*ends[i]) continue;  // an error or a miss
    KVFERRY_RETURN_IF_ERROR(expect_chunk(make_contract_chunk(static_cast<int>(i)), **ends[i]));
  }
  ends.clear();
  if (rig.backend().traits().is_memory) return {};  // it may have made room
  all.clear();
  return rig.expect_held({0, 1}).with_context("when there is memory again");
}

Status object_is_the_callers(BackendRig& rig) {
  if (rig.backend().traits().is_memory) return {};  // shared, hence not written by anybody
  constexpr std::byte kMine{0x5a};
  KVFERRY_RETURN_IF_ERROR(rig.put(numbers_from(0, 8)));
  for (int round = 0; round < 4; ++round) {
    KVFERRY_ASSIGN_OR_RETURN(const auto objs, rig.get(numbers_from(0, 8)));
    for (const MemoryObjPtr& obj : objs) {
      KVFERRY_RETURN_IF_ERROR(expect(static_cast<bool>(obj), "a chunk that was put is missed"));
      std::ranges::fill(obj->bytes(), kMine);
    }
    // One more there and back: whatever followed the get has been done by then.
    KVFERRY_RETURN_IF_ERROR(rig.expect_held(numbers_from(0, 8)));
    for (const MemoryObjPtr& obj : objs) {
      const bool is_mine =
          std::ranges::all_of(obj->bytes(), [](std::byte byte) { return byte == kMine; });
      KVFERRY_RETURN_IF_ERROR(
          expect(is_mine, "the backend wrote into an object after the get that gave it had ended"));
    }
  }
  return {};
}

Status objects_come_back(BackendRig& rig) {
  if (rig.backend().traits().is_memory) return {};  // it holds what was put
  KVFERRY_RETURN_IF_ERROR(rig.put(numbers_from(0, 8)));
  for (int round = 0; round < 4; ++round) {
    KVFERRY_RETURN_IF_ERROR(error_of(rig.get(numbers_from(0, 12))));
    KVFERRY_RETURN_IF_ERROR(
        expect(rig.allocator().wait_until_used(0, now() + rig.limit()),
               std::to_string(rig.allocator().used()) +
                   " objects of gets did not come back to their allocator when "
                   "the caller had let go of them: the backend keeps references"));
  }
  return {};
}

Status past_deadline_ends_the_get(BackendRig& rig) {
  KVFERRY_RETURN_IF_ERROR(rig.put(numbers_from(0, 8)));
  GetOptions options;
  options.deadline = now() - std::chrono::seconds(1);
  KVFERRY_ASSIGN_OR_RETURN(const auto ends,
                           rig.begin_get(numbers_from(0, 8), options).wait(rig.limit()));
  for (size_t i = 0; i < ends.size(); ++i) {
    if (!ends[i]) {
      KVFERRY_RETURN_IF_ERROR(
          expect(ends[i].error().code() == StatusCode::kDeadlineExceeded,
                 "a get whose deadline has passed ended " + ends[i].error().to_string()));
      continue;
    }
    KVFERRY_RETURN_IF_ERROR(expect(static_cast<bool>(*ends[i]),
                                   "a get whose deadline has passed misses a chunk that is held; "
                                   "it must hit, or end deadline_exceeded"));
    KVFERRY_RETURN_IF_ERROR(expect_chunk(make_contract_chunk(static_cast<int>(i)), **ends[i]));
  }
  return rig.expect_held(numbers_from(0, 8)).with_context("after that");
}

// A completion that starts the next call finds no lock held.
Status completions_may_call_again(BackendRig& rig) {
  KVFERRY_RETURN_IF_ERROR(rig.put({0, 1}));
  BatchEnds<Result<MemoryObjPtr>> last("get begun by a completion", 1);
  BatchEnds<Status> first("put", 1);
  KVFERRY_ASSIGN_OR_RETURN(const MemoryObjPtr obj, rig.make_object(2));
  StorageBackend& backend = rig.backend();
  const PutDone put_done = first.done();
  const GetDone get_done = last.done();
  backend.submit_put(contract_keys({2}), std::span(&obj, 1), {},
                     [&backend, done = put_done, get = get_done](size_t item, Status status) {
                       backend.submit_contains(contract_keys({2}),
                                               [&backend, get](size_t, const Result<bool>&) {
                                                 backend.submit_get(contract_keys({2}), {}, get);
                                               });
                       done(item, std::move(status));
                     });
  KVFERRY_RETURN_IF_ERROR(error_of(first.wait(rig.limit())));
  KVFERRY_ASSIGN_OR_RETURN(const auto found, last.wait(rig.limit()));
  KVFERRY_RETURN_IF_ERROR(expect(found[0] && *found[0], "a get begun by a completion misses"));
  return expect_chunk(make_contract_chunk(2), **found[0]);
}

}  // namespace

std::vector<BackendContractCase> backend_get_cases() {
  return {
      rig_case("ContainsGivesTheLongestPrefix", ContractPart::kRetains,
               contains_gives_the_longest_prefix),
      rig_case("HitsAndMissesInOneGet", ContractPart::kRetains, hits_and_misses_in_one_get),
      rig_case("UnknownKeysAreMisses", ContractPart::kAll, unknown_keys_are_misses),
      rig_case("BlockingGetsGiveTheChunk", ContractPart::kRetains, blocking_gets_give_the_chunk),
      rig_case("NonBlockingMissIsNull", ContractPart::kAll, non_blocking_miss_is_null),
      rig_case("PrefetchReachesTheHandler", ContractPart::kRetains, prefetch_reaches_the_handler),
      rig_case("ObjectsAreOfTheAllocator", ContractPart::kRetains, objects_are_of_the_allocator),
      rig_case("ExhaustedAllocatorIsNoHang", ContractPart::kRetains,
               exhausted_allocator_is_no_hang),
      rig_case("ObjectsComeBack", ContractPart::kRetains, objects_come_back),
      rig_case("ObjectIsTheCallers", ContractPart::kRetains, object_is_the_callers),
      rig_case("PastDeadlineEndsTheGet", ContractPart::kRetains, past_deadline_ends_the_get),
      rig_case("CompletionsMayCallAgain", ContractPart::kRetains, completions_may_call_again),
  };
}

}  // namespace kvferry
