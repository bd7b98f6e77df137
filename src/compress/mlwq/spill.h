// Float matrices of the calibration, one a sequence, in memory as far as it is allowed and in a file
// behind that.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "compress/mlwq/matrix.h"

namespace minnow::compress {

/// How much may stay in memory, and where the rest goes. Outlives the stores made of it.
class Spill {
 public:
  /// The file lies in the directory of `path` and has no name there; errors call it by this one.
  Spill(std::string path, uint64_t bytes) : path_(std::move(path)), left_(bytes) {}
  const std::string& path() const { return path_; }
  /// Takes bytes of memory, all or none.
  bool take(uint64_t bytes) {
    if (bytes > left_) return false;
    left_ -= bytes;
    return true;
  }
  void give_back(uint64_t bytes) { left_ += bytes; }

 private:
  std::string path_;
  uint64_t left_;
};

/// `count` matrices of at most `floats` values each. Different ones may be read and written on several
/// threads at a time.
class MatrixStore {
 public:
  MatrixStore() = default;
  MatrixStore(MatrixStore&& other) noexcept { *this = std::move(other); }
  MatrixStore& operator=(MatrixStore&& other) noexcept;
  MatrixStore(const MatrixStore&) = delete;
  MatrixStore& operator=(const MatrixStore&) = delete;
  ~MatrixStore();

  /// Errors: the file cannot be made.
  static Result<MatrixStore> create(size_t count, size_t floats, Spill& spill);
  size_t count() const { return shapes_.size(); }
  /// Errors: no room on the disk; too large for the store.
  Status put(size_t i, const Matrix& m);
  /// What put() left. Errors: the file cannot be read.
  Status get(size_t i, Matrix& m) const;

 private:
  std::vector<std::pair<size_t, size_t>> shapes_;
  std::vector<Matrix> kept_;  // empty: in the file
  size_t floats_ = 0;
  int fd_ = -1;
  Spill* spill_ = nullptr;
  uint64_t taken_ = 0;
  std::string path_;
};

}  // namespace minnow::compress
