#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "kvferry/dtype.h"
#include "kvferry/kv_layout.h"
#include "kvferry/status.h"

namespace kvferry {

/// The KV cache of a model that people know by name, in the page layout its engine gives it.
struct ModelShape {
  std::string_view name;
  int32_t num_layers = 0;
  int32_t num_heads = 0;  ///< KV heads; 1 for MLA
  int32_t head_dim = 0;   ///< for MLA the latent with its rotary part
  DType dtype = DType::kBF16;
  PagePreset preset = PagePreset::kVllmNhd;
  int32_t block_tokens = 0;

  /// Bytes of one token over all layers, K and V.
  int64_t token_bytes() const;
  /// Contiguous bytes of one layer's K (or V, or latent) in one block.
  int64_t run_bytes() const;
  PagedShape paged_shape(int64_t num_blocks) const;
};

/// The models known by name, smallest first. The first is the default on a CPU.
///
/// Source: the models' config.json; block sizes are the defaults of vLLM, and FlashMLA's 64.
std::span<const ModelShape> list_models();

/// Errors: kNotFound naming the nearest known name and all of them.
Result<ModelShape> find_model(std::string_view name);

}  // namespace kvferry
