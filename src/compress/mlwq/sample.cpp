// Text of the model's own for calibration without data.
#include <algorithm>
#include <random>

#include "compress/mlwq/float_math.h"
#include "compress/mlwq/model_weights.h"

namespace minnow::compress {
namespace {

constexpr uint32_t kPiece = 512;                     // tokens drawn before a sequence starts anew
constexpr uint32_t kMostRows = 64, kFewestRows = 8;  // pieces of a group, which share a read of the weights

/// Some pieces that grow together on one thread.
struct DrawGroup {
  size_t first = 0, rows = 0;
  std::vector<StepCache> caches;  // one a block
  std::vector<std::mt19937_64> random;
  std::vector<int32_t> now;
  Matrix x, next, y, logits;
  Tape tape;

  /// The randomness of a piece is that of its number alone.
  void start(const format::Config& c, size_t blocks, int32_t bos, uint32_t length, uint64_t seed) {
    caches.assign(blocks, {});
    for (StepCache& cache : caches) {
      cache.k.assign(rows, Matrix(length, StepCache::width(c)));
      cache.v.assign(rows, Matrix(length, StepCache::width(c)));
    }
    random.clear();
    now.resize(rows);
    for (size_t i = 0; i < rows; ++i) {
      random.emplace_back(seed * 0x9E3779B97F4A7C15ull + first + i);
      now[i] = bos >= 0 ? bos : static_cast<int32_t>(random[i]() % c.vocab_size);
    }
  }

  void draw(const Network& net, const ModelEnds& w) {
    net.finish(x, w.final_norm, w.out, y);
    net.logits(rows_of(y), w.head_matrix(), w.head_bias, logits);
    std::uniform_real_distribution<double> uniform(0.0, 1.0);
    for (size_t i = 0; i < rows; ++i) {
      float* p = logits.row(i);
      softmax_in_place(p, logits.cols());
      double left = uniform(random[i]);
      size_t token = 0;
      while (token + 1 < logits.cols() && (left -= p[token]) > 0.0) ++token;
      now[i] = static_cast<int32_t>(token);
    }
  }
};

}  // namespace

Result<Sequences> sample_sequences(const Network& net, const ImportedModel& model, uint32_t length,
                                   uint32_t count, uint64_t seed, uint64_t bytes, ThreadPool& pool,
                                   const StageProgress& progress) {
  const size_t blocks = model.layers.size();
  const uint32_t piece = std::min(length, kPiece);
  const size_t per_sequence = (length + piece - 1) / piece, total = per_sequence * count;
  const uint64_t keys = uint64_t{2} * piece * StepCache::width(net.config()) * sizeof(float) * blocks;
  BlockReader reader(model, pool, bytes / 2);
  // As many at a time as memory allows, and as many in the last round as in the others.
  const size_t most = pool.threads() * std::clamp<size_t>((bytes - reader.bytes()) / keys / pool.threads(),
                                                          size_t{kFewestRows}, size_t{kMostRows});
  const size_t rounds = (total + most - 1) / most, per_round = (total + rounds - 1) / rounds;
  const size_t rows = (per_round + pool.threads() - 1) / pool.threads();
  MINNOW_ASSIGN(const ModelEnds ends, read_ends(model, pool));
  std::vector<std::vector<int32_t>> pieces(total);
  std::vector<DrawGroup> groups;
  for (size_t first = 0; first < total;) {
    groups.resize(std::min<size_t>(pool.threads(), (total - first + rows - 1) / rows));
    for (DrawGroup& g : groups) {
      g.first = first, g.rows = std::min(rows, total - first);
      first += g.rows;
      g.start(net.config(), blocks, model.bos_id, piece, seed);
    }
    for (size_t t = 0;; ++t) {
      for (DrawGroup& g : groups) {
        for (size_t i = 0; i < g.rows; ++i) pieces[g.first + i].push_back(g.now[i]);
      }
      if (t + 1 == piece) break;
      const auto each = [&](const auto& body) {
        return for_sequences(pool, groups.size(), [&](size_t i, uint32_t) -> Status {
          body(groups[i]);
          return {};
        });
      };
      MINNOW_TRY(each([&](DrawGroup& g) { net.embed(g.now, ends.embedding, ends.in, g.x, &t); }));
      for (size_t b = 0; b < blocks; ++b) {
        MINNOW_ASSIGN(const BlockWeights* const w, reader.block(b));
        MINNOW_TRY(each([&](DrawGroup& g) {
          g.caches[b].position = t;
          net.forward(*w, g.x, g.tape, g.next, &g.caches[b]);
          std::swap(g.x, g.next);
        }));
      }
      MINNOW_TRY(each([&](DrawGroup& g) { g.draw(net, ends); }));
      const size_t before = groups.front().first;
      if (progress && !progress("sampling", before * piece + t * (first - before), total * piece)) {
        return fail(Code::cancelled, "cancelled");
      }
    }
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
