// Real models against what their reference implementations gave: text to the character, loss to a
// hundredth of what a user could notice.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "support/fixtures.h"

namespace minnow::testing {
namespace {

std::string read_text(const std::string& path) {
  auto text = read_text_file(path, uint64_t{1} << 30);
  EXPECT_TRUE(text.ok()) << text.status().message();
  return text.ok() ? *text : std::string();
}

TEST(Stories260K, GreedyTextEqualsTheReference) {
  const std::string folder = data_folder() + "/models/stories260K";
  MINNOW_NEEDS_DATA(folder);
  const TempDir dir;
  compress(folder + "/stories260K.gguf", dir.file("m.mnw"), compress::Storage::f32);
  const Engine engine = make_engine();
  const Model model = load_model(engine, dir.file("m.mnw"));
  const Session session = make_session(model, 256);
  const Generated g = generate_text(session, "", greedy_params(200));
  ASSERT_EQ(g.status, MINNOW_OK) << minnow_last_error();
  EXPECT_EQ(g.text, read_text(folder + "/expected.txt"));
}

/// Natural-log loss of each window; the first token of a window is context only.
std::vector<double> losses(const Model& model, const std::vector<int32_t>& tokens, size_t window,
                           size_t windows) {
  std::vector<double> out;
  const Session session = make_session(model, static_cast<uint32_t>(window));
  std::vector<float> scores(window);
  for (size_t w = 0; w < windows; ++w) {
    EXPECT_EQ(minnow_session_rewind(session.get(), 0), MINNOW_OK);
    EXPECT_EQ(minnow_score(session.get(), tokens.data() + w * window, window, scores.data()), MINNOW_OK)
        << minnow_last_error();
    double sum = 0.0;
    for (size_t i = 1; i < window; ++i) sum -= scores[i];
    out.push_back(sum / static_cast<double>(window - 1));
  }
  return out;
}

void expect_loss(const std::string& folder, size_t windows) {
  const std::string text_path = data_folder() + "/text/books-dev.txt";
  MINNOW_NEEDS_DATA(text_path);
  MINNOW_NEEDS_DATA(folder);
  const auto reference = nlohmann::json::parse(read_text(folder + "/reference.json"));
  const size_t window = reference.at("ctx");
  const std::vector<double> expected = reference.at("nll_per_window");
  ASSERT_GE(expected.size(), windows);
  const Engine engine = make_engine();
  const TempDir dir;
  for (const compress::Storage storage : {compress::Storage::source16, compress::Storage::w8}) {
    const bool floats = storage == compress::Storage::source16;
    compress(folder, dir.file("m.mnw"), storage);
    const Model model = load_model(engine, dir.file("m.mnw"));
    const std::vector<int32_t> tokens = tokenize(model, read_text(text_path));
    EXPECT_EQ(tokens.size(), reference.at("tokens_in_text"));
    const std::vector<int32_t> first = reference.at("first_ids");
    ASSERT_GE(tokens.size(), window * windows);
    EXPECT_EQ(
        std::vector<int32_t>(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(first.size())),
        first);
    const std::vector<double> mine = losses(model, tokens, window, windows);
    double mean = 0.0, mean_expected = 0.0;
    for (size_t w = 0; w < windows; ++w) {
      if (floats) {
        EXPECT_NEAR(mine[w], expected[w], 0.002) << "window " << w;
      }
      mean += mine[w] / static_cast<double>(windows);
      mean_expected += expected[w] / static_cast<double>(windows);
    }
    EXPECT_LE(mean, mean_expected + 0.002) << (floats ? "16-bit floats" : "8-bit codes");
    EXPECT_GE(mean, mean_expected - 0.02) << "better than the model can be";
  }
}

TEST(Books7m, LossIsTheReferences) {
  expect_loss(MINNOW_EXAMPLE_MODELS "/books-7m", 4);
}

TEST(Books81m, LossIsTheReferences) {
  expect_loss(data_folder() + "/models/books-81m", 1);
}

}  // namespace
}  // namespace minnow::testing
