#include "format/writer.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstring>
#include <vector>

#include "base/checked.h"
#include "format/container.h"
#include "format/metadata_codec.h"

namespace minnow::format {

struct Writer::State {
  AtomicFileWriter file;
  std::vector<Segment> segments;
  bool open = false;
  XXH3_state_t hash;
};

Writer::Writer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Writer::Writer(Writer&&) noexcept = default;
Writer& Writer::operator=(Writer&&) noexcept = default;
Writer::~Writer() = default;

Result<Writer> Writer::create(const std::string& path) {
  auto state = std::make_unique<State>();
  MINNOW_ASSIGN(state->file, AtomicFileWriter::create(path));
  const std::byte header[kHeaderSize] = {};
  MINNOW_TRY(state->file.write(header));
  return Writer(std::move(state));
}

uint64_t Writer::bytes_written() const {
  return state_->file.position();
}

Status Writer::begin_segment(SegmentKind kind, bool large) {
  if (state_->open) return fail(Code::bad_state, "a segment is already open");
  MINNOW_TRY(state_->file.pad_to(large ? kPageAlignment : kSegmentAlignment));
  state_->segments.push_back({state_->file.position(), 0, 0, kind});
  state_->open = true;
  XXH3_64bits_reset(&state_->hash);
  return {};
}

Result<uint64_t> Writer::align(uint64_t alignment) {
  static constexpr std::byte kZeros[kPageAlignment] = {};
  if (!state_->open) return fail(Code::bad_state, "no segment is open");
  const uint64_t position = state_->file.position() - state_->segments.back().offset;
  const uint64_t aligned = round_up(position, alignment);
  MINNOW_TRY(append({kZeros, aligned - position}));
  return aligned;
}

Status Writer::append(std::span<const std::byte> bytes) {
  if (!state_->open) return fail(Code::bad_state, "no segment is open");
  XXH3_64bits_update(&state_->hash, bytes.data(), bytes.size());
  return state_->file.write(bytes);
}

Result<uint32_t> Writer::end_segment() {
  Segment& s = state_->segments.back();
  if (s.kind == SegmentKind::weights || s.kind == SegmentKind::codebook) {
    const std::byte slack[kSlabSlack] = {};
    MINNOW_TRY(append(slack));
  }
  s.size = state_->file.position() - s.offset;
  s.checksum = XXH3_64bits_digest(&state_->hash);
  state_->open = false;
  return static_cast<uint32_t>(state_->segments.size() - 1);
}

Status Writer::finish(Metadata metadata) {
  if (state_->open) return fail(Code::bad_state, "a segment is still open");
  metadata.segments = state_->segments;
  const std::vector<std::byte> bytes = encode_metadata(metadata);
  MINNOW_TRY(state_->file.pad_to(kSegmentAlignment));
  Header h{};
  std::memcpy(h.magic, kMagic, sizeof kMagic);
  h.version = kSchemaVersion;
  h.header_size = kHeaderSize;
  h.metadata_offset = state_->file.position();
  h.metadata_size = bytes.size();
  h.metadata_checksum = checksum(bytes);
  MINNOW_TRY(state_->file.write(bytes));
  h.file_size = state_->file.position();
  const auto header_bytes = std::as_bytes(std::span(&h, 1));
  h.header_checksum = checksum(header_bytes.first(offsetof(Header, header_checksum)));
  MINNOW_TRY(state_->file.write_at(0, header_bytes));
  return state_->file.commit();
}

}  // namespace minnow::format
