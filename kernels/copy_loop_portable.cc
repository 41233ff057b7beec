#define KVFERRY_SIMD
#include "kernels/copy_loop_impl.h"

namespace kvferry {
namespace {

struct Portable {
  struct Stripe {
    uint64_t words[8];
  };

  static Stripe load(const void* from) {
    Stripe data;
    std::memcpy(&data, from, sizeof(data));
    return data;
  }
  static void store(void* to, const Stripe& data) { std::memcpy(to, &data, sizeof(data)); }
  static void stream(void* to, const Stripe& data) { store(to, data); }
  static Stripe zero() { return {}; }
  static void add(Stripe* accumulator, const Stripe& sum) {
    for (size_t i = 0; i < 8; ++i) accumulator->words[i] += sum.words[i];
  }

  static void accumulate(Stripe* accumulator, const Stripe& data, const uint64_t* key) {
    for (size_t i = 0; i < 8; ++i) {
      accumulator->words[i] += data.words[i ^ 1] + xxh3_product(data.words[i], key[i]);
    }
  }
  static void scramble(Stripe* accumulator, const uint64_t* key) {
    for (size_t i = 0; i < 8; ++i) {
      accumulator->words[i] = xxh3_scramble(accumulator->words[i], key[i]);
    }
  }
  static void fence() {}
};

}  // namespace

constinit const CopyLoop detail::kPortableCopyLoop = make_copy_loop<Portable>();

}  // namespace kvferry
