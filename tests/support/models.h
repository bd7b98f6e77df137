// Models for tests: compressed into a temporary file, opened through the C API.
#pragma once

#include <gtest/gtest.h>
#include <minnow/minnow.h>

#include <memory>
#include <string>
#include <vector>

#include "compress/compress.h"
#include "support/environment.h"

namespace minnow::testing {

struct Destroy {
  void operator()(minnow_engine* p) const { minnow_engine_destroy(p); }
  void operator()(minnow_model* p) const { minnow_model_destroy(p); }
  void operator()(minnow_session* p) const { minnow_session_destroy(p); }
};
using Engine = std::unique_ptr<minnow_engine, Destroy>;
using Model = std::unique_ptr<minnow_model, Destroy>;
using Session = std::unique_ptr<minnow_session, Destroy>;

inline Engine make_engine(uint32_t threads = 2, const char* isa = nullptr) {
  minnow_engine_params p = minnow_engine_params_default();
  p.threads = threads;
  p.isa = isa;
  minnow_engine* e = nullptr;
  EXPECT_EQ(minnow_engine_create(&p, &e), MINNOW_OK) << minnow_last_error();
  return Engine(e);
}

inline Model load_model(const Engine& engine, const std::string& path) {
  minnow_model* m = nullptr;
  EXPECT_EQ(minnow_model_load(engine.get(), path.c_str(), &m), MINNOW_OK) << minnow_last_error();
  return Model(m);
}

inline Session make_session(const Model& model, uint32_t context, minnow_kv_type kv = MINNOW_KV_F32,
                            uint32_t chunk = 0) {
  minnow_session_params p = minnow_session_params_default();
  p.context = context;
  p.prefill_chunk = chunk;
  p.kv_type = kv;
  minnow_session* s = nullptr;
  EXPECT_EQ(minnow_session_create(model.get(), &p, &s), MINNOW_OK) << minnow_last_error();
  return Session(s);
}

/// Compresses a source model to `path`.
inline void compress(const std::string& source, const std::string& path, compress::Storage storage,
                     uint32_t group = 64) {
  auto imported = compress::import_model(source);
  ASSERT_TRUE(imported.ok()) << imported.status().message();
  compress::CompressOptions options;
  options.storage = options.head_storage = storage;
  options.group = group;
  options.threads = 2;
  auto report = compress::compress_model(*imported, options, path);
  ASSERT_TRUE(report.ok()) << report.status().message();
}

/// Logits behind every token, flat.
inline std::vector<float> all_logits(const Session& session, const std::vector<int32_t>& tokens,
                                     size_t chunk) {
  std::vector<float> out;
  for (size_t i = 0; i < tokens.size(); i += chunk) {
    const size_t n = std::min(chunk, tokens.size() - i);
    EXPECT_EQ(minnow_prefill_logits(
                  session.get(), tokens.data() + i, n,
                  [](void* user, size_t, const float* logits, size_t vocab) {
                    auto* v = static_cast<std::vector<float>*>(user);
                    v->insert(v->end(), logits, logits + vocab);
                    return 0;
                  },
                  &out),
              MINNOW_OK)
        << minnow_last_error();
  }
  return out;
}

/// Greedy continuation of `prompt` by `count` tokens.
inline std::vector<int32_t> greedy(const Session& session, const std::vector<int32_t>& prompt,
                                   uint32_t count) {
  minnow_generate_params p = minnow_generate_params_default();
  p.temperature = 0.0f;
  p.max_tokens = count;
  p.ignore_eos = 1;
  EXPECT_EQ(
      minnow_generate_tokens(session.get(), prompt.data(), prompt.size(), &p, nullptr, nullptr, nullptr),
      MINNOW_OK)
      << minnow_last_error();
  std::vector<int32_t> out;
  // Without a tokenizer the callback carries the ids; ask again through it to keep this simple.
  EXPECT_EQ(minnow_session_rewind(session.get(), 0), MINNOW_OK);
  EXPECT_EQ(minnow_generate_tokens(
                session.get(), prompt.data(), prompt.size(), &p,
                [](void* user, const char*, size_t, int32_t token) {
                  static_cast<std::vector<int32_t>*>(user)->push_back(token);
                  return 0;
                },
                &out, nullptr),
            MINNOW_OK)
      << minnow_last_error();
  return out;
}

}  // namespace minnow::testing
