#include "retrieval/long_context.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace minnow::bench {

void lengthen(exec::Decoder& decoder, const model::Plan& plan, ThreadPool& pool, uint32_t positions) {
  const model::Config& c = *plan.config;
  kv::Cache& cache = decoder.cache();
  const uint32_t from = decoder.position(), padded = cache.shape().padded_dim(), half = c.rotary_dim / 2;
  const auto heads = c.kv_head_count;
  pool.parallel_for(cache.shape().layers * size_t{heads}, 1, [&](size_t begin, size_t end, uint32_t) {
    std::vector<float> k(padded), v(padded), cosine(half), sine(half);
    for (size_t item = begin; item < end; ++item) {
      const auto layer = static_cast<uint32_t>(item / heads), head = static_cast<uint32_t>(item % heads);
      const format::Rope* rope = plan.layers[layer].weights->rope;
      for (uint32_t p = from; p < positions; ++p) {
        const uint32_t of = p % from;
        if (rope != nullptr && of == 0) {
          for (uint32_t i = 0; i < half; ++i) {
            const double angle = double{rope->inv_freq[i]} * p;
            cosine[i] = static_cast<float>(std::cos(angle)), sine[i] = static_cast<float>(std::sin(angle));
          }
        }
        kv::read_row(cache.rows(layer, head), cache.shape().type, of, padded, plan.kernels, k.data(),
                     v.data());
        const RopeArgs turn{k.data(), padded, 1, c.rotary_dim, cosine.data(), sine.data()};
        if (rope != nullptr) plan.kernels.rope->fn(&turn);
        cache.write(layer, head, p, k.data(), v.data(), plan.kernels);
        if (decoder.has_index()) {
          uint16_t* ids = decoder.index().ids(layer, head);
          ids[p] = ids[of];
        }
      }
    }
  });
  decoder.advance(positions - from);
}

}  // namespace minnow::bench
