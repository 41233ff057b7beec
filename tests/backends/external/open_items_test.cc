#include "backends/external/open_items.h"

#include <gmock/gmock.h>

#include "core/priority_turns.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using testing::ElementsAre;

/// Items that are told apart by their index.
class OpenItemsOrder : public testing::Test {
 protected:
  void add(PluginCall kind, size_t index, GetIntent intent = GetIntent::kForeground) {
    auto group = std::make_shared<ItemGroup>();
    group->kind = kind;
    group->intent = intent;
    group->deadline = TimePoint::max();
    EXPECT_THAT(items.add(std::move(group), index, CacheEngineKey(), MemoryObjPtr()), IsOk());
  }
  /// Gives one call to the plugin, which answers at once.
  size_t take() {
    const auto batch = items.take(1);
    if (batch.size() != 1) {
      ADD_FAILURE() << batch.size() << " items of one group";
      return 0;
    }
    items.remove_given(batch.front()->id);
    return batch.front()->index;
  }
  std::vector<size_t> take_all() {
    std::vector<size_t> indices;
    while (items.can_take()) indices.push_back(take());
    return indices;
  }

  OpenItems items{PluginLimits{}};
};

TEST_F(OpenItemsOrder, WhatARequestWaitsForOvertakesPrefetchesAndPuts) {
  add(PluginCall::kPut, 0);
  add(PluginCall::kPut, 1);
  add(PluginCall::kGet, 2, GetIntent::kPrefetch);
  add(PluginCall::kGet, 3);
  add(PluginCall::kContains, 4);
  add(PluginCall::kPin, 5);
  EXPECT_THAT(take_all(), ElementsAre(3, 4, 5, 2, 0, 1));
}

TEST_F(OpenItemsOrder, RemovesAndPutsKeepTheirOrder) {
  add(PluginCall::kPut, 0);
  add(PluginCall::kRemove, 1);
  add(PluginCall::kPut, 2);
  EXPECT_THAT(take_all(), ElementsAre(0, 1, 2));
}

TEST_F(OpenItemsOrder, PutsDoNotStarve) {
  constexpr size_t kPut = 1000;
  add(PluginCall::kPut, kPut);
  int gets_before = 0;
  add(PluginCall::kGet, 0);
  while (take() != kPut) {
    add(PluginCall::kGet, 0);
    ASSERT_LE(++gets_before, PriorityTurns::kPatience);
  }
  EXPECT_EQ(gets_before, PriorityTurns::kPatience);
}

TEST_F(OpenItemsOrder, AFullQuarantineHoldsBackWhatIsQueued) {
  const size_t limit = PluginLimits().max_quarantined_items;
  for (size_t i = 0; i <= limit; ++i) add(PluginCall::kContains, i);
  OpenItems::Ptr last;
  for (size_t i = 0; i < limit; ++i) {
    ASSERT_TRUE(items.can_take()) << i;
    last = items.quarantine(items.take(i).at(0)->id);
  }
  EXPECT_FALSE(items.can_take());
  EXPECT_TRUE(items.take(limit).empty());
  items.remove_given(last->id);
  EXPECT_THAT(take_all(), ElementsAre(limit));
}

TEST_F(OpenItemsOrder, WhatWasNeverGivenGoesWithTheQueues) {
  add(PluginCall::kPut, 0);
  add(PluginCall::kGet, 1);
  EXPECT_EQ(items.remove_queued().size(), 2U);
  EXPECT_FALSE(items.can_take());
}

TEST_F(OpenItemsOrder, KnowsWhatItHasGiven) {
  add(PluginCall::kGet, 0);
  EXPECT_FALSE(items.was_given(1));  // it waits
  take();
  EXPECT_TRUE(items.was_given(1));
  EXPECT_FALSE(items.was_given(2));
  EXPECT_FALSE(items.was_given(0));
}

}  // namespace
}  // namespace kvferry
