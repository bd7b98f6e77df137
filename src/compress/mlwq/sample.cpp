// Text of the model's own for calibration without data.
#include <algorithm>
#include <atomic>
#include <random>

#include "compress/mlwq/float_math.h"
#include "compress/mlwq/model_weights.h"

namespace minnow::compress {
namespace {

constexpr uint32_t kPiece = 512;    // tokens drawn before a sequence starts anew
constexpr uint32_t kLockstep = 32;  // sequences that share a read of the weights

/// Draws `rows` pieces of `length` tokens; their randomness is that of their number alone.
void draw(const Network& net, const ModelWeights& w, int32_t bos, uint32_t length, size_t first, size_t rows,
          uint64_t seed, std::vector<std::vector<int32_t>>& pieces) {
  const format::Config& c = net.config();
  std::vector<StepCache> caches(w.blocks.size());
  for (StepCache& cache : caches) {
    cache.k.assign(rows, Matrix(length, c.kv_size()));
    cache.v.assign(rows, Matrix(length, c.kv_size()));
  }
  std::vector<std::mt19937_64> random;
  std::vector<int32_t> now(rows);
  std::uniform_real_distribution<double> uniform(0.0, 1.0);
  for (size_t i = 0; i < rows; ++i) {
    random.emplace_back(seed * 0x9E3779B97F4A7C15ull + first + i);
    now[i] = bos >= 0 ? bos : static_cast<int32_t>(random[i]() % c.vocab_size);
    pieces[first + i].push_back(now[i]);
  }
  Matrix x, next, y, logits;
  Tape tape;
  for (size_t t = 0; t + 1 < length; ++t) {
    net.embed(now, w.embedding, w.in, x, &t);
    for (size_t b = 0; b < w.blocks.size(); ++b) {
      caches[b].position = t;
      net.forward_step(w.blocks[b], x, caches[b], tape, next);
      std::swap(x, next);
    }
    net.finish(x, w.final_norm, w.out, y);
    net.logits(rows_of(y), w.head_matrix(), w.head_bias, logits);
    for (size_t i = 0; i < rows; ++i) {
      float* p = logits.row(i);
      softmax_in_place(p, logits.cols());
      double left = uniform(random[i]);
      size_t token = 0;
      while (token + 1 < logits.cols() && (left -= p[token]) > 0.0) ++token;
      now[i] = static_cast<int32_t>(token);
      pieces[first + i].push_back(now[i]);
    }
  }
}

}  // namespace

Result<Sequences> sample_sequences(const Network& net, const ModelWeights& w, int32_t bos, uint32_t length,
                                   uint32_t count, uint64_t seed, ThreadPool& pool,
                                   const StageProgress& progress) {
  const uint32_t piece = std::min(length, kPiece);
  const size_t per_sequence = (length + piece - 1) / piece, total = per_sequence * count;
  std::vector<std::vector<int32_t>> pieces(total);
  const size_t together = size_t{kLockstep} * pool.threads();
  for (size_t first = 0; first < total; first += together) {
    const size_t end = std::min(total, first + together);
    pool.parallel_for((end - first + kLockstep - 1) / kLockstep, 1, [&](size_t b, size_t e, uint32_t) {
      for (size_t i = b; i < e; ++i) {
        const size_t from = first + i * kLockstep;
        draw(net, w, bos, piece, from, std::min<size_t>(kLockstep, end - from), seed, pieces);
      }
    });
    if (progress && !progress("sampling", end, total)) return fail(Code::cancelled, "cancelled");
  }
  Sequences out(count);
  for (size_t s = 0; s < count; ++s) {
    for (size_t i = 0; i < per_sequence; ++i) {
      const auto& p = pieces[s * per_sequence + i];
      out[s].insert(out[s].end(), p.begin(), p.end());
    }
    out[s].resize(length);
  }
  return out;
}

}  // namespace minnow::compress
