#include "retrieval/arms.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "compress/a2ats/codebook_math.h"

namespace minnow::bench {
namespace {

using exec::Selector;

/// Keys of the cache as floats.
class Keys {
 public:
  Keys(const model::Plan& plan, kv::Type type) : config(*plan.config), plan_(plan), type_(type) {}

  /// The key of position p; `row` holds 2 * padded() numbers.
  void load(const kv::RowView& rows, uint32_t p, float* row) const {
    const size_t n = padded();
    kv::read_row(rows, type_, p, static_cast<uint32_t>(n), plan_.kernels, row, row + n);
  }
  /// Takes the rotation of position p off again.
  void unrotate(uint32_t layer, uint32_t p, float* k) const { turn(layer, -static_cast<int64_t>(p), k); }
  /// Rotates by so many positions.
  void turn(uint32_t layer, int64_t by, float* k) const {
    const format::Rope* rope = plan_.layers[layer].weights->rope;
    if (rope == nullptr) return;
    const size_t half = config.rotary_dim / 2;
    for (size_t j = 0; j < half; ++j) {
      const float angle = static_cast<float>(by) * rope->inv_freq[j];
      const float c = std::cos(angle), s = std::sin(angle), a = k[j], b = k[j + half];
      k[j] = a * c - b * s;
      k[j + half] = b * c + a * s;
    }
  }
  size_t padded() const { return (config.head_dim + 31) / 32 * 32; }

  const model::Config& config;

