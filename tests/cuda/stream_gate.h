#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <future>

#include "cuda/cuda_stream.h"
#include "tests/support/status_matchers.h"

namespace kvferry::test {

/// Holds a stream back at this point until it is opened.
///
/// Nothing that may wait for the device (allocating, freeing) goes between.
class StreamGate {
 public:
  explicit StreamGate(CudaStreamView stream) : stream_(stream), opened_(open_.get_future()) {
    EXPECT_EQ(cudaLaunchHostFunc(stream.get(), wait, this), cudaSuccess);
  }
  StreamGate(const StreamGate&) = delete;
  StreamGate& operator=(const StreamGate&) = delete;
  ~StreamGate() {
    open();
    EXPECT_THAT(stream_.synchronize(), IsOk());  // it has left the gate
  }

  void open() {
    if (!is_open_) open_.set_value();
    is_open_ = true;
  }

 private:
  static void wait(void* self) { static_cast<StreamGate*>(self)->opened_.wait(); }

  CudaStreamView stream_;
  std::promise<void> open_;
  std::future<void> opened_;
  bool is_open_ = false;
};

}  // namespace kvferry::test
