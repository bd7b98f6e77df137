#include "compress/a2ats/codebooks.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/checked.h"
#include "base/cpu.h"
#include "compress/a2ats/codebook_math.h"
#include "compress/a2ats/facts_text.h"
#include "compress/json.h"
#include "compress/layout.h"
#include "compress/runtime_text.h"
#include "exec/decoder.h"
#include "exec/float_gemm.h"
#include "format/writer.h"
#include "kernels/common/float_bits.h"

namespace minnow::compress {
namespace {

/// What one KV head showed.
struct HeadSamples {
  uint32_t layer = 0, kv_head = 0;
  std::vector<double> moment;  // (dim, dim): sum of q^T q over far queries of the group
  Matrix keys;                 // (tokens, dim), before rotation
  size_t seen = 0;
};

struct HeadCodebook {
  uint32_t layer = 0, kv_head = 0;
  std::vector<double> lower;  // (dim, dim)
  std::vector<float> offset;  // (dim): minus the mean of whitened keys
  Matrix centres;             // (centroids, dim), whitened, the offset added
};

/// Collects keys and second moments of some layers.
class Collector : public exec::Probe {
 public:
  Collector(const format::Config& c, ThreadPool& pool, std::vector<HeadSamples>& heads)
      : c_(c), pool_(pool), heads_(heads) {}
  bool wants_far() const override { return true; }

  void see(uint32_t layer, Place place, const float* x, size_t stride, size_t rows) override {
    if (place != Place::far_key && place != Place::far_query) return;
    const size_t padded = round_up(size_t{c_.head_dim}, size_t{format::kChannelPadding});
    pool_.parallel_for(heads_.size(), 1, [&](size_t begin, size_t end, uint32_t) {
      for (size_t i = begin; i < end; ++i) {
        HeadSamples& h = heads_[i];
        if (h.layer != layer) continue;
        if (place == Place::far_key) {
          for (size_t t = 0; t < rows && h.seen < h.keys.rows(); ++t, ++h.seen)
            std::copy_n(x + t * stride + h.kv_head * padded, c_.head_dim, h.keys.row(h.seen));
        } else {
          add_queries(h, x, stride, rows, padded);
        }
      }
    });
  }

 private:
  void add_queries(HeadSamples& h, const float* x, size_t stride, size_t rows, size_t padded) const {
    const size_t group = c_.group_size(), dim = c_.head_dim;
    Matrix q(rows * group, dim), square(dim, dim);
    for (size_t t = 0; t < rows; ++t) {
      for (size_t g = 0; g < group; ++g)
        std::copy_n(x + t * stride + (h.kv_head * group + g) * padded, dim, q.row(t * group + g));
    }
    multiply_tn(rows_of(q), rows_of(q), square.data(), dim);
    for (size_t i = 0; i < dim * dim; ++i) h.moment[i] += double{square.data()[i]};
  }

  const format::Config& c_;
  ThreadPool& pool_;
  std::vector<HeadSamples>& heads_;
};

/// Takes the mean off every row and returns what was added.
std::vector<float> centre(Matrix& z) {
  std::vector<double> sum(z.cols());
  for (size_t r = 0; r < z.rows(); ++r) {
    for (size_t i = 0; i < z.cols(); ++i) sum[i] += double{z.row(r)[i]};
  }
  std::vector<float> offset(z.cols());
  for (size_t i = 0; i < z.cols(); ++i)
    offset[i] = static_cast<float>(-sum[i] / static_cast<double>(z.rows()));
  for (size_t r = 0; r < z.rows(); ++r) add_scaled(1.0f, offset.data(), z.row(r), z.cols());
  return offset;
}

class Trainer {
 public:
  Trainer(const CodebookOptions& options, OpenModel& model)
      : o_(options), m_(model), c_(m_.weights->config()) {}

  Status sequences(const model::Plan& plan) {
    RuntimeText text;
    text.files = o_.calibration;
    text.length = std::min(o_.length, c_.max_context);
    text.tokens = o_.tokens;
    text.seed = o_.seed;
    text.progress = [&](uint64_t done, uint64_t total) {
      return report("codebooks, sampling text", done, total);
    };
    MINNOW_ASSIGN(sequences_, runtime_text(m_, plan, text));
    if (m_.container->tokenizer().empty()) return {};
    MINNOW_ASSIGN(const auto tokenizer, tokenizer_of(*m_.container));
    MINNOW_ASSIGN(sequences_, facts_text(*tokenizer, sequences_, o_.tokens, text.length, o_.seed));
    MINNOW_ASSIGN(const Sequences identifiers,
                  random_identifiers(*tokenizer, o_.identifiers, text.length, o_.seed));
    sequences_.insert(sequences_.end(), identifiers.begin(), identifiers.end());
    return {};
  }