 private:
  const model::Plan& plan_;
  kv::Type type_;
};

float dot(const float* a, const float* b, size_t n) {
  float sum = 0.0f;
  for (size_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

/// Marks the `most` best of scores.
void mark_best(const std::vector<float>& scores, size_t most, std::vector<uint8_t>& marked) {
  std::vector<uint32_t> order(scores.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<uint32_t>(i);
  most = std::min(most, order.size());
  std::nth_element(order.begin(), order.begin() + static_cast<long>(most), order.end(),
                   [&](uint32_t a, uint32_t b) { return scores[a] > scores[b]; });
  for (size_t i = 0; i < most; ++i) marked[order[i]] = 1;
}

size_t list_marked(const std::vector<uint8_t>& marked, uint32_t first, uint32_t* list) {
  size_t n = 0;
  for (size_t i = 0; i < marked.size(); ++i) {
    if (marked[i] != 0) list[n++] = first + static_cast<uint32_t>(i);
  }
  return n;
}

/// Top k a head by true scores, or by those of far keys.
class TopK : public Selector {
 public:
  TopK(Keys keys, float fraction, bool far) : keys_(keys), fraction_(fraction), far_(far) {}
  size_t select(const Request& r, uint32_t first, uint32_t end, uint32_t* list) override {
    const size_t group = keys_.config.group_size(), dim = keys_.config.head_dim;
    std::vector<std::vector<float>> scores(group, std::vector<float>(end - first));
    std::vector<float> k(2 * keys_.padded());
    for (uint32_t p = first; p < end; ++p) {
      keys_.load(r.rows, p, k.data());
      if (far_) keys_.turn(r.layer, int64_t{r.position} - exec::kFarDistance - p, k.data());
      for (size_t g = 0; g < group; ++g) scores[g][p - first] = dot(r.q + g * keys_.padded(), k.data(), dim);
    }
    std::vector<uint8_t> marked(end - first);
    const auto most = static_cast<size_t>(fraction_ * static_cast<float>(r.position + 1));
    for (const auto& s : scores) mark_best(s, most, marked);
    return list_marked(marked, first, list);
  }

 private:
  Keys keys_;
  float fraction_;
  bool far_;
};

/// Quest: pages by the largest score that any key within their bounds could have.
class Pages : public Selector {
 public:
  Pages(Keys keys, float fraction) : keys_(keys), fraction_(fraction) {}
  size_t select(const Request& r, uint32_t first, uint32_t end, uint32_t* list) override {
    constexpr uint32_t kPage = 16;
    const size_t group = keys_.config.group_size(), dim = keys_.config.head_dim;
    const uint32_t pages = (end - first + kPage - 1) / kPage;
    std::vector<std::vector<float>> scores(group, std::vector<float>(pages));
    std::vector<float> k(2 * keys_.padded()), low(dim), high(dim);
    for (uint32_t page = 0; page < pages; ++page) {
      std::fill(low.begin(), low.end(), INFINITY);
      std::fill(high.begin(), high.end(), -INFINITY);
      for (uint32_t p = first + page * kPage; p < std::min(end, first + (page + 1) * kPage); ++p) {
        keys_.load(r.rows, p, k.data());
        for (size_t i = 0; i < dim; ++i) low[i] = std::min(low[i], k[i]), high[i] = std::max(high[i], k[i]);
      }
      for (size_t g = 0; g < group; ++g) {
        const float* q = r.q + g * keys_.padded();
        float sum = 0.0f;
        for (size_t i = 0; i < dim; ++i) sum += std::max(q[i] * low[i], q[i] * high[i]);
        scores[g][page] = sum;
      }
    }
    const auto most = static_cast<size_t>(fraction_ * static_cast<float>(r.position + 1) / kPage + 0.5f);
    std::vector<uint8_t> marked(pages);
    for (const auto& s : scores) mark_best(s, most, marked);
    size_t n = 0;
    for (uint32_t p = first; p < end; ++p) {
      if (marked[(p - first) / kPage] != 0) list[n++] = p;
    }
    return n;
  }

 private:
  Keys keys_;
  float fraction_;
};

/// Codes of parts: z = U k + o in its principal directions, these shared out to parts of about equal spread,
/// each part the nearest of 2^bits centroids. Codebooks come from the first text seen.
class Parts : public Selector {
 public:
  struct Shape {
    size_t parts = 8, bits = 4;
  };
  Parts(const model::Plan& plan, Keys keys, float fraction, Shape shape)
      : plan_(plan), keys_(keys), fraction_(fraction), shape_(shape) {
    books_.resize(plan.layers.size() * keys.config.kv_head_count);
  }

  size_t select(const Request& r, uint32_t first, uint32_t end, uint32_t* list) override {
    const size_t group = keys_.config.group_size(), dim = keys_.config.head_dim;
    Book& b = books_[r.layer * keys_.config.kv_head_count + r.kv_head];
    if (b.centres.empty()) train(b, r, end);
    encode(b, r, end);
    const model::Codebook& book = plan_.layers[r.layer].weights->codebooks[r.kv_head];
    std::vector<uint8_t> marked(end - first);
    const auto most = static_cast<size_t>(fraction_ * static_cast<float>(r.position + 1));
    for (size_t g = 0; g < group; ++g) {
      const float* q = r.far_q + (exec::bands_of(r.position + 1) - 1) * r.band_stride + g * keys_.padded();
      std::vector<float> y(q, q + dim);   // all keys as those of the farthest band
      for (size_t i = 0; i < dim; ++i) {  // L^-1 q
        const float* u = book.whitening + i * keys_.padded();
        y[i] /= u[i];
        for (size_t j = i + 1; j < dim; ++j) y[j] -= y[i] * u[j];
      }
      const std::vector<float> turned = turn(b, y);
      std::vector<float> scores(end - first);
      for (size_t part = 0; part < shape_.parts; ++part) {
        const auto& dims = b.dims[part];
        std::vector<float> table(b.centres[part].rows());
        for (size_t c = 0; c < table.size(); ++c) {
          for (size_t i = 0; i < dims.size(); ++i) table[c] += turned[dims[i]] * b.centres[part].row(c)[i];
        }
        for (uint32_t p = first; p < end; ++p) scores[p - first] += table[b.codes[p * shape_.parts + part]];
      }
      mark_best(scores, most, marked);
    }
    return list_marked(marked, first, list);
  }

 private:
  struct Book {
    std::vector<std::vector<double>> axes;  // (dim, dim): principal directions
    std::vector<std::vector<size_t>> dims;  // of each part
    std::vector<compress::Matrix> centres;  // of each part
    std::vector<uint16_t> codes;            // (positions, parts)
    std::vector<uint64_t> seen;  // first bytes of each key that is coded: keys change from text to text
  };

  std::vector<float> z_of(const Request& r, uint32_t p) const {
    const size_t dim = keys_.config.head_dim;
    const model::Codebook& book = plan_.layers[r.layer].weights->codebooks[r.kv_head];
    std::vector<float> k(2 * keys_.padded()), z(dim);
    keys_.load(r.rows, p, k.data());
    keys_.unrotate(r.layer, p, k.data());
    for (size_t i = 0; i < dim; ++i)
      z[i] = book.offset[i] + dot(book.whitening + i * keys_.padded(), k.data(), dim);
    return z;
  }
  std::vector<float> turn(const Book& b, const std::vector<float>& z) const {
    std::vector<float> out(z.size());
    for (size_t i = 0; i < z.size(); ++i) {
      for (size_t j = 0; j < z.size(); ++j) out[i] += static_cast<float>(b.axes[i][j]) * z[j];
    }
    return out;
  }

  void train(Book& b, const Request& r, uint32_t end) {
    const size_t dim = keys_.config.head_dim;
    std::vector<std::vector<float>> rows;
    std::vector<std::vector<double>> cov(dim, std::vector<double>(dim));
    for (uint32_t p = 0; p < end; ++p) {
      rows.push_back(z_of(r, p));
      for (size_t i = 0; i < dim; ++i) {
        for (size_t j = 0; j < dim; ++j) cov[i][j] += double{rows.back()[i]} * double{rows.back()[j]} / end;
      }
    }
    std::vector<double> spread;
    jacobi(cov, b.axes, spread);
    // Directions of large spread first, each to the part whose product of spreads is smallest.
    b.dims.resize(shape_.parts);
    std::vector<double> product(shape_.parts);
    std::vector<size_t> order(dim);
    for (size_t i = 0; i < dim; ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](size_t x, size_t y) { return spread[x] > spread[y]; });
    const size_t most = (dim + shape_.parts - 1) / shape_.parts;
    for (const size_t d : order) {
      size_t to = shape_.parts;
      for (size_t part = 0; part < shape_.parts; ++part) {
        if (b.dims[part].size() < most && (to == shape_.parts || product[part] < product[to])) to = part;
      }
      b.dims[to].push_back(d);
      product[to] += std::log(std::max(spread[d] / spread[order[0]], 1e-9)) + 20.0;
    }
    for (size_t part = 0; part < shape_.parts; ++part) {
      compress::Matrix points(rows.size(), b.dims[part].size());
      for (size_t p = 0; p < rows.size(); ++p) {
        const auto turned = turn(b, rows[p]);
        for (size_t i = 0; i < b.dims[part].size(); ++i) points.row(p)[i] = turned[b.dims[part][i]];
      }
      compress::ClusterOptions o;
      o.centroids = size_t{1} << shape_.bits;
      b.centres.push_back(std::move(compress::cluster(points, o)).value().centres);
    }
  }

  void encode(Book& b, const Request& r, uint32_t end) const {
    b.codes.resize(size_t{end} * shape_.parts);
    b.seen.resize(end);
    for (uint32_t p = 0; p < end; ++p) {
      uint64_t mark = 0;
      std::memcpy(&mark, r.rows.k + p * r.rows.row_stride, sizeof mark);
      if (mark == b.seen[p]) continue;
      b.seen[p] = mark;
      const auto turned = turn(b, z_of(r, p));
      for (size_t part = 0; part < shape_.parts; ++part) {
        const auto& c = b.centres[part];
        float best = INFINITY;
        for (size_t i = 0; i < c.rows(); ++i) {
          float d = 0.0f;
          for (size_t j = 0; j < b.dims[part].size(); ++j) {
            const float v = turned[b.dims[part][j]] - c.row(i)[j];
            d += v * v;
          }
          if (d < best) best = d, b.codes[p * shape_.parts + part] = static_cast<uint16_t>(i);
        }
      }
    }
  }

  /// Eigenvectors (rows of `axes`) and eigenvalues of a symmetric matrix, by rotations.
  static void jacobi(std::vector<std::vector<double>> a, std::vector<std::vector<double>>& axes,
                     std::vector<double>& values) {
    const size_t n = a.size();
    axes.assign(n, std::vector<double>(n));
    for (size_t i = 0; i < n; ++i) axes[i][i] = 1.0;
    for (int sweep = 0; sweep < 12; ++sweep) {
      for (size_t p = 0; p < n; ++p) {
        for (size_t q = p + 1; q < n; ++q) {
          if (std::fabs(a[p][q]) < 1e-12 * std::sqrt(std::fabs(a[p][p] * a[q][q]) + 1e-300)) continue;
          const double theta = 0.5 * std::atan2(2.0 * a[p][q], a[q][q] - a[p][p]);
          const double c = std::cos(theta), s = std::sin(theta);
          for (size_t i = 0; i < n; ++i) {
            const double x = a[i][p], y = a[i][q];
            a[i][p] = c * x - s * y, a[i][q] = s * x + c * y;
          }
          for (size_t i = 0; i < n; ++i) {
            const double x = a[p][i], y = a[q][i];
            a[p][i] = c * x - s * y, a[q][i] = s * x + c * y;
          }
          for (size_t i = 0; i < n; ++i) {
            const double x = axes[p][i], y = axes[q][i];
            axes[p][i] = c * x - s * y, axes[q][i] = s * x + c * y;
          }
        }
      }
    }
    for (size_t i = 0; i < n; ++i) values.push_back(a[i][i]);
  }

  const model::Plan& plan_;
  Keys keys_;
  float fraction_;
  Shape shape_;
  std::vector<Book> books_;
};

float number(const std::string& text, const std::string& arm) {
  size_t used = 0;
  const float v = std::stof(text, &used);
  if (used != text.size()) throw std::invalid_argument("'" + text + "' in '" + arm + "' is not a number");
  return v;
}

}  // namespace

Arm parse_arm(const std::string& text, const model::Plan& plan, kv::Type type) {
  Arm arm;
  arm.name = text;
  const size_t colon = text.find(':');
  const std::string kind = text.substr(0, colon);
  std::istringstream keys(colon == std::string::npos ? "" : text.substr(colon + 1));
  exec::RetrievalOptions& o = arm.options;
  o.on = kind != "dense", o.from = 0;
  Parts::Shape shape;
  for (std::string pair; std::getline(keys, pair, ',');) {
    const size_t equals = pair.find('=');
    if (equals == std::string::npos)
      throw std::invalid_argument("'" + pair + "' in '" + text + "' has no value");
    const std::string key = pair.substr(0, equals);
    const float value = number(pair.substr(equals + 1), text);
    if (key == "fraction")
      o.fraction = value;
    else if (key == "measure")
      o.measure = value != 0.0f;
    else if (key == "least")
      o.least = value;
    else if (key == "share")
      o.share = value;
    else if (key == "dense")
      o.dense_layers = static_cast<uint32_t>(value);
    else if (key == "rest")
      o.remainder = value != 0.0f;
    else if (key == "parts")
      shape.parts = static_cast<size_t>(value);
    else if (key == "few")
      o.few_outliers = static_cast<uint32_t>(value);
    else if (key == "most")
      o.most_outliers = value;
    else if (key == "outliers")
      o.outliers = value;
    else if (key == "bits")
      shape.bits = static_cast<size_t>(value);
    else if (key == "budget")
      o.budget = static_cast<uint32_t>(value);
    else
      throw std::invalid_argument("'" + key + "' in '" + text + "' is not known");
  }
  if (kind == "exact" || kind == "far")
    arm.selector = std::make_unique<TopK>(Keys(plan, type), o.fraction, kind == "far");
  else if (kind == "pages")
    arm.selector = std::make_unique<Pages>(Keys(plan, type), o.fraction);
  else if (kind == "parts")
    arm.selector = std::make_unique<Parts>(plan, Keys(plan, type), o.fraction, shape);
  else if (kind != "dense" && kind != "vq")
    throw std::invalid_argument("'" + kind + "' is no arm");
  o.selector = arm.selector.get();
  return arm;
}

}  // namespace minnow::bench
