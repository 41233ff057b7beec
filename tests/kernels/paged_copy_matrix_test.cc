#include <gtest/gtest.h>

#include "tests/kernels/paged_copy_properties.h"

namespace kvferry::test {
namespace {

TEST(PagedCopyMatrix, EveryCombinationEqualsNaiveLoop) {
  const std::vector<PagedCase> cases = all_cases();
  for (size_t i = 0; i < cases.size() && !::testing::Test::HasFailure(); ++i) {
    SCOPED_TRACE(cases[i]);
    const auto levels = supported_simd_levels();
    check_host_path(cases[i], {.simd = levels[i % levels.size()]});
    check_body(cases[i]);
  }
}

}  // namespace
}  // namespace kvferry::test
