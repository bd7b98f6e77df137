// Decoders that select what they attend to, on models that are open.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "compress/runtime_text.h"
#include "exec/decoder.h"
#include "exec/float_gemm.h"

namespace minnow::testing {

struct Opened {
  compress::OpenModel model;
  model::Plan plan;
  explicit Opened(const std::string& path, uint32_t threads = 1, uint32_t isa = detect_isa())
      : model(std::move(compress::OpenModel::open(path, threads)).value()),
        plan(std::move(model::Plan::create(*model.weights, isa, exec::float_gemm_available())).value()) {}

  exec::Decoder decoder(const exec::RetrievalOptions& retrieval, uint32_t chunk = 64,
                        kv::Type kv = kv::Type::f32, uint32_t context = 1024,
                        exec::Probe* probe = nullptr) const {
    exec::DecoderOptions o;
    o.context = context, o.chunk = chunk, o.kv = kv, o.retrieval = retrieval, o.probe = probe;
    return std::move(exec::Decoder::create(plan, *model.pool, o)).value();
  }
};

inline exec::RetrievalOptions selecting(float fraction, uint32_t from = 0) {
  exec::RetrievalOptions o;
  o.on = true, o.from = from, o.least = o.fraction = fraction, o.outliers = 0.0f;
  return o;
}

/// What a KV head attended to last, ascending. Nothing is in it twice.
inline std::vector<uint32_t> positions(const exec::Decoder& d, uint32_t kv_head) {
  const auto list = d.selected(kv_head);
  std::vector<uint32_t> out(list.begin(), list.end());
  std::sort(out.begin(), out.end());
  EXPECT_EQ(std::adjacent_find(out.begin(), out.end()), out.end());
  return out;
}

inline std::vector<float> decode(exec::Decoder& d, std::span<const int32_t> tokens) {
  for (const int32_t t : tokens) EXPECT_TRUE(d.forward({&t, 1}).ok());
  return {d.logits().begin(), d.logits().end()};
}

/// A prompt at once, then tokens one by one.
inline std::vector<float> run(exec::Decoder& d, const std::vector<int32_t>& tokens, size_t prompt) {
  EXPECT_TRUE(d.forward(std::span(tokens).first(prompt)).ok());
  return decode(d, std::span(tokens).subspan(prompt));
}

}  // namespace minnow::testing
