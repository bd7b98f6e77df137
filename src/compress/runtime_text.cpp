#include "compress/runtime_text.h"

#include "base/checked.h"
#include "compress/sample.h"
#include "format/tokenizer_view.h"

namespace minnow::compress {

Result<OpenModel> OpenModel::open(const std::string& path, uint32_t threads) {
  OpenModel m;
  MINNOW_ASSIGN(MappedFile file, MappedFile::open(path));
  auto opened = format::Container::open(std::move(file));
  if (!opened.ok()) return std::move(opened).status().within(path);
  m.container = std::make_unique<format::Container>(std::move(opened).value());
  MINNOW_ASSIGN(m.pool, ThreadPool::create(threads));
  auto weights = model::Weights::create(*m.container);
  if (!weights.ok()) return std::move(weights).status().within(path);
  m.weights = std::make_unique<model::Weights>(std::move(weights).value());
  return m;
}

Result<std::unique_ptr<const text::Tokenizer>> tokenizer_of(const format::Container& container) {
  const auto bytes = container.tokenizer();
  if (bytes.empty()) {
    return fail(Code::unsupported,
                "the model has no tokenizer, so calibration text cannot be read; leave out "
                "--calibration, and minnow samples tokens from the model itself");
  }
  MINNOW_ASSIGN(format::TokenizerView view, format::TokenizerView::open(bytes));
  return text::Tokenizer::create(std::move(view));
}

Result<Sequences> runtime_text(const OpenModel& model, const model::Plan& plan, const RuntimeText& text) {
  const uint32_t count = ceil_div(text.tokens, text.length);
  if (!text.files.empty()) {
    MINNOW_ASSIGN(const auto tokenizer, tokenizer_of(*model.container));
    return sequences_from_text(*tokenizer, text.files, text.length, count);
  }
  SampleOptions s;
  s.length = text.length, s.count = count, s.seed = text.seed;
  s.progress = text.progress;
  return sample_sequences(plan, model.container->metadata().bos_id, s, *model.pool);
}

}  // namespace minnow::compress
