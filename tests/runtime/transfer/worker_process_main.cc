#include <gtest/gtest.h>

#include "tests/runtime/transfer/worker_process.h"

int main(int argc, char** argv) {
  if (const int code = kvferry::run_as_worker(argc, argv); code >= 0) return code;
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
