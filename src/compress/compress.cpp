#include "compress/compress.h"

#include <algorithm>
#include <memory>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "compress/json.h"
#include "compress/layout.h"
#include "compress/pack.h"
#include "compress/round_to_nearest.h"
#include "compress/tokenizer_json.h"
#include "format/writer.h"
#include "kernels/common/float_bits.h"
#include "minnow/minnow.h"
#include "model/kernel_set.h"
#include "model/weights.h"
#include "text/chat_format.h"

namespace minnow::compress {
namespace {

using format::Metadata;
using format::SegmentKind;

const char* name_of(Storage s) {
  constexpr const char* kNames[] = {"source16", "f16", "bf16", "f32", "w8", "w4", "w3", "w2"};
  return kNames[static_cast<size_t>(s)];
}

/// Bits of a code; 0: floats.
uint32_t code_bits(Storage s) {
  constexpr uint32_t kBits[] = {0, 0, 0, 0, 8, 4, 3, 2};
  return kBits[static_cast<size_t>(s)];
}

uint64_t weight_count(const ImportedLinear& l) {
  return uint64_t{l.weight.rows} * l.weight.cols;
}

/// Writes the two kinds of segments of weights: small tensors together, linears together.
class FileBuilder {
 public:
  FileBuilder(const ImportedModel& model, const CompressOptions& options, format::Writer& writer,
              ThreadPool& pool, const model::KernelSet& kernels)
      : model_(model),
        options_(options),
        writer_(writer),
        pool_(pool),
        packer_(writer, pool, kernels, [this](uint64_t weights) { return report(weights); }) {}

  Status run() {
    for (const ImportedLayer& l : model_.layers) {
      for (const ImportedLinear* x : {&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down})
        total_ += weight_count(*x);
    }
    for (const ImportedLinear* x :
         {&model_.embedding, &model_.head, &model_.embedding_in, &model_.embedding_out}) {
      total_ += weight_count(*x);
    }
    m_.config = model_.config;
    m_.layers.resize(model_.layers.size());
    MINNOW_TRY(linears());
    MINNOW_TRY(small_tensors());
    MINNOW_TRY(tokenizer());
    m_.bos_id = model_.bos_id;
    m_.eos_ids = model_.eos_ids;
    m_.parameters = model_.parameters;
    m_.provenance = model_.provenance;
    m_.provenance.tool = "minnow " MINNOW_VERSION;
    const Json settings = {{"method", code_bits(options_.storage) != 0 ? "rtn" : "none"},
                           {"storage", name_of(options_.storage)},
                           {"head_storage", name_of(options_.head_storage)},
                           {"group", options_.group}};
    m_.provenance.settings = options_.settings.empty() ? settings.dump() : options_.settings;
    return {};
  }

  Metadata take() { return std::move(m_); }

 private:
  bool report(uint64_t weights) {
    done_ += weights;
    return !options_.progress || options_.progress("weights", done_, total_);
  }

  /// Layouts by what a token may leave out: outputs of `up`, inputs of `down`; panels read fastest.
  Status linear(const ImportedLinear& in, int32_t& index, Storage storage,
                format::Layout layout = format::Layout::panel) {
    if (!in.present()) return {};
    format::Linear out;
    out.name = in.name;
    out.rows = in.weight.rows;
    out.cols = in.weight.cols;
    out.segment = static_cast<uint32_t>(weight_segment_);
    const QuantisedSet::Entry* given =
        options_.quantised == nullptr ? nullptr : options_.quantised->find(in.name);
    if (given != nullptr) {
      MINNOW_TRY(append_quantised(given->linear, given->layout, writer_, pool_, out));
      out.input_order = order_index(given->linear.order);
      if (!report(weight_count(in))) return fail(Code::cancelled, "cancelled");
    } else if (const uint32_t bits = code_bits(storage); bits != 0) {
      MINNOW_ASSIGN(const QuantisedLinear quantised,
                    round_to_nearest(in.weight, bits, options_.group, pool_));
      MINNOW_TRY(append_quantised(quantised, layout, writer_, pool_, out));
      if (!report(weight_count(in))) return fail(Code::cancelled, "cancelled");
    } else {
      MINNOW_ASSIGN(format::Slab slab, packer_.pack(in.weight, storage));
      out.slabs.push_back(std::move(slab));
    }
    in.weight.forget();
    index = static_cast<int32_t>(m_.linears.size());
    biases_.push_back(&in.bias);
    m_.linears.push_back(std::move(out));
    return {};
  }

