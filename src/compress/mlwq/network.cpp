#include "compress/mlwq/network.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "compress/mlwq/float_math.h"

namespace minnow::compress {

using format::BlockKind;
using format::NormPlacement;

const char* name_of(Role role) {
  constexpr const char* kNames[] = {"q", "k", "v", "o", "gate", "up", "down"};
  return kNames[static_cast<size_t>(role)];
}

const ImportedLinear& linear_of(const ImportedLayer& layer, Role role) {
  const ImportedLinear* const all[] = {&layer.q,    &layer.k,  &layer.v,   &layer.o,
                                       &layer.gate, &layer.up, &layer.down};
  return *all[static_cast<size_t>(role)];
}

Result<Matrix> read_matrix(const RowSource& source, ThreadPool& pool) {
  Matrix m(source.rows, source.cols);
  Status failure;
  std::mutex mutex;
  pool.parallel_for(source.rows, 64, [&](size_t begin, size_t end, uint32_t) {
    for (size_t r = begin; r < end; ++r) {
      Status status = source.read(static_cast<uint32_t>(r), m.row(r));
      if (status.ok()) continue;
      const std::lock_guard lock(mutex);
      if (failure.ok()) failure = std::move(status);
    }
  });
  source.forget();
  MINNOW_TRY(std::move(failure));
  return m;
}

Result<BlockWeights> read_block(const ImportedLayer& layer, ThreadPool& pool) {
  BlockWeights out;
  for (Role r : kAllRoles) {
    const ImportedLinear& l = linear_of(layer, r);
    if (!l.present()) continue;
    MINNOW_ASSIGN(out[r], read_matrix(l.weight, pool));
    out.bias[static_cast<size_t>(r)] = l.bias;
  }
  const auto copy = [](const ImportedNorm& n) { return NormParameters{n.weight, n.bias}; };
  out.attn_norm = copy(layer.attn_norm), out.attn_post_norm = copy(layer.attn_post_norm);
  out.ffn_norm = copy(layer.ffn_norm), out.ffn_post_norm = copy(layer.ffn_post_norm);
  out.q_norm = copy(layer.q_norm), out.k_norm = copy(layer.k_norm);
  out.sliding_window = layer.sliding_window;
  out.rope = layer.rope;
  return out;
}

Step step_of(Role role) {
  switch (role) {
    case Role::q:
    case Role::k:
    case Role::v:
      return Step::attention_in;
    case Role::o:
      return Step::attention_out;
    case Role::gate:
    case Role::up:
      return Step::ffn_in;
    case Role::down:
      break;
  }
  return Step::ffn_out;
}

const Matrix& Tape::input(Role role) const {
  const Matrix* const inputs[] = {&attn_in, &attn, &ffn_in, &inner};
  return *inputs[static_cast<size_t>(step_of(role))];
}

void release(std::vector<Tape>& tapes) {
  for (Tape& t : tapes) t = Tape();
}

Network::Network(const ImportedModel& model, const model::KernelSet& kernels, uint32_t tokens)
    : model_(model), config_(model.config), kernels_(kernels), tokens_(tokens) {
  const size_t half = config_.rotary_dim / 2;
  for (const format::Rope& rope : config_.ropes) {
    const bool is_long = !rope.inv_freq_long.empty() && tokens > rope.original_context;
    const auto& frequencies = is_long ? rope.inv_freq_long : rope.inv_freq;
    Matrix c(tokens, half), s(tokens, half);
    for (size_t t = 0; t < tokens; ++t) {
      for (size_t j = 0; j < half; ++j) {
        const double angle = static_cast<float>(t) * frequencies[j];  // rounded to f32, as at run time
        c.row(t)[j] = static_cast<float>(std::cos(angle)) * rope.attention_factor;
        s.row(t)[j] = static_cast<float>(std::sin(angle)) * rope.attention_factor;
      }
    }
    cosine_.push_back(std::move(c));
    sine_.push_back(std::move(s));
  }
}

namespace {

void linear(const Matrix& x, const Matrix& w, const std::vector<float>& bias, Matrix& y) {
  y.shape(x.rows(), w.rows());
  multiply_nt(rows_of(x), rows_of(w), y.data(), y.cols());
  if (bias.empty()) return;
  for (size_t t = 0; t < y.rows(); ++t) add_scaled(1.0f, bias.data(), y.row(t), y.cols());
}

void sum_of(const Matrix& x, const Matrix& branch, float scale, Matrix& y) {
  y = x;
  add_scaled(scale, branch.data(), y.data(), y.size());
}

void scale_all(Matrix& m, float factor) {
  if (factor == 1.0f) return;
  for (float& v : m.span()) v *= factor;
}

}  // namespace

void Network::norm(const NormParameters& p, const Matrix& x, Matrix& y) const {
  y.shape(x.rows(), x.cols());
  const auto* kernel = config_.norm == format::NormKind::rms ? kernels_.rms_norm : kernels_.layer_norm;
  const NormArgs args{x.data(),        x.cols(), p.weight.data(), p.bias.empty() ? nullptr : p.bias.data(),
                      y.data(),        y.cols(), x.rows(),        x.cols(),
                      config_.norm_eps};
  kernel->fn(&args);
}

void Network::norm_backward(const NormParameters& p, const Matrix& x, const Matrix& dy, Matrix& dx,
                            Write write) const {
  if (write == Write::set) dx.reset(x.rows(), x.cols());
  const bool centred = config_.norm == format::NormKind::layer;
  for (size_t t = 0; t < x.rows(); ++t) {
    norm_row_backward(x.row(t), p.weight.data(), dy.row(t), x.cols(), config_.norm_eps, centred, dx.row(t));
  }
}

void Network::rotate(int32_t rope, uint32_t heads, Matrix& x, bool inverse) const {
  if (rope < 0) return;
  const Matrix &c = cosine_[static_cast<size_t>(rope)], &s = sine_[static_cast<size_t>(rope)];
  std::vector<float> negative(s.cols());
  for (size_t t = 0; t < x.rows(); ++t) {
    const float* sine = s.row(t);
    if (inverse) {  // the transpose of a scaled rotation
      for (size_t j = 0; j < negative.size(); ++j) negative[j] = -sine[j];
      sine = negative.data();
    }
    const RopeArgs args{x.row(t), config_.head_dim, heads, config_.rotary_dim, c.row(t), sine};
    kernels_.rope->fn(&args);
  }
}

void Network::qk_norm(const NormParameters& p, uint32_t heads, const Matrix& x, Matrix& y) const {
  y.shape(x.rows(), x.cols());
  const bool full = config_.qk_norm == format::QkNorm::full;
  const size_t dim = full ? x.cols() : config_.head_dim, rows = full ? x.rows() : x.rows() * heads;
  const NormArgs args{x.data(), dim, p.weight.data(), nullptr, y.data(), dim, rows, dim, config_.norm_eps};
  kernels_.rms_norm->fn(&args);
}

void Network::forward(const BlockWeights& w, const Matrix& x, Tape& t, Matrix& out) const {
  attention_input(w, x, t);
  attend(w, t);
  feed_forward_input(w, x, t);
  feed_forward(w, t);
  close(w, t, out);
}

void Network::record(const BlockWeights& w, const Matrix& x, Tape& t) const {
  attention_input(w, x, t);
  attend(w, t);
  feed_forward_input(w, x, t);
  feed_forward(w, t);
  const bool norms_output =
      w.ffn_post_norm.present() || config_.norm_placement == NormPlacement::post_residual;
  Matrix unused;
  if (norms_output) close(w, t, unused);
}

bool Network::norms_inputs() const {
  return config_.norm_placement == NormPlacement::pre || config_.norm_placement == NormPlacement::sandwich;
}

void Network::attention_input(const BlockWeights& w, const Matrix& x, Tape& t) const {
  if (norms_inputs()) {
    norm(w.attn_norm, x, t.attn_in);
  } else {
    t.attn_in = x;
  }
}

void Network::attend(const BlockWeights& w, Tape& t) const {
  const format::Config& c = config_;
  const bool qk = w.q_norm.present();
  linear(t.attn_in, w[Role::q], w.bias_of(Role::q), qk ? t.q_raw : t.q);
  linear(t.attn_in, w[Role::k], w.bias_of(Role::k), qk ? t.k_raw : t.k);
  linear(t.attn_in, w[Role::v], w.bias_of(Role::v), t.v);
  if (qk) {
    qk_norm(w.q_norm, c.head_count, t.q_raw, t.q);
    qk_norm(w.k_norm, c.kv_head_count, t.k_raw, t.k);
  }
  rotate(w.rope, c.head_count, t.q, false);
  rotate(w.rope, c.kv_head_count, t.k, false);
  attention(w, t);
}

void Network::add_branch(const NormParameters& p, const Matrix& x, const Matrix& branch, Matrix& sum) const {
  if (!p.present()) {
    sum_of(x, branch, config_.residual_scale, sum);
    return;
  }
  Matrix normed;
  norm(p, branch, normed);
  sum_of(x, normed, config_.residual_scale, sum);
}

void Network::feed_forward_input(const BlockWeights& w, const Matrix& x, Tape& t) const {
  linear(t.attn, w[Role::o], w.bias_of(Role::o), t.attn_branch);
  add_branch(w.attn_post_norm, x, t.attn_branch, t.mid);
  if (config_.norm_placement == NormPlacement::post_residual) {
    std::swap(t.mid_raw, t.mid);
    norm(w.attn_norm, t.mid_raw, t.mid);
  }
  if (config_.block == BlockKind::parallel) {
    t.ffn_in = t.attn_in;
  } else if (norms_inputs()) {
    norm(w.ffn_norm, t.mid, t.ffn_in);
  } else {
    t.ffn_in = t.mid;
  }
}

void Network::feed_forward(const BlockWeights& w, Tape& t) const {
  linear(t.ffn_in, w[Role::up], w.bias_of(Role::up), t.up);
  const bool gated = !w[Role::gate].empty();
  if (gated) linear(t.ffn_in, w[Role::gate], w.bias_of(Role::gate), t.gate);
  t.inner.shape(t.up.rows(), t.up.cols());
  constexpr ::Activation kKinds[] = {::Activation::silu, ::Activation::gelu_tanh, ::Activation::gelu_erf,
                                     ::Activation::relu};
  const ActivationArgs act{gated ? t.gate.data() : t.up.data(), gated ? t.up.data() : nullptr, t.inner.data(),
                           t.inner.size(), kKinds[static_cast<size_t>(config_.activation)]};
  kernels_.activation->fn(&act);
}

void Network::close(const BlockWeights& w, Tape& t, Matrix& out) const {
  linear(t.inner, w[Role::down], w.bias_of(Role::down), t.ffn_branch);
  add_branch(w.ffn_post_norm, t.mid, t.ffn_branch, out);
  if (config_.norm_placement == NormPlacement::post_residual) {
    std::swap(t.out_raw, out);
    norm(w.ffn_norm, t.out_raw, out);
  }
}

void Network::activation_backward(Tape& t, const Matrix& dinner) const {
  const bool gated = !t.gate.empty();
  Matrix& dgate = t.dy[static_cast<size_t>(Role::gate)];
  Matrix& dup = t.dy[static_cast<size_t>(Role::up)];
  dup.shape(dinner.rows(), dinner.cols());
  if (gated) dgate.shape(dinner.rows(), dinner.cols());
  activation_gradient(config_.activation, gated ? t.gate.data() : t.up.data(), gated ? t.up.data() : nullptr,
                      dinner.data(), dinner.size(), gated ? dgate.data() : dup.data(),
                      gated ? dup.data() : nullptr);
}

void Network::backward(const BlockWeights& w, const Matrix& x, Tape& t, const Matrix& dout,
                       Matrix& dx) const {
  const format::Config& c = config_;
  const bool pre = norms_inputs();
  const bool post_residual = c.norm_placement == NormPlacement::post_residual;
  const auto dy = [&](Role r) -> Matrix& { return t.dy[static_cast<size_t>(r)]; };
  // d(input) of a linear from d(output)
  const auto through = [&](Role r, Matrix& out, Write write) {
    if (write == Write::set) out.shape(dy(r).rows(), w[r].cols());
    multiply_nn(rows_of(dy(r)), rows_of(w[r]), out.data(), out.cols(), write);
  };
  // d(branch) from d(sum): through residual scale and post-norm
  const auto into_branch = [&](const Matrix& dsum, const NormParameters& p, const Matrix& raw, Matrix& d) {
    Matrix scaled = dsum;
    scale_all(scaled, c.residual_scale);
    if (p.present()) {
      norm_backward(p, raw, scaled, d, Write::set);
    } else {
      d = std::move(scaled);
    }
  };

  Matrix dsum, dmid, tmp, dattn_in;
  if (post_residual) {
    norm_backward(w.ffn_norm, t.out_raw, dout, dsum, Write::set);
  } else {
    dsum = dout;
  }
  into_branch(dsum, w.ffn_post_norm, t.ffn_branch, dy(Role::down));
  through(Role::down, tmp, Write::set);
  activation_backward(t, tmp);
  through(Role::up, tmp, Write::set);
  if (!w[Role::gate].empty()) through(Role::gate, tmp, Write::add);
  dmid = std::move(dsum);
  if (c.block == BlockKind::parallel) {
    dattn_in = tmp;
  } else if (pre) {
    norm_backward(w.ffn_norm, t.mid, tmp, dmid, Write::add);
  } else {
    add_scaled(1.0f, tmp.data(), dmid.data(), dmid.size());
  }
  if (post_residual) {
    Matrix d;
    norm_backward(w.attn_norm, t.mid_raw, dmid, d, Write::set);
    dmid = std::move(d);
  }
  into_branch(dmid, w.attn_post_norm, t.attn_branch, dy(Role::o));
  through(Role::o, tmp, Write::set);
  attention_backward(w, t, tmp, dy(Role::q), dy(Role::k), dy(Role::v));
  rotate(w.rope, c.head_count, dy(Role::q), true);
  rotate(w.rope, c.kv_head_count, dy(Role::k), true);
  if (w.q_norm.present()) {
    const bool full = c.qk_norm == format::QkNorm::full;
    const auto back = [&](const NormParameters& p, const Matrix& raw, Matrix& d, uint32_t heads) {
      const size_t dim = full ? raw.cols() : c.head_dim, parts = full ? 1 : heads;
      Matrix out(d.rows(), d.cols());
      for (size_t r = 0; r < raw.rows(); ++r) {
        for (size_t h = 0; h < parts; ++h) {
          norm_row_backward(raw.row(r) + h * dim, p.weight.data(), d.row(r) + h * dim, dim, c.norm_eps, false,
                            out.row(r) + h * dim);
        }
      }
      d = std::move(out);
    };
    back(w.q_norm, t.q_raw, dy(Role::q), c.head_count);
    back(w.k_norm, t.k_raw, dy(Role::k), c.kv_head_count);
  }
  through(Role::q, tmp, Write::set);
  through(Role::k, tmp, Write::add);
  through(Role::v, tmp, Write::add);
  if (!dattn_in.empty()) add_scaled(1.0f, dattn_in.data(), tmp.data(), tmp.size());
  dx = std::move(dmid);
  if (pre) {
    norm_backward(w.attn_norm, x, tmp, dx, Write::add);
  } else {
    add_scaled(1.0f, tmp.data(), dx.data(), dx.size());
  }
}

void Network::embed(std::span<const int32_t> tokens, const Matrix& embedding, const Matrix& in,
                    Matrix& out) const {
  Matrix rows;
  rows.shape(tokens.size(), embedding.cols());
  for (size_t t = 0; t < tokens.size(); ++t)
    std::copy_n(embedding.row(static_cast<size_t>(tokens[t])), embedding.cols(), rows.row(t));
  if (in.empty()) {
    out = std::move(rows);
  } else {
    linear(rows, in, model_.embedding_in.bias, out);
  }
  scale_all(out, config_.embedding_scale);
  if (model_.positions.empty()) return;
  for (size_t t = 0; t < out.rows(); ++t)
    add_scaled(1.0f, model_.positions.data() + t * out.cols(), out.row(t), out.cols());
}

void Network::embed_backward(const Matrix& dx, const Matrix& in, Matrix& dy) const {
  if (in.empty()) {
    dy = dx;
  } else {
    dy.shape(dx.rows(), in.cols());
    multiply_nn(rows_of(dx), rows_of(in), dy.data(), dy.cols());
  }
  scale_all(dy, config_.embedding_scale);
}

void Network::finish(const Matrix& x, const NormParameters& p, const Matrix& projection, Matrix& y) const {
  Matrix normed;
  if (p.present()) {
    norm(p, x, normed);
  } else {
    normed = x;
  }
  if (projection.empty()) {
    y = std::move(normed);
  } else {
    linear(normed, projection, model_.embedding_out.bias, y);
  }
}

void Network::finish_backward(const Matrix& x, const NormParameters& p, const Matrix& projection,
                              const Matrix& dy, Matrix& dx) const {
  Matrix dnormed;
  if (projection.empty()) {
    dnormed = dy;
  } else {
    dnormed.shape(dy.rows(), projection.cols());
    multiply_nn(rows_of(dy), rows_of(projection), dnormed.data(), dnormed.cols());
  }
  if (p.present()) {
    norm_backward(p, x, dnormed, dx, Write::set);
  } else {
    dx = std::move(dnormed);
  }
}

void Network::logits(const Rows& y, const Matrix& head, const std::vector<float>& bias, Matrix& out) const {
  out.shape(y.rows, head.rows());
  multiply_nt(y, rows_of(head), out.data(), out.cols());
  if (!bias.empty()) {
    for (size_t t = 0; t < y.rows; ++t) add_scaled(1.0f, bias.data(), out.row(t), out.cols());
  }
  const float cap = config_.logits_softcap;
  if (cap > 0.0f) {
    for (float& v : out.span()) v = cap * std::tanh(config_.logits_scale * v / cap);
  } else {
    scale_all(out, config_.logits_scale);
  }
}

void Network::logits_backward(const Matrix& logits, Matrix& d) const {
  const float cap = config_.logits_softcap;
  if (cap > 0.0f) {
    for (size_t i = 0; i < d.size(); ++i) {
      const float t = logits.data()[i] / cap;
      d.data()[i] *= config_.logits_scale * (1.0f - t * t);
    }
  } else {
    scale_all(d, config_.logits_scale);
  }
}

}  // namespace minnow::compress
