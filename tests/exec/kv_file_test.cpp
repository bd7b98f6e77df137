// Decoders whose KV cache lies in a file, in part or whole, beside those that keep it in memory: the same
// bits.
#include <gmock/gmock.h>

#include "base/cpu.h"
#include "compress/runtime_text.h"
#include "exec/decoder.h"
#include "exec/float_gemm.h"
#include "exec/key_index.h"
#include "kv/cache.h"
#include "support/codebooks.h"
#include "support/disk.h"

namespace minnow::testing {
namespace {

using ::testing::HasSubstr;

constexpr kv::Type kTypes[] = {kv::Type::f32, kv::Type::f16, kv::Type::q8};

struct Opened {
  compress::OpenModel model;
  model::Plan plan;
  std::string directory;

  explicit Opened(const std::string& path, std::string where, uint32_t threads = 2)
      : model(std::move(compress::OpenModel::open(path, threads)).value()),
        plan(std::move(model::Plan::create(*model.weights, detect_isa(), exec::float_gemm_available()))
                 .value()),
        directory(std::move(where)) {}

  kv::Shape shape(kv::Type kv, uint32_t context) const {
    return {static_cast<uint32_t>(plan.layers.size()), plan.config->kv_head_count, plan.config->head_dim,
            context, kv};
  }
  uint64_t index_bytes(uint32_t context) const { return exec::index_shape(plan, context).bytes(); }
  exec::DecoderOptions options(kv::Type kv, bool retrieval, uint32_t context = 512) const {
    exec::DecoderOptions o;
    o.context = context, o.chunk = 64, o.kv = kv;
    o.retrieval.on = retrieval, o.retrieval.from = 0, o.retrieval.fraction = 0.05f;
    return o;
  }
  Result<exec::Decoder> make(const exec::DecoderOptions& o) const {
    return exec::Decoder::create(plan, *model.pool, o);
  }
  exec::Decoder in_memory(kv::Type kv, bool retrieval, uint32_t context = 512) const {
    return std::move(make(options(kv, retrieval, context))).value();
  }
  /// With so many layers in memory and the rest in a file.
  exec::Decoder split(kv::Type kv, bool retrieval, uint32_t layers, uint32_t context = 512) const {
    exec::DecoderOptions o = options(kv, retrieval, context);
    const uint64_t layer = shape(kv, context).layer_bytes();
    o.kv_budget = (retrieval ? index_bytes(context) : 0) + layers * layer + layer / 2;
    o.kv_dir = directory;
    auto d = make(o);
    EXPECT_TRUE(d.ok()) << d.status().message();
    EXPECT_EQ(d->kv_file_bytes(), (plan.layers.size() - layers) * layer);
    EXPECT_EQ(d->kv_bytes(), shape(kv, context).bytes());
    return std::move(d).value();
  }
};

/// The bits of the logits behind a prompt and behind every token after it.
std::vector<std::vector<float>> run(exec::Decoder& d, std::span<const int32_t> tokens, size_t prompt) {
  std::vector<std::vector<float>> out;
  const auto step = [&](std::span<const int32_t> t) {
    const Status status = d.forward(t);
    EXPECT_TRUE(status.ok()) << status.message();
    out.emplace_back(d.logits().begin(), d.logits().end());
  };
  if (prompt > 0) step(tokens.first(prompt));
  for (size_t i = prompt; i < tokens.size(); ++i) step(tokens.subspan(i, 1));
  return out;
}

TEST(KvFile, GivesTheSameBits) {
  MINNOW_NEEDS_DISK(dir);
  const Opened o(tiny_with_codebooks(), dir.path());
  const auto layers = static_cast<uint32_t>(o.plan.layers.size());
  ASSERT_EQ(layers, 3u);
  const auto tokens = some_tokens(250), others = some_tokens(60, 7);
  for (const kv::Type kv : kTypes) {
    for (const bool retrieval : {false, true}) {
      auto memory = o.in_memory(kv, retrieval);
      const auto first = run(memory, tokens, 200);
      memory.rewind(233);
      const auto second = run(memory, others, 40);
      for (uint32_t kept = 0; kept < layers; ++kept) {
        SCOPED_TRACE(cat(kv::name_of(kv), retrieval ? ", retrieval, " : ", ", kept, " layers in memory"));
        auto file = o.split(kv, retrieval, kept);
        EXPECT_EQ(nameless_files(dir.path()).size(), 1u);
        EXPECT_TRUE(dir.empty());
        EXPECT_EQ(run(file, tokens, 200), first);
        file.rewind(233);
        EXPECT_EQ(run(file, others, 40), second);
        EXPECT_EQ(file.retrieval_counts().attended, memory.retrieval_counts().attended);
        EXPECT_EQ(file.retrieval_counts().tokens, retrieval ? 70u : 0u);
      }
    }
  }
  EXPECT_TRUE(dir.empty());
  EXPECT_TRUE(nameless_files(dir.path()).empty());
}

TEST(KvFile, PagesThatWereTakenOutOfMemoryComeBack) {
  MINNOW_NEEDS_DISK(dir);
  const Opened o(tiny_with_codebooks(), dir.path());
  const auto tokens = some_tokens(340);
  for (const kv::Type kv : kTypes) {
    auto memory = o.in_memory(kv, true), file = o.split(kv, true, 0);
    const auto expected = run(memory, tokens, 300);
    std::vector<std::vector<float>> got = run(file, std::span(tokens).first(300), 300);
    for (size_t i = 300; i < tokens.size(); ++i) {
      if (i % 8 == 0) drop_files_from_memory(dir.path());
      got.push_back(run(file, std::span(tokens).subspan(i, 1), 0).front());
    }
    EXPECT_EQ(got, expected) << kv::name_of(kv);
  }
}

TEST(KvFile, SequencesAreCopiedBetweenSplitsAndContexts) {
  MINNOW_NEEDS_DISK(dir);
  const Opened o(tiny_with_codebooks(), dir.path());
  const auto prompt = some_tokens(200), more = some_tokens(20, 9);
  for (const kv::Type kv : kTypes) {
    for (const bool retrieval : {false, true}) {
      auto memory = o.in_memory(kv, retrieval);
      run(memory, prompt, 190);
      auto whole = o.in_memory(kv, retrieval);
      ASSERT_TRUE(whole.copy_from(memory).ok());
      const auto expected = run(whole, more, 5);
      for (uint32_t kept = 0; kept < 3; ++kept) {
        for (const uint32_t context : {256u, 512u, 700u}) {
          SCOPED_TRACE(cat(kv::name_of(kv), ", ", kept, " layers in memory, context ", context));
          auto file = o.split(kv, retrieval, kept, context);  // from memory to a file
          ASSERT_TRUE(file.copy_from(memory).ok());
          auto other = o.split(kv, retrieval, 2 - kept, 512);  // from file to file
          ASSERT_TRUE(other.copy_from(file).ok());
          auto back = o.in_memory(kv, retrieval, 300);  // and back
          ASSERT_TRUE(back.copy_from(other).ok());
          EXPECT_EQ(run(file, more, 5), expected);
          EXPECT_EQ(run(other, more, 5), expected);
          EXPECT_EQ(run(back, more, 5), expected);
        }
      }
    }
  }
}

TEST(KvFile, TheBudgetDecidesWhatLiesInIt) {
  const Opened o(tiny_with_codebooks(), "");
  for (const kv::Type kv : kTypes) {
    const kv::Shape s = o.shape(kv, 512);
    const uint64_t layer = s.layer_bytes(), index = o.index_bytes(512);
    EXPECT_EQ(layer * s.layers, s.bytes());
    const auto kept = [&](uint64_t index_bytes, uint64_t budget) {
      return kv::layers_in_memory(s, index_bytes, budget).value();
    };
    EXPECT_EQ(kept(0, 0), 3u);  // no budget
    EXPECT_EQ(kept(index, 0), 3u);
    EXPECT_EQ(kept(0, 1), 0u);
    EXPECT_EQ(kept(0, layer - 1), 0u);
    EXPECT_EQ(kept(0, layer), 1u);
    EXPECT_EQ(kept(0, 3 * layer - 1), 2u);
    EXPECT_EQ(kept(0, ~uint64_t{0}), 3u);
    EXPECT_EQ(kept(index, index), 0u);
    EXPECT_EQ(kept(index, index + layer - 1), 0u);
    EXPECT_EQ(kept(index, index + 3 * layer), 3u);
    const auto less = kv::layers_in_memory(s, index, index - 1);
    EXPECT_EQ(less.status().code(), Code::invalid_argument);
    EXPECT_THAT(less.status().message(), HasSubstr(cat("budget is ", index - 1, " bytes")));
    EXPECT_THAT(less.status().message(), HasSubstr(cat("alone takes ", index)));
  }
  // Where all fits, nothing is made, so that the directory does not matter.
  exec::DecoderOptions all = o.options(kv::Type::f16, true);
  all.kv_budget = o.shape(kv::Type::f16, 512).bytes() + o.index_bytes(512);
  all.kv_dir = "/nowhere";
  const auto fits = o.make(all);
  ASSERT_TRUE(fits.ok()) << fits.status().message();
  EXPECT_EQ(fits->kv_file_bytes(), 0u);
  --all.kv_budget;
  EXPECT_EQ(o.make(all).status().code(), Code::not_found);
}

// Retrieval names the rows it is about to read; those that are not in memory are asked for.
TEST(KvFile, AsksForRows) {
  MINNOW_NEEDS_DISK(dir);
  const kv::Shape shape{2, 2, 64, 4096, kv::Type::q8};
  auto cache = std::move(kv::Cache::create(shape, 1, dir.path())).value();
  const int fd = nameless_files(dir.path()).at(0);
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const auto page_of = [&](const void* at) {
    return reinterpret_cast<const std::byte*>(reinterpret_cast<uintptr_t>(at) / page * page);
  };
  const kv::RowView first = cache.rows(1, 0), rows = cache.rows(1, 1);
  auto* const begin = const_cast<uint8_t*>(first.k);
  std::memset(begin, 1, cache.file_bytes());
  drop_from_memory(fd, begin, cache.file_bytes());
  if (pages_in_memory(begin, cache.file_bytes()) != 0)
    GTEST_SKIP() << "this file system keeps its pages in memory";
  const auto scale_at = [&](uint32_t p) {
    return reinterpret_cast<const std::byte*>(rows.k_scale) + p * rows.scale_stride;
  };
  const uint32_t positions[] = {5, 1000, 4095};
  cache.ask_for(0, 1, positions);  // in memory: nothing to ask for
  ::usleep(20000);
  EXPECT_EQ(pages_in_memory(begin, cache.file_bytes()), 0u);
  cache.ask_for(1, 1, positions);
  const auto there = [&] {
    return std::ranges::all_of(positions, [&](uint32_t p) {
      return pages_in_memory(page_of(rows.k + p * rows.row_stride), 1) == 1 &&
             pages_in_memory(page_of(scale_at(p)), 1) == 1;
    });
  };
  for (int i = 0; i < 500 && !there(); ++i) ::usleep(10000);
  EXPECT_TRUE(there());
  EXPECT_LT(pages_in_memory(begin, cache.file_bytes()), cache.file_bytes() / page / 4);
}

}  // namespace
}  // namespace minnow::testing
