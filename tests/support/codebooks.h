// Models with codebooks, small ones.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "compress/a2ats/codebooks.h"
#include "support/fixtures.h"

namespace minnow::testing {

inline compress::CodebookOptions small_codebooks() {
  compress::CodebookOptions o;
  o.centroids = 64, o.tokens = 512, o.length = 128, o.threads = 1;
  return o;
}

/// A fixture with codebooks in a file that goes away with the process.
class WithCodebooks {
 public:
  explicit WithCodebooks(const std::string& source, compress::Storage storage = compress::Storage::w8) {
    compress(source, dir_.file("plain.mnw"), storage, 32);
    const auto report = compress::add_codebooks(dir_.file("plain.mnw"), small_codebooks(), path());
    EXPECT_TRUE(report.ok()) << report.status().message();
  }
  std::string path() const { return dir_.file("model.mnw"); }

 private:
  TempDir dir_;
};

/// The model of tiny_path() with codebooks.
inline const std::string& tiny_with_codebooks() {
  static const WithCodebooks model(MINNOW_TEST_DATA "/arch/llama-tied-gqa");
  static const std::string path = model.path();
  return path;
}

/// The same with weights of 16 bits, whose activations nothing rounds.
inline const std::string& tiny_floats_with_codebooks() {
  static const WithCodebooks model(MINNOW_TEST_DATA "/arch/llama-tied-gqa", compress::Storage::f16);
  static const std::string path = model.path();
  return path;
}

}  // namespace minnow::testing
