// The float network of the calibration passes: a block at a time, forward and backward, over whole
// sequences. It covers what format::Config can say (norm kinds and places, qk-norm, biases, parallel
// blocks, soft caps, sliding windows, rope or learned positions, gated and plain feed-forward), and the
// fixtures' reference logits hold it to that.
//
// One sequence runs on one thread; callers spread sequences over the pool. Nothing here is needed at run
// time: exec::Decoder is the forward pass that ships.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "compress/imported_model.h"
#include "compress/mlwq/matrix.h"
#include "model/kernel_set.h"

namespace minnow::compress {

/// The linears of a block, in the order they run.
enum class Role : uint8_t { q, k, v, o, gate, up, down };
inline constexpr size_t kRoles = 7;
inline constexpr std::array<Role, kRoles> kAllRoles = {Role::q,    Role::k,  Role::v,   Role::o,
                                                       Role::gate, Role::up, Role::down};
const char* name_of(Role role);
/// A block runs in steps; the linears of one see the same input.
enum class Step : uint8_t { attention_in, attention_out, ffn_in, ffn_out };
inline constexpr std::array<Step, 4> kSteps = {Step::attention_in, Step::attention_out, Step::ffn_in,
                                               Step::ffn_out};
Step step_of(Role role);
const ImportedLinear& linear_of(const ImportedLayer& layer, Role role);

/// Reads all rows of a source as floats, on the pool.
Result<Matrix> read_matrix(const RowSource& source, ThreadPool& pool);

struct NormParameters {
  std::vector<float> weight, bias;
  bool present() const { return !weight.empty(); }
};

/// The weights of one block as floats. Absent linears are empty matrices.
struct BlockWeights {
  std::array<Matrix, kRoles> w;
  std::array<std::vector<float>, kRoles> bias;
  NormParameters attn_norm, attn_post_norm, ffn_norm, ffn_post_norm, q_norm, k_norm;
  uint32_t sliding_window = 0;
  int32_t rope = -1;
  Matrix& operator[](Role r) { return w[static_cast<size_t>(r)]; }
  const Matrix& operator[](Role r) const { return w[static_cast<size_t>(r)]; }
  const std::vector<float>& bias_of(Role r) const { return bias[static_cast<size_t>(r)]; }
};

Result<BlockWeights> read_block(const ImportedLayer& layer, ThreadPool& pool);

/// What a block's forward pass leaves for its backward pass and for the moments of its inputs. (tokens, *)
struct Tape {
  Matrix attn_in;                 ///< input of q, k, v
  Matrix q_raw, k_raw;            ///< before qk-norm, where there is one
  Matrix q, k, v;                 ///< as attention sees them
  Matrix attn;                    ///< input of o
  Matrix attn_branch;             ///< before the post-norm
  Matrix mid_raw, mid;            ///< after the first sum; before and after a norm of the sum
  Matrix ffn_in;                  ///< input of gate and up
  Matrix gate, up;                ///< before the activation
  Matrix inner;                   ///< input of down
  Matrix ffn_branch;              ///< before the post-norm
  Matrix out_raw;                 ///< before a norm of the second sum
  std::array<Matrix, kRoles> dy;  ///< filled by the backward pass: gradient at each linear's output
  const Matrix& input(Role role) const;
};
/// Lets their memory go: tapes are filled anew for every block, and large.
void release(std::vector<Tape>& tapes);

class Network {
 public:
  /// Sequences up to `tokens` long. The model must outlive the network.
  Network(const ImportedModel& model, const model::KernelSet& kernels, uint32_t tokens);

  const format::Config& config() const { return config_; }
  uint32_t tokens() const { return tokens_; }

  /// out = block(x). `tape` may be reused; it is always filled.
  void forward(const BlockWeights& w, const Matrix& x, Tape& tape, Matrix& out) const;
  /// As much of it as backward() needs.
  void record(const BlockWeights& w, const Matrix& x, Tape& tape) const;
  /// The steps of forward(), each from what the one before left in the tape.
  void attention_input(const BlockWeights& w, const Matrix& x, Tape& tape) const;     // attn_in
  void attend(const BlockWeights& w, Tape& tape) const;                               // attn from attn_in
  void feed_forward_input(const BlockWeights& w, const Matrix& x, Tape& tape) const;  // mid, ffn_in from attn
  void feed_forward(const BlockWeights& w, Tape& tape) const;                         // inner from ffn_in
  void close(const BlockWeights& w, Tape& tape, Matrix& out) const;                   // from mid and inner
  /// dx = gradient at the block's input, from that at its output; fills tape.dy.
  void backward(const BlockWeights& w, const Matrix& x, Tape& tape, const Matrix& dout, Matrix& dx) const;

  /// The hidden state before the first block. `embedding` (vocab, embedding), `in` (hidden, embedding) or
  /// empty.
  void embed(std::span<const int32_t> tokens, const Matrix& embedding, const Matrix& in, Matrix& out) const;
  /// dx (tokens, hidden) back to dy at the rows of the embedding (tokens, embedding).
  void embed_backward(const Matrix& dx, const Matrix& in, Matrix& dy) const;

  /// Final norm, and the projection in front of the head where there is one.
  void finish(const Matrix& x, const NormParameters& norm, const Matrix& out_projection, Matrix& y) const;
  void finish_backward(const Matrix& x, const NormParameters& norm, const Matrix& out_projection,
                       const Matrix& dy, Matrix& dx) const;

  /// logits (rows, vocab) = head applied to rows of finish()'s result, scale and soft cap included.
  void logits(const Rows& y, const Matrix& head, const std::vector<float>& bias, Matrix& out) const;
  /// Turns the gradient at the logits into that at the head's product, in place.
  void logits_backward(const Matrix& logits, Matrix& dlogits) const;

 private:
  bool norms_inputs() const;
  /// sum = x + residual scale * branch, the branch through its post-norm where there is one.
  void add_branch(const NormParameters& p, const Matrix& x, const Matrix& branch, Matrix& sum) const;
  void norm(const NormParameters& p, const Matrix& x, Matrix& y) const;
  void norm_backward(const NormParameters& p, const Matrix& x, const Matrix& dy, Matrix& dx,
                     Write write) const;
  /// Row t by the angles of position t.
  void rotate(int32_t rope, uint32_t heads, Matrix& x, bool inverse) const;
  void qk_norm(const NormParameters& p, uint32_t heads, const Matrix& x, Matrix& y) const;
  void attention(const BlockWeights& w, Tape& tape) const;
  void attention_backward(const BlockWeights& w, const Tape& tape, const Matrix& dattn, Matrix& dq,
                          Matrix& dk, Matrix& dv) const;
  void activation_backward(Tape& tape, const Matrix& dinner) const;

  const ImportedModel& model_;
  const format::Config& config_;
  const model::KernelSet& kernels_;
  uint32_t tokens_;
  std::vector<Matrix> cosine_, sine_;  // one a rope, (tokens, rotary_dim / 2)
};

}  // namespace minnow::compress
