#include "compress/mlwq/work.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace minnow::compress {
namespace {

constexpr size_t kCandidateRows = 64;
constexpr size_t kChunkRows = 16384;  // quantised at a time, which bounds the copies of an embedding

/// Groups of --paper: 128, or 64 where the linear is narrow.
uint32_t paper_group(uint32_t cols) {
  return cols % 128 == 0 && cols >= 512 ? 128 : 64;
}
std::vector<Scheme> paper_schemes(uint32_t cols) {
  const uint32_t g = paper_group(cols), h = std::max(g, cols / 16 / g * g);
  if (cols % g != 0 || cols < 3 * h) return {{{{3, g, cols}}}, {{{3, g, cols}}}, {{{2, g, cols}}}};
  return {{{{4, g, h}, {3, g, cols - 2 * h}, {2, g, h}}},
          {{{3, g, cols}}},
          {{{4, g, h}, {3, g, h}, {2, g, cols - 2 * h}}}};
}

void make_up(Matrix& w, const Order& order, const Drift& drift, const Prepared& p, ThreadPool& pool) {
  for (size_t first = 0; first < w.rows(); first += kChunkRows) {
    Matrix part = permuted_columns(w, order, first, kChunkRows);
    make_up(part, first, drift, p.h, p.factor, pool);
    restore_columns(part, order, w, first);
  }
}

Status named(const Work& work, Status status) {
  return std::move(status).within(cat("linear '", work.source->name, "'"));
}

/// sum_i G_i w_ik^2 / [H^-1]_kk^2: MLWQ's salience (equation 5) with each output weighed.
std::vector<double> salience_of(const Matrix& w, const LinearSensitivity& s, const Factor& f) {
  std::vector<double> out(w.cols(), 0.0);
  const double scale = s.moments.weight / s.tokens;
  for (size_t r = 0; r < w.rows(); ++r) {
    for (size_t c = 0; c < w.cols(); ++c) {
      const double d = double{w.row(r)[c]} / f.inverse[c];
      out[c] += scale * s.row_weights[r] * d * d;
    }
  }
  return out;
}

/// MLWQ's Dist (equation 3) of rounding a linear to nearest at `bits`: mean over outputs of the change of
/// mean and variance, from the moments of its inputs.
double distance(const Matrix& w, const Moments& m, uint32_t bits) {
  const size_t cols = w.cols();
  std::vector<double> mean(cols);
  for (size_t c = 0; c < cols; ++c) mean[c] = m.first[c] / m.weight;
  const uint32_t group = paper_group(static_cast<uint32_t>(cols));
  double sum = 0.0;
  std::vector<float> q(cols);
  const auto statistics = [&](const float* x, double& mu, double& variance) {
    mu = variance = 0.0;
    for (size_t i = 0; i < cols; ++i) {
      mu += x[i] * mean[i];
      double along = 0.0;
      for (size_t j = 0; j < i; ++j) along += double{m.second.row(i)[j]} * x[j];
      variance += x[i] * (2.0 * along + double{m.second.row(i)[i]} * x[i]) / m.weight;
    }
    variance -= mu * mu;
  };
  for (size_t r = 0; r < w.rows(); ++r) {
    const float* row = w.row(r);
    for (uint32_t c = 0; c < cols; c += group) {
      const uint32_t n = std::min<uint32_t>(group, static_cast<uint32_t>(cols) - c);
      const Grid g = fit_grid(row + c, nullptr, n, bits, ClipSearch::none);
      const Rounding round(g, bits);
      for (uint32_t i = 0; i < n; ++i) q[c + i] = value_of(g, round(row[c + i]));
    }
    double mu_f, mu_q, var_f, var_q;
    statistics(row, mu_f, var_f);
    statistics(q.data(), mu_q, var_q);
    sum += std::fabs(mu_f - mu_q) + std::fabs(var_f - var_q);
  }
  return sum / static_cast<double>(w.rows());
}

}  // namespace

format::Layout Work::layout(const Scheme& s) const {
  return by_channel  ? format::Layout::channel
         : skippable ? skippable_layout(s, outputs())
                     : format::Layout::panel;
}

uint64_t Work::bytes(const Scheme& s) const {
  return bytes_of(s, outputs(), layout(s)) + (gathers(s) ? uint64_t{4} * inputs() : 0);
}

const Order& Work::output_order() const {
  static const Order none;
  return rows != nullptr ? *rows : none;
}

Result<Prepared> prepare(Result<Matrix> h, ThreadPool& pool) {
  Prepared p;
  MINNOW_ASSIGN(p.h, std::move(h));
  if (p.h.empty()) return p;
  MINNOW_ASSIGN(p.factor, factor_inverse(p.h, pool));
  return p;
}

GptqOptions gptq_options(const MlwqOptions& o, uint32_t descents) {
  GptqOptions g;
  g.clip = o.clip;
  g.compensate = o.compensate && o.method != Method::rtn;
  g.descents = g.compensate ? descents : 0;
  return g;
}

LinearSensitivity indifferent(const Matrix& w) {
  LinearSensitivity l;
  double square = 0.0;
  for (float v : w.span()) square += double{v} * v;
  l.moments.weight = 1.0;
  l.tokens =
      std::max(square, 1e-30) / static_cast<double>(w.size());  // the loss is relative, and counts by weights
  l.row_weights.assign(w.rows(), 1.0);
  return l;
}

