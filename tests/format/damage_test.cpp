// Writer and reader together, and what a damaged file does: an error, or a model that runs.
#include "format/verify.h"
#include "format/writer.h"
#include "support/bytes.h"
#include "support/fixtures.h"

namespace minnow::testing {
namespace {

using format::Container;

const Bytes& good() {
  static const Bytes bytes = read_bytes(tiny_path());
  return bytes;
}

/// A copy at a 64-byte boundary on the heap, where AddressSanitizer guards its end.
class Aligned {
 public:
  explicit Aligned(const Bytes& b)
      : size_(b.size()), data_(static_cast<char*>(std::aligned_alloc(64, (b.size() + 64) / 64 * 64))) {
    std::memcpy(data_, b.data(), size_);
  }
  ~Aligned() { std::free(data_); }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  MappedFile file(size_t size) const {
    return MappedFile::from_memory({reinterpret_cast<const std::byte*>(data_), size});
  }
  char* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  size_t size_;
  char* data_;
};

TEST(Writer, WhatIsWrittenIsRead) {
  const TempDir dir;
  auto writer = format::Writer::create(dir.file("m.mnw"));
  ASSERT_TRUE(writer.ok()) << writer.status().message();
  const float small[3] = {1.0f, -2.0f, 0.5f};
  ASSERT_TRUE(writer->begin_segment(format::SegmentKind::small, false).ok());
  EXPECT_FALSE(writer->begin_segment(format::SegmentKind::small, false).ok());  // one at a time
  ASSERT_TRUE(writer->append(std::as_bytes(std::span(small))).ok());
  auto aligned = writer->align(64);
  ASSERT_TRUE(aligned.ok());
  EXPECT_EQ(*aligned, 64u);
  ASSERT_TRUE(writer->append(std::as_bytes(std::span(small, 1))).ok());
  EXPECT_FALSE(writer->finish({}).ok());  // a segment is open
  ASSERT_EQ(*writer->end_segment(), 0u);
  EXPECT_FALSE(writer->append({}).ok());
  EXPECT_FALSE(writer->align(64).ok());
  ASSERT_TRUE(writer->begin_segment(format::SegmentKind::weights, true).ok());
  ASSERT_TRUE(writer->append(std::as_bytes(std::span(small))).ok());
  ASSERT_EQ(*writer->end_segment(), 1u);
  format::Metadata m;
  m.positions = {0, format::DType::f32, 64, 1};
  m.final_norm.weight = {0, format::DType::f32, 0, 3};
  EXPECT_FALSE(std::filesystem::exists(dir.file("m.mnw")));  // not before it is complete
  ASSERT_TRUE(writer->finish(m).ok());

  auto file = MappedFile::open(dir.file("m.mnw"));
  ASSERT_TRUE(file.ok());
  auto container = Container::open(std::move(file).value());
  ASSERT_TRUE(container.ok()) << container.status().message();
  const auto& segments = container->metadata().segments;
  ASSERT_EQ(segments.size(), 2u);
  EXPECT_EQ(segments[0].offset % format::kSegmentAlignment, 0u);
  EXPECT_EQ(segments[0].size, 68u);
  EXPECT_EQ(segments[1].offset % format::kPageAlignment, 0u);
  EXPECT_EQ(segments[1].size, sizeof small + format::kSlabSlack);
  const auto norm = container->floats(container->metadata().final_norm.weight);
  EXPECT_EQ(std::vector<float>(norm.begin(), norm.end()), std::vector<float>(small, small + 3));
  EXPECT_EQ(container->floats(container->metadata().positions)[0], 1.0f);
  EXPECT_TRUE(container->tokenizer().empty());
  EXPECT_EQ(container->file_size(), std::filesystem::file_size(dir.file("m.mnw")));
  EXPECT_TRUE(format::verify_payload(*container).ok());
}

/// Learned positions may be floats of 16 bits, of numbers only.
TEST(Writer, PositionsOfSixteenBitsAreNumbers) {
  const auto open = [](format::DType type, std::vector<uint16_t> values) {
    const TempDir dir;
    format::Writer writer = std::move(format::Writer::create(dir.file("m.mnw"))).value();
    EXPECT_TRUE(writer.begin_segment(format::SegmentKind::small, false).ok());
    EXPECT_TRUE(writer.append(std::as_bytes(std::span(values))).ok());
    EXPECT_TRUE(writer.end_segment().ok());
    format::Metadata m;
    m.positions = {0, type, 0, values.size() * sizeof(uint16_t) / format::size_of(type)};
    EXPECT_TRUE(writer.finish(m).ok());
    auto container = Container::open(std::move(MappedFile::open(dir.file("m.mnw"))).value());
    return container.ok() ? std::string() : std::string(container.status().message());
  };
  EXPECT_EQ(open(format::DType::f16, {0x3c00, 0xfbff, 0x0001}), "");   // 1, the lowest, the least
  EXPECT_EQ(open(format::DType::bf16, {0x3f80, 0xff7f, 0x7c00}), "");  // f16's infinity is a number here
  const char* const wanted = "positions hold a value that is not finite at index 1";
  EXPECT_NE(open(format::DType::f16, {0x3c00, 0x7c00}).find(wanted), std::string::npos);
  EXPECT_NE(open(format::DType::bf16, {0x3f80, 0xffc0}).find(wanted), std::string::npos);
  EXPECT_NE(open(format::DType::u16, {1, 2}).find("positions has dtype"), std::string::npos);
}

TEST(Writer, AnUnfinishedFileLeavesNothing) {
  const TempDir dir;
  {
    auto writer = format::Writer::create(dir.file("m.mnw"));
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE(writer->begin_segment(format::SegmentKind::weights, true).ok());
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(Damage, EveryLengthIsRefused) {
  const Aligned bytes(good());
  ASSERT_TRUE(Container::open(bytes.file(bytes.size())).ok());
  for (size_t size = 0; size < bytes.size(); ++size) {
    ASSERT_FALSE(Container::open(bytes.file(size)).ok()) << size;
  }
}

TEST(Damage, EveryByteOfHeaderAndMetadataIsGuarded) {
  const Aligned bytes(good());
  format::Header h;
  std::memcpy(&h, bytes.data(), sizeof h);
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i == sizeof h) i = h.metadata_offset;
    for (const char bit : {char(1), char(-128)}) {
      bytes.data()[i] ^= bit;
      ASSERT_FALSE(Container::open(bytes.file(bytes.size())).ok()) << "byte " << i;
      bytes.data()[i] ^= bit;
    }
  }
}

TEST(Damage, WeightsAreGuardedByVerify) {
  const Aligned bytes(good());
  auto container = Container::open(bytes.file(bytes.size()));
  ASSERT_TRUE(container.ok());
  ASSERT_TRUE(format::verify_payload(*container).ok());
  for (const format::Segment& s : container->metadata().segments) {
    for (const uint64_t at : {s.offset, s.offset + s.size / 2, s.offset + s.size - 1}) {
      bytes.data()[at] ^= 4;
      EXPECT_EQ(format::verify_payload(*container).code(), Code::corrupt) << at;
      bytes.data()[at] ^= 4;
    }
  }
}

/// The file with its checksums made right after metadata byte i became `value`: as an attacker would.
class Forged {
 public:
  Forged() : bytes_(good()) { std::memcpy(&header_, bytes_.data(), sizeof header_); }
  size_t size() const { return header_.metadata_size; }

