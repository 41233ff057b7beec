#include "workload/engine/model_shape.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <string>
#include <vector>

#include "core/printable.h"

namespace kvferry {
namespace {

constexpr size_t kMaxEchoedName = 64;

constexpr std::array kModels = {
    ModelShape{"qwen2.5-0.5b", 24, 2, 64, DType::kBF16, PagePreset::kVllmNhd, 16},
    ModelShape{"deepseek-v2-lite", 27, 1, 576, DType::kBF16, PagePreset::kMla, 64},
    ModelShape{"llama-3.1-8b", 32, 8, 128, DType::kBF16, PagePreset::kVllmNhd, 16},
};

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0]++;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

}  // namespace

int64_t ModelShape::token_bytes() const {
  const int64_t planes = preset == PagePreset::kMla ? num_layers : int64_t{2} * num_layers;
  return planes * num_heads * head_dim * dtype_size(dtype);
}

int64_t ModelShape::run_bytes() const {
  return int64_t{block_tokens} * num_heads * head_dim * dtype_size(dtype);
}

PagedShape ModelShape::paged_shape(int64_t num_blocks) const {
  return PagedShape{.num_layers = num_layers,
                    .num_blocks = num_blocks,
                    .block_tokens = block_tokens,
                    .num_heads = num_heads,
                    .head_dim = head_dim,
                    .dtype = dtype};
}

std::span<const ModelShape> list_models() { return kModels; }

Result<ModelShape> find_model(std::string_view name) {
  const auto* const found = std::ranges::find(kModels, name, &ModelShape::name);
  if (found != kModels.end()) return *found;

  const std::string_view start = name.substr(0, kMaxEchoedName);
  const auto* const nearest = std::ranges::min_element(
      kModels, {}, [start](const ModelShape& model) { return edit_distance(start, model.name); });
  std::string known;
  for (const ModelShape& model : kModels) {
    if (!known.empty()) known += ", ";
    known += model.name;
  }
  return make_error(StatusCode::kNotFound,
                    "unknown model '" + detail::printable(name, kMaxEchoedName) +
                        "'; did you mean '" + std::string(nearest->name) + "'? Known: " + known);
}

}  // namespace kvferry
