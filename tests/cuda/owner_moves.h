#pragma once

#include <gtest/gtest.h>

#include <type_traits>
#include <utility>

namespace kvferry::test {

/// What every owner of a handle does when moved: the handle goes along, once, and what was moved
/// from can be moved, filled again and destroyed. `look(owner)` is null without one.
template <typename Owner>
void expect_moves(Owner first, Owner second,
                  const void* (*look)(const std::type_identity_t<Owner>&)) {
  const auto volatile handle_of = look;  // clang's analyzer would complain of each moved-from owner
  static_assert(!std::is_copy_constructible_v<Owner> && !std::is_copy_assignable_v<Owner>);
  static_assert(std::is_nothrow_move_constructible_v<Owner> &&
                std::is_nothrow_move_assignable_v<Owner>);
  const void* const handle = handle_of(first);
  ASSERT_NE(handle, nullptr);
  Owner third = std::move(first);
  EXPECT_EQ(handle_of(third), handle);
  EXPECT_EQ(handle_of(first), nullptr);  // NOLINT(bugprone-use-after-move)
  Owner& alias = third;
  third = std::move(alias);
  EXPECT_EQ(handle_of(third), handle);
  second = std::move(third);  // gives back its own
  EXPECT_EQ(handle_of(second), handle);
  third = std::move(first);  // NOLINT(clang-analyzer-cplusplus.Move)
  EXPECT_EQ(handle_of(third), nullptr);
  first = std::move(second);
  EXPECT_EQ(handle_of(first), handle);
}

}  // namespace kvferry::test
