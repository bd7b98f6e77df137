// Where tests find their data, and temporary files that go away.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

namespace minnow::testing {

/// The folder named by MINNOW_DATA (models, fixtures, texts too large for the repository), or "".
inline std::string data_folder() {
  const char* v = std::getenv("MINNOW_DATA");
  return v == nullptr ? "" : v;
}

#define MINNOW_NEEDS_DATA(path)                                                     \
  if (::minnow::testing::data_folder().empty() || !std::filesystem::exists(path)) { \
    GTEST_SKIP() << "needs " << #path << " in the folder named by MINNOW_DATA";     \
  }

/// A directory of its own for one test, removed at the end.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "minnow-test-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// Every model directory of the architecture fixtures, the repository's and MINNOW_DATA's, by name.
inline std::vector<std::string> architecture_fixtures() {
  namespace fs = std::filesystem;
  std::vector<std::string> out;
  const auto add = [&](const fs::path& folder) {
    if (!fs::is_directory(folder)) return;
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (fs::exists(entry.path() / "expected.safetensors")) out.push_back(entry.path().string());
    }
  };
  add(fs::path(MINNOW_TEST_DATA) / "arch");
  if (!data_folder().empty()) {
    const fs::path sets = fs::path(data_folder()) / "fixtures" / "arch";
    if (fs::is_directory(sets)) {
      for (const auto& set : fs::directory_iterator(sets)) add(set.path());
    }
  }
  // A set that the repository holds as well is not tested twice.
  std::sort(out.begin(), out.end());
  const auto weights = [](const std::string& p) {
    std::ifstream in(fs::path(p) / "model.safetensors", std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  std::set<std::string> seen;
  std::erase_if(out, [&](const std::string& p) { return !seen.insert(weights(p)).second; });
  return out;
}

/// Of a test of one of them: "arch_llama_tied_gqa".
inline std::string fixture_name(const ::testing::TestParamInfo<std::string>& info) {
  const std::filesystem::path p(info.param);
  std::string name = p.parent_path().filename().string() + "_" + p.filename().string();
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
}

}  // namespace minnow::testing
