// Codebooks in files: what is written, what survives, what is refused.
#include "compress/a2ats/codebooks.h"

#include <gmock/gmock.h>

#include <cstring>

#include "base/cpu.h"
#include "compress/additions.h"
#include "format/container.h"
#include "model/plan.h"
#include "support/bytes.h"
#include "support/fixtures.h"

namespace minnow::testing {
namespace {

using namespace compress;
using ::testing::HasSubstr;

CodebookOptions few() {
  CodebookOptions o;
  o.centroids = 32, o.tokens = 256, o.length = 128, o.threads = 1;
  return o;
}

/// A tiny model of 8-bit weights, and the same with codebooks.
class CodebookFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    compress(MINNOW_TEST_DATA "/arch/llama-tied-gqa", plain(), Storage::w8);
    const auto report = add_codebooks(plain(), few(), with());
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_EQ(report->file_bytes, read_bytes(with()).size());
  }
  std::string plain() const { return dir_.file("plain.mnw"); }
  std::string with() const { return dir_.file("with.mnw"); }
  TempDir dir_;

  /// The message with which a changed copy is refused, at opening or at planning; empty: it is not.
  std::string refusal(const std::function<void(format::Metadata&, Bytes&)>& change) const {
    Bytes b = read_bytes(with());
    edit_metadata(b, change);
    write_bytes(dir_.file("changed.mnw"), b);
    auto container = format::Container::open(std::move(MappedFile::open(dir_.file("changed.mnw"))).value());
    if (!container.ok()) return container.status().message();
    auto weights = model::Weights::create(*container);
    if (!weights.ok()) return weights.status().message();
    auto plan = model::Plan::create(*weights, detect_isa(), false);
    return plan.ok() ? "" : plan.status().message();
  }
};

TEST_F(CodebookFiles, HoldOneForEveryLayerAndHead) {
  const auto c = std::move(format::Container::open(std::move(MappedFile::open(with())).value())).value();
  const format::Metadata& m = c.metadata();
  ASSERT_EQ(m.codebooks.size(), m.layers.size() * m.config.kv_head_count);
  for (size_t i = 0; i < m.codebooks.size(); ++i) {
    EXPECT_EQ(m.codebooks[i].layer, i / m.config.kv_head_count);
    EXPECT_EQ(m.codebooks[i].kv_head, i % m.config.kv_head_count);
    EXPECT_EQ(m.codebooks[i].centres.rows, 32u);
    EXPECT_EQ(m.codebooks[i].centres.cols, m.config.head_dim);
  }
  EXPECT_THAT(m.provenance.settings, HasSubstr("\"retrieval\""));
  EXPECT_EQ(refusal([](format::Metadata&, Bytes&) {}), "");
}

TEST_F(CodebookFiles, AreTheSameForTheSameSeedAndReplaceOthers) {
  ASSERT_TRUE(add_codebooks(plain(), few(), dir_.file("again.mnw")).ok());
  EXPECT_EQ(read_bytes(with()), read_bytes(dir_.file("again.mnw")));
  ASSERT_TRUE(add_codebooks(with(), few(), dir_.file("twice.mnw")).ok());
  EXPECT_EQ(read_bytes(with()), read_bytes(dir_.file("twice.mnw")));
}

TEST_F(CodebookFiles, StayBesideThresholds) {
  SparsityOptions sparsity;
  sparsity.tokens = 256, sparsity.threads = 1, sparsity.method = SparsityMethod::chess;
  const CodebookOptions books = few();
  ASSERT_TRUE(add_to_file(plain(), {&sparsity, &books}, dir_.file("both.mnw")).ok());
  ASSERT_TRUE(add_sparsity(with(), sparsity, dir_.file("later.mnw")).ok());
  for (const char* name : {"both.mnw", "later.mnw"}) {
    const auto c =
        std::move(format::Container::open(std::move(MappedFile::open(dir_.file(name))).value())).value();
    EXPECT_EQ(c.metadata().codebooks.size(), 6u) << name;
    EXPECT_TRUE(c.metadata().layers[0].gate_thresholds.present()) << name;
    const auto weights = model::Weights::create(c);
    ASSERT_TRUE(weights.ok()) << name << ": " << weights.status().message();
  }
}

TEST_F(CodebookFiles, AreAsLargeAsTriedBefore) {
  const CodebookOptions books = few();
  SparsityOptions sparsity;
  sparsity.tokens = 256, sparsity.threads = 1;
  const auto size = size_with(plain(), {nullptr, &books});
  ASSERT_TRUE(size.ok()) << size.status().message();
  EXPECT_EQ(*size, read_bytes(with()).size());
  const auto both = size_with(plain(), {&sparsity, &books});
  ASSERT_TRUE(both.ok()) << both.status().message();
  const auto report = add_to_file(plain(), {&sparsity, &books}, dir_.file("both.mnw"));
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_LE(report->file_bytes, *both) << "a budget would be overdrawn";
}

