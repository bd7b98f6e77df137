#include "compress/mlwq/calibration.h"

#include <algorithm>

#include "base/file.h"
#include "format/tokenizer_view.h"

namespace minnow::compress {

Result<Sequences> sequences_from_text(const ImportedModel& model, const std::vector<std::string>& files,
                                      uint32_t length, uint32_t count) {
  if (!model.tokenizer) {
    return fail(Code::unsupported,
                "the model has no tokenizer, so calibration text cannot be read; leave out "
                "--calibration, and minnow samples tokens from the model itself");
  }
  MINNOW_ASSIGN(const std::vector<std::byte> bytes, format::build_tokenizer(*model.tokenizer));
  std::vector<uint64_t> aligned((bytes.size() + 7) / 8);
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<std::byte*>(aligned.data()));
  MINNOW_ASSIGN(format::TokenizerView view,
                format::TokenizerView::open(std::as_bytes(std::span(aligned)).first(bytes.size())));
  MINNOW_ASSIGN(const auto tokenizer, text::Tokenizer::create(std::move(view)));
  return sequences_from_text(*tokenizer, files, length, count);
}

Result<Sequences> sequences_from_text(const text::Tokenizer& tokenizer, const std::vector<std::string>& files,
                                      uint32_t length, uint32_t count) {
  std::vector<int32_t> all;
  for (const std::string& file : files) {
    constexpr uint64_t kLimit = uint64_t{1} << 30;
    MINNOW_ASSIGN(const std::string text, read_text_file(file, kLimit));
    if (const size_t at = text.find('\0'); at != std::string::npos) {
      return fail(Code::invalid_argument, "calibration file '", file, "' has a zero byte at ", at,
                  "; it is not a text");
    }
    MINNOW_TRY(tokenizer.encode(text, false, false, all).within(cat("calibration file '", file, "'")));
  }
  const size_t whole = all.size() / length;
  if (whole < 2) {
    return fail(Code::invalid_argument, "the calibration text has ", all.size(), " tokens; two sequences of ",
                length,
                " are the least that says anything, and 128 are better: "
                "give a longer text, or leave out --calibration");
  }
  Sequences out;
  const size_t taken = std::min<size_t>(count, whole);
  for (size_t i = 0; i < taken; ++i) {
    const size_t at = i * whole / taken * length;
    out.emplace_back(all.begin() + static_cast<long>(at), all.begin() + static_cast<long>(at + length));
  }
  return out;
}

}  // namespace minnow::compress
