#include "conformance/backend_contract_cases.h"

// Cases about pins, and about stores that are full.
namespace kvferry {
namespace {

constexpr PinOwner kAlice = 11;
constexpr PinOwner kBob = 12;

Status expect_pin(BackendRig& rig, int number, PinOwner owner, PinOp op, bool expected,
                  const std::string& what) {
  KVFERRY_ASSIGN_OR_RETURN(const bool done, rig.pin(number, owner, op));
  return expect(done == expected, what + (done ? " says it was done" : " says it was not done"));
}

Status expect_remove(BackendRig& rig, int number, bool force, bool expected,
                     const std::string& what) {
  KVFERRY_ASSIGN_OR_RETURN(const auto removed, rig.remove({number}, force));
  KVFERRY_RETURN_IF_ERROR(
      expect(removed[0] == expected,
             what + (removed[0] ? " says the chunk was removed" : " says nothing was removed")));
  return expected ? rig.expect_missing({number}) : rig.expect_held({number});
}

Status pinned_is_not_removed_but_by_force(BackendRig& rig) {
  KVFERRY_RETURN_IF_ERROR(rig.put({1, 2}));
  KVFERRY_RETURN_IF_ERROR(
      expect_pin(rig, 1, kAlice, PinOp::kPin, true, "pinning a chunk that is held"));
  KVFERRY_RETURN_IF_ERROR(expect_remove(rig, 1, false, false, "a remove of a pinned chunk"));
  KVFERRY_RETURN_IF_ERROR(
      expect_pin(rig, 1, kAlice, PinOp::kUnpin, true, "unpinning a pinned chunk"));
  KVFERRY_RETURN_IF_ERROR(expect_remove(rig, 1, false, true, "a remove of a chunk unpinned again"));
  KVFERRY_RETURN_IF_ERROR(
      expect_pin(rig, 2, kAlice, PinOp::kPin, true, "pinning a chunk that is held"));
  return expect_remove(rig, 2, true, true, "a forced remove of a pinned chunk");
}

Status pins_are_counted_per_owner(BackendRig& rig) {
  KVFERRY_RETURN_IF_ERROR(rig.put({1}));
  KVFERRY_RETURN_IF_ERROR(expect_pin(rig, 1, kAlice, PinOp::kPin, true, "Alice's pin"));
  KVFERRY_RETURN_IF_ERROR(expect_pin(rig, 1, kAlice, PinOp::kPin, true, "Alice's second pin"));
  KVFERRY_RETURN_IF_ERROR(expect_pin(rig, 1, kBob, PinOp::kPin, true, "Bob's pin"));
  KVFERRY_RETURN_IF_ERROR(expect_pin(rig, 1, kBob, PinOp::kUnpin, true, "Bob's unpin"));
  KVFERRY_RETURN_IF_ERROR(
      expect_pin(rig, 1, kBob, PinOp::kUnpin, false, "an unpin of Bob's that he has no pin for"));
  KVFERRY_RETURN_IF_ERROR(expect_pin(rig, 1, kAlice, PinOp::kUnpin, true, "Alice's unpin"));
  KVFERRY_RETURN_IF_ERROR(
      expect_remove(rig, 1, false, false, "a remove while Alice has one of two pins left"));
  KVFERRY_RETURN_IF_ERROR(expect_pin(rig, 1, kAlice, PinOp::kUnpin, true, "Alice's last unpin"));
  KVFERRY_RETURN_IF_ERROR(
      expect_pin(rig, 1, kAlice, PinOp::kUnpin, false, "an unpin after Alice's last"));
  return expect_remove(rig, 1, false, true, "a remove after all pins have ended");
}

Status forced_removal_ends_pins(BackendRig& rig) {
  KVFERRY_RETURN_IF_ERROR(rig.put({1}));
  KVFERRY_RETURN_IF_ERROR(expect_pin(rig, 1, kAlice, PinOp::kPin, true, "a pin"));
  KVFERRY_RETURN_IF_ERROR(expect_remove(rig, 1, true, true, "a forced remove"));
  KVFERRY_RETURN_IF_ERROR(
      expect_pin(rig, 1, kAlice, PinOp::kUnpin, false, "unpinning what was removed by force"));
  KVFERRY_RETURN_IF_ERROR(
      expect_pin(rig, 1, kAlice, PinOp::kPin, false, "pinning what is not held"));
  KVFERRY_RETURN_IF_ERROR(rig.put({1}));
  return expect_remove(rig, 1, false, true, "a remove of a chunk whose forerunner was pinned");
}

Status contains_pins_the_prefix_only(BackendRig& rig) {
  KVFERRY_RETURN_IF_ERROR(rig.put({1, 2, 4}));
  const size_t prefix = rig.backend().batched_contains(contract_keys({1, 2, 3, 4}), true);
  KVFERRY_RETURN_IF_ERROR(expect(
      prefix == 2, "batched_contains with pins says " + std::to_string(prefix) + " instead of 2"));
  KVFERRY_RETURN_IF_ERROR(
      expect_remove(rig, 2, false, false, "a remove of a chunk that batched_contains pinned"));
  // Unpinned by the way, so perhaps a moment later: another call on the key comes after it.
  rig.backend().unpin(contract_key(4));
  KVFERRY_RETURN_IF_ERROR(
      expect_remove(rig, 4, false, true, "a remove of a chunk past the gap that was asked for"));
  KVFERRY_RETURN_IF_ERROR(
      expect(rig.backend().unpin(contract_key(2)), "unpin() after batched_contains says no"));
  return expect_remove(rig, 2, false, true, "a remove after that pin has ended");
}

Status unpinnable_says_so(BackendRig& rig) {
  KVFERRY_RETURN_IF_ERROR(rig.put({1}));
  const std::string what = " on a backend that does not pin";
  KVFERRY_RETURN_IF_ERROR(expect_pin(rig, 1, kAlice, PinOp::kPin, false, "a pin" + what));
  KVFERRY_RETURN_IF_ERROR(expect_pin(rig, 1, kAlice, PinOp::kUnpin, false, "an unpin" + what));
  const bool is_held = rig.backend().contains(contract_key(1), true);
  return expect(is_held == rig.backend().traits().retains,
                "contains with a pin must say what is there" + what);
}

// ---- full stores

Status expect_within(BackendRig& rig) {
  const BackendUsage usage = rig.backend().usage();
  return expect(usage.bytes <= rig.capacity_bytes(),
                "the store holds " + std::to_string(usage.bytes) + " bytes, but is bounded to " +
                    std::to_string(rig.capacity_bytes()));
}

/// Puts twice what the store holds. The number of the first chunk that it did not need.
Result<int> overfill(BackendRig& rig, int first) {
  size_t put_bytes = 0;
  int next = first;
  while (put_bytes < 2 * rig.capacity_bytes()) {
    const std::vector<int> numbers = numbers_from(next, 8);
    KVFERRY_RETURN_IF_ERROR(rig.put(numbers));
    KVFERRY_RETURN_IF_ERROR(expect_within(rig));
    KVFERRY_RETURN_IF_ERROR(
        rig.expect_held({numbers.back()}).with_context("the newest chunk of a full store"));
    for (const int number : numbers) put_bytes += contract_chunk_bytes(number);
    next += 8;
  }
  return next;
}

Status full_store_forgets_and_stays_right(BackendRig& rig) {
  KVFERRY_ASSIGN_OR_RETURN(const int end, overfill(rig, 0));
  int num_held = 0;
  for (int number = 0; number < end; ++number) {
    KVFERRY_ASSIGN_OR_RETURN(const auto objs, rig.get({number}));
    if (!objs[0]) continue;
    ++num_held;
    KVFERRY_RETURN_IF_ERROR(expect_chunk(make_contract_chunk(number), *objs[0]));
  }
  KVFERRY_RETURN_IF_ERROR(expect(num_held < end,
                                 "a store that was given twice what it holds "
                                 "still has all of it"));
  KVFERRY_RETURN_IF_ERROR(expect(rig.backend().usage().evicted_entries > 0,
                                 "usage() counts no evictions though chunks went for room"));
  return expect_within(rig);
}

Status pinned_stays_in_a_full_store(BackendRig& rig) {
  if (!rig.backend().traits().pins) return {};
  KVFERRY_RETURN_IF_ERROR(rig.put({1, 2, 3}));
  KVFERRY_RETURN_IF_ERROR(expect_pin(rig, 2, kAlice, PinOp::kPin, true, "a pin"));
  KVFERRY_RETURN_IF_ERROR(error_of(overfill(rig, 8)));
  KVFERRY_RETURN_IF_ERROR(rig.expect_held({2}).with_context("pinned in a full store"));
  KVFERRY_RETURN_IF_ERROR(expect(rig.backend().usage().pinned_entries == 1,
                                 "usage() does not count the one pinned chunk"));
  return expect_pin(rig, 2, kAlice, PinOp::kUnpin, true, "an unpin");
}

}  // namespace

std::vector<BackendContractCase> backend_pin_cases() {
  return {
      rig_case("PinnedIsNotRemovedButByForce", ContractPart::kPins,
               pinned_is_not_removed_but_by_force),
      rig_case("PinsAreCountedPerOwner", ContractPart::kPins, pins_are_counted_per_owner),
      rig_case("ForcedRemovalEndsPins", ContractPart::kPins, forced_removal_ends_pins),
      rig_case("ContainsPinsThePrefixOnly", ContractPart::kPins, contains_pins_the_prefix_only),
      rig_case("UnpinnableSaysSo", ContractPart::kPinsNot, unpinnable_says_so),
  };
}

std::vector<BackendContractCase> backend_capacity_cases() {
  return {
      rig_case("FullStoreForgetsAndStaysRight", ContractPart::kCapacity,
               full_store_forgets_and_stays_right),
      rig_case("PinnedStaysInAFullStore", ContractPart::kCapacity, pinned_stays_in_a_full_store),
  };
}

}  // namespace kvferry