  Result<std::vector<HeadCodebook>> train() {
    MINNOW_ASSIGN(const model::Plan plan,
                  model::Plan::create(*m_.weights, detect_isa(), exec::float_gemm_available()));
    MINNOW_TRY(sequences(plan));
    size_t tokens = 0;
    for (const auto& s : sequences_) tokens += s.size();
    std::vector<uint32_t> layers;
    const format::Metadata& meta = m_.container->metadata();
    for (uint32_t l = 0; l < meta.layers.size(); ++l) {
      if (wants_codebook(meta.layers[l])) layers.push_back(l);
    }
    const uint64_t layer_bytes = uint64_t{tokens} * c_.kv_size() * sizeof(float);
    const size_t at_a_time = std::max<uint64_t>(1, o_.memory / std::max<uint64_t>(layer_bytes, 1));
    std::vector<HeadCodebook> out;
    const size_t passes = ceil_div(layers.size(), at_a_time);
    for (size_t pass = 0; pass < passes; ++pass) {
      std::vector<HeadSamples> heads;
      for (size_t i = pass * at_a_time; i < std::min(layers.size(), (pass + 1) * at_a_time); ++i) {
        for (uint32_t h = 0; h < c_.kv_head_count; ++h) {
          HeadSamples s;
          s.layer = layers[i], s.kv_head = h;
          s.moment.resize(size_t{c_.head_dim} * c_.head_dim);
          s.keys.shape(tokens, c_.head_dim);
          heads.push_back(std::move(s));
        }
      }
      MINNOW_TRY(collect(plan, heads, pass, passes));
      MINNOW_TRY(cluster_all(heads, layers.size() * c_.kv_head_count, out));
    }
    return out;
  }

 private:
  bool report(const char* stage, uint64_t done, uint64_t total) const {
    return !o_.progress || o_.progress(stage, done, total);
  }

  Status collect(const model::Plan& plan, std::vector<HeadSamples>& heads, size_t pass, size_t passes) {
    Collector collector(c_, *m_.pool, heads);
    exec::DecoderOptions options;
    options.context = static_cast<uint32_t>(sequences_.front().size());
    options.probe = &collector;
    MINNOW_ASSIGN(exec::Decoder decoder, exec::Decoder::create(plan, *m_.pool, options));
    for (size_t i = 0; i < sequences_.size(); ++i) {
      decoder.rewind(0);
      MINNOW_TRY(decoder.forward(sequences_[i]));
      if (!report("codebooks, keys", pass * sequences_.size() + i + 1, passes * sequences_.size()))
        return fail(Code::cancelled, "cancelled");
    }
    return {};
  }

  /// Heads side by side, a thread each.
  Status cluster_all(std::vector<HeadSamples>& heads, size_t all, std::vector<HeadCodebook>& out) {
    const size_t first = out.size();
    out.resize(first + heads.size());
    std::vector<Status> status(heads.size());
    for (size_t done = 0; done < heads.size();) {
      const size_t now = std::min<size_t>(m_.pool->threads(), heads.size() - done);
      m_.pool->parallel_for_each(now, [&](size_t begin, size_t end, uint32_t) {
        for (size_t i = done + begin; i < done + end; ++i) status[i] = cluster_head(heads[i], out[first + i]);
      });
      done += now;
      if (!report("codebooks, centroids", first + done, all)) return fail(Code::cancelled, "cancelled");
    }
    for (Status& s : status) MINNOW_TRY(std::move(s));
    return {};
  }

  Status cluster_head(HeadSamples& head, HeadCodebook& out) const {
    const size_t dim = c_.head_dim;
    out.layer = head.layer, out.kv_head = head.kv_head;
    if (o_.euclidean) std::fill(head.moment.begin(), head.moment.end(), 0.0);
    MINNOW_ASSIGN(out.lower, whitening(head.moment, dim));
    Matrix z = whiten(head.keys, out.lower);
    out.offset = centre(z);
    ClusterOptions options;
    options.centroids = o_.centroids;
    options.seed = o_.seed + uint64_t{head.layer} * 4096 + head.kv_head;
    auto clusters = cluster(z, options);
    if (!clusters.ok()) {
      return std::move(clusters).status().within(cat("layer ", head.layer, ", KV head ", head.kv_head));
    }
    out.centres = std::move(clusters->centres);
    head.keys = Matrix();
    return {};
  }

