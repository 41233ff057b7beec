#pragma once

namespace kvferry::test {

/// Tells the simulator what the kernels of kernels/paged_copy.cu do. May be called again.
void register_paged_copy_kernels();

}  // namespace kvferry::test
