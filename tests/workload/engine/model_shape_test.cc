#include "workload/engine/model_shape.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(ModelShape, KnowsTheSizesThatPeopleExpect) {
  const auto qwen = find_model("qwen2.5-0.5b");
  ASSERT_THAT(qwen, IsOk());
  EXPECT_EQ(qwen->token_bytes(), 12 << 10);
  EXPECT_EQ(qwen->run_bytes(), 4 << 10);
  EXPECT_EQ(qwen->preset, PagePreset::kVllmNhd);

  const auto llama = find_model("llama-3.1-8b");
  ASSERT_THAT(llama, IsOk());
  EXPECT_EQ(llama->token_bytes(), 128 << 10);
  EXPECT_EQ(llama->run_bytes(), 32 << 10);

  const auto deepseek = find_model("deepseek-v2-lite");
  ASSERT_THAT(deepseek, IsOk());
  EXPECT_EQ(deepseek->token_bytes(), 27 * 576 * 2);
  EXPECT_EQ(deepseek->preset, PagePreset::kMla);
}

TEST(ModelShape, FirstOfTheListIsTheSmallest) {
  ASSERT_FALSE(list_models().empty());
  EXPECT_EQ(list_models().front().name, "qwen2.5-0.5b");
  for (const ModelShape& model : list_models()) {
    EXPECT_LE(list_models().front().token_bytes(), model.token_bytes());
    EXPECT_THAT(find_model(model.name), IsOk());
  }
}

TEST(ModelShape, AgreesWithTheLayoutOfItsPages) {
  for (const ModelShape& model : list_models()) {
    const PagedShape shape = model.paged_shape(3);
    EXPECT_EQ(num_buffers(model.preset, shape) * buffer_bytes(model.preset, shape),
              3 * model.block_tokens * model.token_bytes())
        << model.name;
  }
}

TEST(ModelShape, UnknownNameGetsTheNearestAndAll) {
  EXPECT_THAT(find_model("llama3.1-8b"),
              StatusIs(StatusCode::kNotFound,
                       AllOf(HasSubstr("unknown model 'llama3.1-8b'"),
                             HasSubstr("did you mean 'llama-3.1-8b'"), HasSubstr("qwen2.5-0.5b"),
                             HasSubstr("deepseek-v2-lite"))));
  EXPECT_THAT(find_model("deepseek"),
              StatusIs(StatusCode::kNotFound, HasSubstr("did you mean 'deepseek-v2-lite'")));
  EXPECT_THAT(find_model(""), StatusIs(StatusCode::kNotFound, HasSubstr("unknown model ''")));
}

TEST(ModelShape, HostileNameStaysOnOneShortLine) {
  EXPECT_THAT(find_model("a\nb\x1b[31m" + std::string(1 << 20, 'x')),
              StatusIs(StatusCode::kNotFound, AllOf(HasSubstr("'a?b?[31mxxx"), Not(HasSubstr("\n")),
                                                    testing::SizeIs(testing::Lt(300)))));
}

}  // namespace
}  // namespace kvferry