TEST_F(CodebookFiles, HostileOnesAreRefused) {
  using format::Metadata;
  const auto patch = [](Bytes& file, uint64_t at, float value) {
    std::memcpy(file.data() + at, &value, sizeof value);
  };
  const auto place = [](const Metadata& m, const format::TensorRef& t) {
    return m.segments[t.segment].offset + t.offset;
  };
  EXPECT_THAT(refusal([&](Metadata& m, Bytes& f) { patch(f, place(m, m.codebooks[1].whitening), NAN); }),
              HasSubstr("layer 0, KV head 1 has nan at row 0, column 0 of its whitening"));
  EXPECT_THAT(refusal([&](Metadata& m, Bytes& f) { patch(f, place(m, m.codebooks[1].whitening), 0.0f); }),
              HasSubstr("no upper factor"));
  EXPECT_THAT(refusal([&](Metadata& m, Bytes& f) { patch(f, place(m, m.codebooks[2].offset), INFINITY); }),
              HasSubstr("has inf at index 0 of its offset"));
  EXPECT_THAT(refusal([&](Metadata& m, Bytes& f) {
                const uint16_t nan = 0x7e00;
                const format::Linear& l = m.codebooks[3].centres;
                std::memcpy(f.data() + m.segments[l.segment].offset + l.slabs[0].scale_base, &nan,
                            sizeof nan);
              }),
              HasSubstr("centroid 0 of KV head 1 in layer 1 is not finite"));
  EXPECT_THAT(refusal([](Metadata& m, Bytes&) { m.codebooks[0].centres.rows = 1000; }),
              HasSubstr("do not lie inside"));
  EXPECT_THAT(refusal([](Metadata& m, Bytes&) { m.codebooks[0].centres.rows = 24; }),
              HasSubstr("24 centroids; a multiple of 16"));
  EXPECT_THAT(refusal([](Metadata& m, Bytes&) { m.codebooks[0].centres.rows = 16; }),
              HasSubstr("none for KV head 1 as large as the first"));
  EXPECT_THAT(refusal([](Metadata& m, Bytes&) { m.codebooks[0].whitening.count = 3; }),
              HasSubstr("its whitening has 3 values"));
  EXPECT_THAT(refusal([](Metadata& m, Bytes&) { m.codebooks[0].offset.count = 3; }),
              HasSubstr("its offset has 3 values"));
  EXPECT_THAT(refusal([](Metadata& m, Bytes&) { m.codebooks[0].layer = 77; }),
              HasSubstr("does not fit the model"));
  EXPECT_THAT(refusal([](Metadata& m, Bytes&) { m.codebooks[0].kv_head = 1; }), HasSubstr("is there twice"));
  EXPECT_THAT(refusal([](Metadata& m, Bytes&) { m.codebooks.pop_back(); }), HasSubstr("none for KV head 1"));
  EXPECT_THAT(refusal([](Metadata& m, Bytes&) { m.layers[0].sliding_window = 64; }),
              HasSubstr("has codebooks and a sliding window"));
}

TEST_F(CodebookFiles, NumbersThatCannotBeAreRefused) {
  for (const uint32_t centroids : {0u, 40u, 2048u}) {
    CodebookOptions o = few();
    o.centroids = centroids;
    const auto report = add_codebooks(plain(), o, dir_.file("no.mnw"));
    ASSERT_FALSE(report.ok()) << centroids;
    EXPECT_THAT(report.status().message(), HasSubstr("a multiple of 16 is possible"));
  }
  CodebookOptions o = few();
  o.progress = [](const char*, uint64_t, uint64_t) { return false; };
  EXPECT_EQ(add_codebooks(plain(), o, dir_.file("no.mnw")).status().code(), Code::cancelled);
  EXPECT_FALSE(MappedFile::open(dir_.file("no.mnw")).ok()) << "nothing half written stays behind";
}

TEST(CodebooksByDefault, WhereTheyMatterAndAreSmall) {
  ImportedModel m;
  m.config.head_dim = 64, m.config.kv_head_count = 8, m.config.max_context = 131072;
  m.layers.resize(16);
  CodebookOptions o;
  const uint64_t book = 1024 * (64 + 2) + 64 * 64 * 4 + 64 * 4, all = 16 * 8 * book;
  EXPECT_FALSE(codebooks_by_default(m, o, 50 * all));
  EXPECT_TRUE(codebooks_by_default(m, o, 50 * all + 50));
  o.tokens = 16 * 1024 - 1;
  EXPECT_FALSE(codebooks_by_default(m, o, 100 * all)) << "too little text";
  o.tokens = 16 * 1024;
  EXPECT_TRUE(codebooks_by_default(m, o, 100 * all));
  m.config.max_context = 8191;
  EXPECT_FALSE(codebooks_by_default(m, o, 100 * all));
  m.config.max_context = 8192;
  for (size_t l = 0; l < 15; ++l) m.layers[l].sliding_window = 512;
  EXPECT_TRUE(codebooks_by_default(m, o, 50 * 8 * book + 50));
  m.layers[15].sliding_window = 512;
  EXPECT_FALSE(codebooks_by_default(m, o, 100 * all)) << "nothing to retrieve from";
}

}  // namespace
}  // namespace minnow::testing