  /// True when it loaded (and then it ran).
  bool run(minnow_engine* engine, size_t i, char flip) {
    const size_t at = header_.metadata_offset + i;
    bytes_.data()[at] ^= flip;
    format::Header h = header_;
    h.metadata_checksum = format::checksum(
        {reinterpret_cast<const std::byte*>(bytes_.data()) + h.metadata_offset, h.metadata_size});
    h.header_checksum =
        format::checksum(std::as_bytes(std::span(&h, 1)).first(offsetof(format::Header, header_checksum)));
    std::memcpy(bytes_.data(), &h, sizeof h);
    minnow_model* m = nullptr;
    const bool loaded = minnow_model_load_memory(engine, bytes_.data(), bytes_.size(), &m) == MINNOW_OK;
    if (loaded) {
      minnow_session_params p = minnow_session_params_default();
      p.context = 4;
      minnow_session* s = nullptr;
      if (minnow_session_create(m, &p, &s) == MINNOW_OK) (void)minnow_decode(s, 0);
      minnow_session_destroy(s);
      minnow_model_destroy(m);
    }
    bytes_.data()[at] ^= flip;
    return loaded;
  }

 private:
  Aligned bytes_;
  format::Header header_;
};

TEST(Damage, ForgedMetadataIsRefusedOrRuns) {
  const Engine engine = make_engine(1);
  Forged file;
  size_t loaded = 0, refused = 0;
  for (size_t i = 0; i < file.size(); ++i) {
    for (const char flip : {char(1), char(-128), char(-1)})
      ++(file.run(engine.get(), i, flip) ? loaded : refused);
  }
  // Some bytes are names, scales and the like; most hold the structure.
  EXPECT_GT(loaded, 0u);
  EXPECT_GT(refused, loaded / 4);
}

}  // namespace
}  // namespace minnow::testing
