#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "backends/external/plugin_library.h"
#include "tests/fuzz/fuzz_input.h"

namespace kvferry {
namespace {

/// Bytes of the input, then zeros.
class Source {
 public:
  Source(const uint8_t* data, size_t size) : left_(data, size) {}
  uint8_t byte() {
    uint8_t value = 0;
    fill(&value, 1);
    return value;
  }
  void fill(void* to, size_t size) {
    const size_t taken = std::min(size, left_.size());
    std::memset(to, 0, size);
    if (taken > 0) std::memcpy(to, left_.data(), taken);
    left_ = left_.subspan(taken);
  }
  std::string text() {
    std::string text(byte() % 200, '\0');
    fill(text.data(), text.size());
    return text;
  }

 private:
  std::span<const uint8_t> left_;
};

/// A table that has exactly as many bytes as it says, so that a read past them is seen. What the
/// ABI keeps in every version (`least` bytes) is there in any case.
template <typename Table>
class SizedTable {
 public:
  SizedTable(Source& source, size_t least) {
    const size_t size = source.byte() % (sizeof(Table) + 16);
    bytes_ = std::make_unique<char[]>(std::max({size, least, sizeof(size_t)}));
    source.fill(bytes_.get(), std::max(size, least));
    std::memcpy(bytes_.get(), &size, sizeof(size));
    size_ = size;
  }
  const Table* get() const { return reinterpret_cast<const Table*>(bytes_.get()); }
  template <typename Field>
  void set(size_t offset, Field value) {
    if (offset + sizeof(value) <= size_) std::memcpy(&bytes_[offset], &value, sizeof(value));
  }

 private:
  std::unique_ptr<char[]> bytes_;
  size_t size_ = 0;
};

bool is_one_line(const std::string& text) {
  return std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
}

void try_tables(Source source) {
  constexpr size_t kFirstFields = offsetof(kvferry_plugin, version);
  std::vector<SizedTable<kvferry_backend_class>> tables;
  std::vector<std::string> names;
  const size_t count = source.byte() % 4;
  names.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    auto& table = tables.emplace_back(source, sizeof(size_t));
    names.push_back(source.text());
    table.set(offsetof(kvferry_backend_class, name),
              source.byte() % 8 == 0 ? nullptr : names.back().c_str());
  }
  std::vector<const kvferry_backend_class*> classes;
  for (const auto& table : tables) {
    classes.push_back(source.byte() % 8 == 0 ? nullptr : table.get());
  }
  const std::string version = source.text();
  SizedTable<kvferry_plugin> plugin(source, kFirstFields);
  plugin.set(offsetof(kvferry_plugin, version), version.c_str());
  plugin.set(offsetof(kvferry_plugin, classes), source.byte() % 8 == 0 ? nullptr : classes.data());
  plugin.set(offsetof(kvferry_plugin, class_count), count);
  if (source.byte() % 4 != 0) plugin.set<uint32_t>(offsetof(kvferry_plugin, abi_major), 1);

  for (const std::string& name : {std::string(), std::string("X"), source.text()}) {
    const auto found = find_plugin_class(plugin.get(), "lib.so", name.c_str());
    if (!found) {
      const std::string text(found.error().message());
      if (text.empty() || !is_one_line(text)) std::abort();
      continue;
    }
    const kvferry_backend_class& table = found->table;
    if (table.name == nullptr || table.create == nullptr || table.destroy == nullptr ||
        table.contains == nullptr || table.put == nullptr || table.get == nullptr ||
        table.remove == nullptr || table.close == nullptr) {
      std::abort();
    }
    if ((table.traits & KVFERRY_PINS) != 0 && table.pin == nullptr) std::abort();
    if (!is_one_line(found->plugin_version)) std::abort();
  }
}

}  // namespace
}  // namespace kvferry

// Tables of any size and content are a class that has all that it needs, or an error on one line.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  kvferry::try_tables({data, size});
  return 0;
}