  Status linears() {
    MINNOW_TRY(writer_.begin_segment(SegmentKind::weights, total_ > format::kPagedWeights));
    const Storage body = options_.storage, ends = options_.head_storage;
    MINNOW_TRY(linear(model_.embedding, m_.embedding, ends));
    MINNOW_TRY(linear(model_.embedding_in, m_.embedding_in, body));
    for (size_t i = 0; i < m_.layers.size(); ++i) {
      const ImportedLayer& in = model_.layers[i];
      format::Layer& out = m_.layers[i];
      MINNOW_TRY(linear(in.q, out.q, body));
      MINNOW_TRY(linear(in.k, out.k, body));
      MINNOW_TRY(linear(in.v, out.v, body));
      MINNOW_TRY(linear(in.o, out.o, body));
      MINNOW_TRY(linear(in.gate, out.gate, body));
      MINNOW_TRY(linear(in.up, out.up, body, format::Layout::row));
      MINNOW_TRY(linear(in.down, out.down, body, format::Layout::channel));
      out.sliding_window = in.sliding_window;
      out.rope = in.rope;
    }
    MINNOW_TRY(linear(model_.embedding_out, m_.embedding_out, body));
    m_.head = m_.embedding;
    if (model_.head.present()) MINNOW_TRY(linear(model_.head, m_.head, ends));
    MINNOW_ASSIGN([[maybe_unused]] const uint32_t segment, writer_.end_segment());
    return {};
  }

  /// Linears of one input share its order.
  int32_t order_index(const std::vector<uint32_t>& order) {
    if (order.empty()) return -1;
    for (size_t i = 0; i < orders_.size(); ++i) {
      if (*orders_[i] == order) return static_cast<int32_t>(i);
    }
    orders_.push_back(&order);
    return static_cast<int32_t>(orders_.size() - 1);
  }

  Status input_orders() {
    for (const auto* order : orders_) {
      format::TensorRef& ref = m_.input_orders.emplace_back();
      ref.segment = static_cast<uint32_t>(weight_segment_) + 1;
      ref.dtype = format::DType::u32;
      ref.count = order->size();
      MINNOW_ASSIGN(ref.offset, writer_.align(4));
      MINNOW_TRY(writer_.append(std::as_bytes(std::span(*order))));
    }
    return {};
  }

  Status floats(const std::vector<float>& values, format::TensorRef& ref) {
    if (values.empty()) return {};
    ref.segment = static_cast<uint32_t>(weight_segment_) + 1;
    ref.dtype = format::DType::f32;
    ref.count = values.size();
    MINNOW_ASSIGN(ref.offset, writer_.align(4));
    return writer_.append(std::as_bytes(std::span(values)));
  }

  /// In 16 bits where those hold every value exactly, as they do where the source has 16 bits.
  Status positions() {
    const std::vector<float>& values = model_.positions;
    for (const format::DType type : {format::DType::f16, format::DType::bf16}) {
      const bool f16 = type == format::DType::f16;
      std::vector<uint16_t> halves(values.size());
      bool exact = true;
      for (size_t i = 0; i < values.size() && exact; ++i) {
        halves[i] = f16 ? f16_of_f32(values[i]) : bf16_of_f32(values[i]);
        exact = (f16 ? f32_of_f16(halves[i]) : f32_of_bf16(halves[i])) == values[i];
      }
      if (!exact || values.empty()) continue;
      m_.positions = {static_cast<uint32_t>(weight_segment_) + 1, type, 0, values.size()};
      MINNOW_ASSIGN(m_.positions.offset, writer_.align(sizeof(uint16_t)));
      return writer_.append(std::as_bytes(std::span(halves)));
    }
    return floats(values, m_.positions);
  }