Status calibrate_linear(Work& work, const Matrix& w, const MlwqOptions& o, ThreadPool& pool) {
  CalibratedLinear& found = work.found;
  const LinearSensitivity& s = found.sensitivity;
  const uint32_t cols = work.inputs();
  const Order natural = natural_order(cols);
  if (o.method == Method::rtn) {
    found.salience.assign(cols, 1.0);  // knows no order
  } else {
    auto plain = prepare(damped(s.moments, natural, o.damping), pool);
    if (!plain.ok()) return named(work, std::move(plain).status());
    found.salience = salience_of(w, s, plain->factor);
  }
  // Some rows are quantised in every way there is. A candidate's loss is a sum over rows that differ
  // little, so some stand for all.
  const size_t step = std::max<size_t>(1, w.rows() / kCandidateRows);
  Matrix some((w.rows() + step - 1) / step, cols);
  double share = 0.0, all = 0.0;
  for (size_t r = 0; r < w.rows(); ++r) {
    all += s.row_weights[r];
    if (r % step != 0) continue;
    share += s.row_weights[r];
    std::copy_n(w.row(r), cols, some.row(r / step));
  }
  const Order by_salience = descending(found.salience);
  MINNOW_ASSIGN(const Prepared p, prepare(damped(s.moments, by_salience, o.damping), pool));
  const Matrix wp = permuted_columns(some, by_salience);
  for (const Scheme& scheme : o.paper ? paper_schemes(cols) : candidate_schemes(cols, o.space)) {
    auto r = quantise_linear(wp, p.h, p.factor, groups_of(scheme), gptq_options(o, 0), pool);
    if (!r.ok()) return named(work, std::move(r).status());
    const std::vector<double> errors =
        r->errors.empty() ? row_errors(wp, r->values, p.h, pool) : std::move(r->errors);
    double loss = 0.0;
    for (size_t i = 0; i < errors.size(); ++i) loss += errors[i] * s.row_weights[i * step];
    if (share > 0.0) loss *= all / share;
    found.candidates.push_back({scheme, work.bytes(scheme), 0.5 * loss * s.moments.weight / s.tokens});
  }
  if (o.paper) found.rise = distance(w, s.moments, 2) - distance(w, s.moments, 3);
  return {};
}

Result<QuantisedLinear> quantise_work(const Work& work, SeenInputs seen, Matrix& w, const MlwqOptions& o,
                                      ThreadPool& pool) {
  const Scheme& scheme = work.scheme();
  const Sequence seq = sequence_of(scheme, work.input_order(), work.found.salience);
  const auto prepared = [&](Result<Matrix> h) -> Result<Prepared> {
    auto p = prepare(std::move(h), pool);
    if (!p.ok()) return named(work, std::move(p).status());
    return p;
  };
  // Each of these is as large as the square of a linear's inputs: they come and go one after the other.
  Drift& drift = seen.drift;
  if (!drift.empty()) drift = in_order(std::move(drift), seq.channels, o.make_up);
  const double all = seen.followed.weight + seen.others.weight;
  if (!drift.empty() && o.make_up * all > seen.followed.weight) {
    Result<Matrix> h = damped(seen.followed, seq.channels, o.damping);
    seen.followed.add(std::exchange(seen.others, {}));
    MINNOW_ASSIGN(const Prepared p, prepared(std::move(h)));
    make_up(w, seq.channels, std::exchange(drift, {}), p, pool);
  }
  seen.followed.add(std::exchange(seen.others, {}));
  Result<Matrix> h = damped(seen.followed, seq.channels, o.damping);
  seen.followed = {};
  MINNOW_ASSIGN(const Prepared p, prepared(std::move(h)));
  if (!drift.empty()) make_up(w, seq.channels, std::exchange(drift, {}), p, pool);
  GptqResult whole;
  whole.codes.reserve(w.size());
  for (size_t first = 0; first < w.rows(); first += kChunkRows) {
    const Matrix part = permuted_columns(w, seq.channels, first, kChunkRows);
    auto result = quantise_linear(part, p.h, p.factor, seq.groups, gptq_options(o, o.descents), pool);
    if (!result.ok()) return named(work, std::move(result).status());
    whole.codes.insert(whole.codes.end(), result->codes.begin(), result->codes.end());
    whole.grids.insert(whole.grids.end(), result->grids.begin(), result->grids.end());
    restore_columns(result->values, seq.channels, w, first);
  }
  static const Order none;
  return store(work.source->name, whole, scheme, seq, work.output_order(),
               work.gathers(scheme) ? *work.file_order : none);
}

QuantisedLinear blank_linear(const Work& work) {
  QuantisedLinear l;
  l.name = work.source->name;
  l.rows = work.outputs(), l.cols = work.inputs();
  if (work.gathers(work.scheme())) l.order = *work.file_order;
  uint32_t first = 0;
  for (const SlabSpec& spec : work.scheme().slabs) {
    QuantisedSlab s;
    s.code = code_type(spec.bits), s.group = spec.group, s.first = first, s.count = spec.count;
    s.codes.resize(size_t{l.rows} * s.count);
    s.scales.resize(size_t{l.rows} * s.groups());
    if (spec.bits != 8) s.zeros.resize(s.scales.size());
    first += spec.count;
    l.slabs.push_back(std::move(s));
  }
  return l;
}

}  // namespace minnow::compress
