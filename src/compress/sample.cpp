#include "compress/sample.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <random>

#include "base/cpu.h"
#include "compress/compress.h"
#include "compress/mlwq/float_math.h"
#include "exec/decoder.h"
#include "exec/float_gemm.h"

namespace minnow::compress {
namespace {

constexpr uint32_t kPiece = 512;   // tokens drawn before a sequence starts anew
constexpr size_t kMostRows = 256;  // pieces that grow together, and share every read of the weights
constexpr uint32_t kLogitRows = 16;

/// Draws the next token of every piece of a round: of some pieces at a time, on all cores.
class Draw : public exec::LogitsSink {
 public:
  /// The randomness of a piece is that of its number alone.
  Draw(size_t rows, size_t first, uint64_t seed, int32_t bos, uint32_t vocab, ThreadPool& pool)
      : pool_(pool), vocab_(vocab), logits_(std::min<size_t>(rows, kLogitRows) * vocab) {
    for (size_t i = 0; i < rows; ++i) {
      random_.emplace_back(seed * 0x9E3779B97F4A7C15ull + first + i);
      tokens_.push_back(bos >= 0 ? bos : static_cast<int32_t>(random_[i]() % vocab));
    }
  }

  /// After a pass: what is still waiting is drawn.
  Result<std::span<const int32_t>> tokens() {
    MINNOW_TRY(draw());
    return std::span<const int32_t>(tokens_);
  }

  Status row(size_t index, std::span<const float> logits) override {
    if (waiting_ == kLogitRows) MINNOW_TRY(draw());
    first_ = index - waiting_;
    std::copy(logits.begin(), logits.end(), &logits_[waiting_++ * vocab_]);
    return {};
  }

 private:
  Status draw() {
    std::atomic<bool> finite = true;
    pool_.parallel_for_each(waiting_, [&](size_t begin, size_t end, uint32_t) {
      for (size_t i = begin; i < end; ++i) {
        if (!draw_one(&logits_[i * vocab_], random_[first_ + i], tokens_[first_ + i])) finite = false;
      }
    });
    waiting_ = 0;
    if (finite) return {};
    return fail(Code::corrupt, "the model's logits are not finite on text of its own; it overflows, or its ",
                "weights are damaged");
  }

  bool draw_one(float* p, std::mt19937_64& random, int32_t& drawn) const {
    if (!std::all_of(p, p + vocab_, [](float l) { return std::isfinite(l); })) return false;
    softmax_in_place(p, vocab_);
    double left = std::uniform_real_distribution<double>(0.0, 1.0)(random);
    size_t token = 0;
    while (token + 1 < vocab_ && (left -= p[token]) > 0.0) ++token;
    drawn = static_cast<int32_t>(token);
    return true;
  }

  ThreadPool& pool_;
  size_t vocab_, first_ = 0, waiting_ = 0;  // pieces [first_, first_ + waiting_) have their logits here
  std::vector<float> logits_;
  std::vector<std::mt19937_64> random_;
  std::vector<int32_t> tokens_;
};

/// The file at `path`, which loses its name: nothing of it stays behind, however this ends.
Result<format::Container> open_unnamed(const std::string& path) {
  MINNOW_ASSIGN(MappedFile file, MappedFile::open(path));
  std::remove(path.c_str());
  return format::Container::open(std::move(file));
}

}  // namespace

Result<Sequences> sample_sequences(const model::Plan& plan, int32_t bos, const SampleOptions& options,
                                   ThreadPool& pool) {
  const model::Config& c = *plan.config;
  const uint32_t piece = std::min(options.length, kPiece);
  const size_t per_sequence = (options.length + piece - 1) / piece, total = per_sequence * options.count;
  const kv::Shape shape = {static_cast<uint32_t>(plan.layers.size()), c.kv_head_count, c.head_dim, piece,
                           kv::Type::q8};
  // As many at a time as memory allows, and as many in the last round as in the others.
  const size_t most = std::clamp<size_t>(options.memory / shape.bytes(), 1, kMostRows);
  const size_t rounds = (total + most - 1) / most, rows = (total + rounds - 1) / rounds;
  exec::DecoderOptions o;
  o.context = piece, o.sequences = static_cast<uint32_t>(rows), o.kv = kv::Type::q8;
  o.logit_rows = static_cast<uint32_t>(std::min<size_t>(rows, kLogitRows));
  MINNOW_ASSIGN(exec::Decoder decoder, exec::Decoder::create(plan, pool, o));
  std::vector<std::vector<int32_t>> pieces(rounds * rows);
  for (size_t round = 0; round < rounds; ++round) {
    decoder.rewind(0);
    Draw draw(rows, round * rows, options.seed, bos, c.vocab_size, pool);
    for (size_t t = 0;; ++t) {
      MINNOW_ASSIGN(const std::span<const int32_t> tokens, draw.tokens());
      for (size_t i = 0; i < rows; ++i) pieces[round * rows + i].push_back(tokens[i]);
      if (t + 1 == piece) break;
      MINNOW_TRY(decoder.forward(tokens, &draw));
      if (options.progress && !options.progress(round * piece + t, rounds * piece))
        return fail(Code::cancelled, "cancelled");
    }
  }
  Sequences out(options.count);
  for (size_t s = 0; s < out.size(); ++s) {
    for (size_t i = 0; i < per_sequence; ++i) {
      const auto& p = pieces[s * per_sequence + i];
      out[s].insert(out[s].end(), p.begin(), p.end());
    }
    out[s].resize(options.length);
  }
  return out;
}

Result<Sequences> sample_sequences(const ImportedModel& model, const SampleOptions& options,
                                   const std::string& path, ThreadPool& pool) {
  CompressOptions eight_bits;
  eight_bits.threads = pool.threads();
  MINNOW_ASSIGN([[maybe_unused]] const CompressReport written, compress_model(model, eight_bits, path));
  MINNOW_ASSIGN(const format::Container container, open_unnamed(path));
  MINNOW_ASSIGN(const model::Weights weights, model::Weights::create(container));
  MINNOW_ASSIGN(const model::Plan plan,
                model::Plan::create(weights, detect_isa(), exec::float_gemm_available()));
  return sample_sequences(plan, container.metadata().bos_id, options, pool);
}

}  // namespace minnow::compress