  Status norm(const ImportedNorm& in, format::Norm& out) {
    MINNOW_TRY(floats(in.weight, out.weight));
    return floats(in.bias, out.bias);
  }

  Status small_tensors() {
    MINNOW_TRY(writer_.begin_segment(SegmentKind::small, false));
    for (size_t i = 0; i < m_.linears.size(); ++i) MINNOW_TRY(floats(*biases_[i], m_.linears[i].bias));
    for (size_t i = 0; i < m_.layers.size(); ++i) {
      const ImportedLayer& in = model_.layers[i];
      format::Layer& out = m_.layers[i];
      MINNOW_TRY(norm(in.attn_norm, out.attn_norm));
      MINNOW_TRY(norm(in.attn_post_norm, out.attn_post_norm));
      MINNOW_TRY(norm(in.ffn_norm, out.ffn_norm));
      MINNOW_TRY(norm(in.ffn_post_norm, out.ffn_post_norm));
      MINNOW_TRY(norm(in.q_norm, out.q_norm));
      MINNOW_TRY(norm(in.k_norm, out.k_norm));
    }
    MINNOW_TRY(norm(model_.final_norm, m_.final_norm));
    MINNOW_TRY(positions());
    MINNOW_TRY(input_orders());
    MINNOW_ASSIGN([[maybe_unused]] const uint32_t segment, writer_.end_segment());
    return {};
  }

  Status tokenizer() {
    if (!model_.tokenizer) return {};
    format::TokenizerData data = *model_.tokenizer;
    if (!options_.chat_format.empty()) {
      MINNOW_ASSIGN(text::ChatFormat chat, text::chat_format_by_name(options_.chat_format));
      chat.template_text = data.chat.template_text;
      data.chat = std::move(chat);
    }
    if (data.size() > model_.config.vocab_size) {
      return fail(Code::corrupt, "the tokenizer has ", data.size(), " tokens, the model's vocabulary only ",
                  model_.config.vocab_size, "; they do not belong together");
    }
    MINNOW_ASSIGN(const std::vector<std::byte> bytes, format::build_tokenizer(data));
    MINNOW_TRY(writer_.begin_segment(SegmentKind::tokenizer, false));
    MINNOW_TRY(writer_.append(bytes));
    MINNOW_ASSIGN(const uint32_t segment, writer_.end_segment());
    m_.tokenizer_segment = static_cast<int32_t>(segment);
    return {};
  }

  static constexpr int weight_segment_ = 0;  // the first segment written; small tensors are the second
  const ImportedModel& model_;
  const CompressOptions& options_;
  format::Writer& writer_;
  ThreadPool& pool_;
  Packer packer_;
  Metadata m_;
  std::vector<const std::vector<float>*> biases_;
  std::vector<const std::vector<uint32_t>*> orders_;
  uint64_t done_ = 0, total_ = 0;
};

}  // namespace

Result<CompressReport> compress_model(const ImportedModel& model, const CompressOptions& options,
                                      const std::string& path) {
  if (options.group != 32 && options.group != 64 && options.group != 128) {
    return fail(Code::invalid_argument, "a group of ", options.group,
                " was asked for; 32, 64 and 128 are known");
  }
  MINNOW_TRY(model::check_config(model.config, model.layers.size()));
  MINNOW_ASSIGN(const std::unique_ptr<ThreadPool> pool, ThreadPool::create(options.threads));
  const model::KernelSet kernels = model::select_kernels(detect_isa());
  MINNOW_ASSIGN(format::Writer writer, format::Writer::create(path));
  FileBuilder builder(model, options, writer, *pool, kernels);
  MINNOW_TRY(builder.run());
  MINNOW_TRY(writer.finish(builder.take()));
  return CompressReport{writer.bytes_written(), model.parameters};
}

}  // namespace minnow::compress