  const CodebookOptions& o_;
  OpenModel& m_;
  const format::Config& c_;
  Sequences sequences_;
};

/// Eight bits around 128, a scale for every centroid and 128 dimensions.
QuantisedLinear quantised(const Matrix& centres) {
  QuantisedLinear out;
  out.rows = static_cast<uint32_t>(centres.rows()), out.cols = static_cast<uint32_t>(centres.cols());
  QuantisedSlab s;
  s.code = format::CodeType::u8, s.group = 128, s.count = out.cols;
  s.codes.resize(centres.size());
  for (size_t r = 0; r < centres.rows(); ++r) {
    for (uint32_t g = 0; g < s.groups(); ++g) {
      const uint32_t begin = g * s.group, end = std::min(out.cols, begin + s.group);
      float most = 0.0f;
      for (uint32_t i = begin; i < end; ++i) most = std::max(most, std::fabs(centres.row(r)[i]));
      const float scale = f32_of_f16(f16_of_f32(most / 127.0f));
      s.scales.push_back(scale);
      for (uint32_t i = begin; i < end; ++i) {
        const float code = scale > 0.0f ? std::nearbyint(centres.row(r)[i] / scale) : 0.0f;
        s.codes[r * out.cols + i] = static_cast<uint8_t>(std::clamp(code, -127.0f, 127.0f) + 128.0f);
      }
    }
  }
  out.slabs.push_back(std::move(s));
  return out;
}

/// Codebooks of all heads as one segment.
Status append_codebooks(const std::vector<HeadCodebook>& books, format::Writer& writer, ThreadPool& pool,
                        format::Metadata& m) {
  MINNOW_TRY(writer.begin_segment(format::SegmentKind::codebook, false));
  for (const HeadCodebook& b : books) {
    format::Codebook& out = m.codebooks.emplace_back();
    out.layer = b.layer, out.kv_head = b.kv_head;
    const QuantisedLinear centres = quantised(b.centres);
    out.centres.name = cat("codebook ", b.layer, ".", b.kv_head);
    out.centres.rows = centres.rows, out.centres.cols = centres.cols;
    MINNOW_TRY(append_quantised(centres, format::Layout::panel, writer, pool, out.centres));
    const size_t dim = centres.cols, stride = round_up(dim, size_t{format::kChannelPadding});
    std::vector<float> upper(dim * stride);
    for (size_t i = 0; i < dim; ++i) {
      for (size_t j = i; j < dim; ++j) upper[i * stride + j] = static_cast<float>(b.lower[j * dim + i]);
    }
    out.whitening.dtype = format::DType::f32, out.whitening.count = upper.size();
    MINNOW_ASSIGN(out.whitening.offset, writer.align(format::kSegmentAlignment));
    MINNOW_TRY(writer.append(std::as_bytes(std::span(upper))));
    out.offset.dtype = format::DType::f32, out.offset.count = b.offset.size();
    MINNOW_ASSIGN(out.offset.offset, writer.align(sizeof(float)));
    MINNOW_TRY(writer.append(std::as_bytes(std::span(b.offset))));
  }
  MINNOW_ASSIGN(const uint32_t segment, writer.end_segment());
  for (format::Codebook& b : m.codebooks)
    b.centres.segment = b.whitening.segment = b.offset.segment = segment;
  return {};
}

/// Every other segment as it is, under its new number.
Status copy_segments(const format::Container& container, format::Writer& writer, format::Metadata& m) {
  std::vector<uint32_t> renamed(m.segments.size());
  for (uint32_t i = 0; i < m.segments.size(); ++i) {
    const format::Segment& s = m.segments[i];
    if (s.kind == format::SegmentKind::codebook) continue;
    MINNOW_TRY(writer.begin_segment(s.kind, s.offset % format::kPageAlignment == 0));
    const uint64_t slack = s.kind == format::SegmentKind::weights ? format::kSlabSlack : 0;  // comes anew
    MINNOW_TRY(writer.append(container.segment(i).first(s.size - slack)));
    MINNOW_ASSIGN(renamed[i], writer.end_segment());
  }
  const auto tensor = [&](format::TensorRef& t) {
    if (t.present()) t.segment = renamed[t.segment];
  };
  const auto norm = [&](format::Norm& n) { tensor(n.weight), tensor(n.bias); };
  for (format::Linear& l : m.linears) {
    l.segment = renamed[l.segment];
    for (format::TensorRef* t : {&l.bias, &l.input_centre, &l.thresholds}) tensor(*t);
  }
  for (format::TensorRef& t : m.input_orders) tensor(t);
  for (format::Layer& l : m.layers) {
    for (format::Norm* n :
         {&l.attn_norm, &l.attn_post_norm, &l.ffn_norm, &l.ffn_post_norm, &l.q_norm, &l.k_norm})
      norm(*n);
    tensor(l.gate_thresholds);
  }
  tensor(m.positions);
  norm(m.final_norm);
  if (m.tokenizer_segment >= 0)
    m.tokenizer_segment = static_cast<int32_t>(renamed[static_cast<size_t>(m.tokenizer_segment)]);
  return {};
}

Status check(const CodebookOptions& o, const format::Metadata& m) {
  if (o.centroids == 0 || o.centroids % 16 != 0 || o.centroids > model::kMostCentroids) {
    return fail(Code::invalid_argument, o.centroids,
                " centroids were asked for; a multiple of 16 is possible, at most ", model::kMostCentroids);
  }
  if (std::none_of(m.layers.begin(), m.layers.end(), wants_codebook)) {
    return fail(Code::unsupported,
                "every layer of this model has a sliding window: there is nothing to retrieve from");
  }
  return {};
}

Result<CompressReport> write_with_codebooks(const OpenModel& model, const std::vector<HeadCodebook>& books,
                                            const CodebookOptions& options, const std::string& output) {
  format::Metadata m = model.container->metadata();
  m.codebooks.clear();
  MINNOW_ASSIGN(format::Writer writer, format::Writer::create(output));
  MINNOW_TRY(copy_segments(*model.container, writer, m));
  MINNOW_TRY(append_codebooks(books, writer, *model.pool, m));
  Json all = Json::parse(m.provenance.settings, nullptr, false);
  if (!all.is_object()) all = Json::object();
  all["retrieval"] = {{"centroids", options.centroids},
                      {"metric", options.euclidean ? "euclidean" : "queries"}};
  m.provenance.settings = all.dump();
  const uint64_t parameters = m.parameters;
  MINNOW_TRY(writer.finish(std::move(m)));
  return CompressReport{writer.bytes_written(), parameters};
}

}  // namespace

bool codebooks_by_default(const ImportedModel& model, const CodebookOptions& options, uint64_t file_bytes) {
  const format::Config& c = model.config;
  const uint64_t dim = c.head_dim, padded = round_up(dim, uint64_t{format::kChannelPadding});
  const uint64_t centre = padded + ceil_div(padded, uint64_t{128}) * sizeof(uint16_t);
  const uint64_t book = options.centroids * centre + dim * padded * sizeof(float) + dim * sizeof(float);
  const auto layers =
      static_cast<uint64_t>(std::count_if(model.layers.begin(), model.layers.end(),
                                          [](const ImportedLayer& l) { return l.sliding_window == 0; }));
  return layers > 0 && c.max_context >= 8192 && layers * c.kv_head_count * book < file_bytes / 50 &&
         options.tokens >= 16 * options.centroids;
}

bool wants_codebook(const format::Layer& layer) {
  return layer.sliding_window == 0;
}

Result<CompressReport> add_codebooks(const std::string& input, const CodebookOptions& options,
                                     const std::string& output) {
  MINNOW_ASSIGN(OpenModel model, OpenModel::open(input, options.threads));
  MINNOW_TRY(check(options, model.container->metadata()));
  MINNOW_ASSIGN(const std::vector<HeadCodebook> books, Trainer(options, model).train());
  return write_with_codebooks(model, books, options, output);
}

Result<CompressReport> try_codebooks(const std::string& input, const CodebookOptions& options,
                                     const std::string& output) {
  MINNOW_ASSIGN(const OpenModel model, OpenModel::open(input, options.threads));
  const format::Metadata& m = model.container->metadata();
  MINNOW_TRY(check(options, m));
  const size_t dim = m.config.head_dim;
  std::vector<HeadCodebook> books;
  for (uint32_t l = 0; l < m.layers.size(); ++l) {
    for (uint32_t h = 0; wants_codebook(m.layers[l]) && h < m.config.kv_head_count; ++h)
      books.push_back(
          {l, h, std::vector<double>(dim * dim), std::vector<float>(dim), Matrix(options.centroids, dim)});
  }
  return write_with_codebooks(model, books, options, output);
}

}  // namespace minnow::compress
