#include "compress/mlwq/spill.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/scratch_file.h"

namespace minnow::compress {

MatrixStore& MatrixStore::operator=(MatrixStore&& other) noexcept {
  std::swap(shapes_, other.shapes_);
  std::swap(kept_, other.kept_);
  std::swap(floats_, other.floats_);
  std::swap(fd_, other.fd_);
  std::swap(spill_, other.spill_);
  std::swap(taken_, other.taken_);
  std::swap(path_, other.path_);
  return *this;
}

MatrixStore::~MatrixStore() {
  if (fd_ >= 0) ::close(fd_);
  if (spill_ != nullptr) spill_->give_back(taken_);
}

Result<MatrixStore> MatrixStore::create(size_t count, size_t floats, Spill& spill) {
  MatrixStore s;
  s.shapes_.resize(count);
  s.floats_ = floats;
  if (const uint64_t bytes = uint64_t{count} * floats * sizeof(float); spill.take(bytes)) {
    s.spill_ = &spill;
    s.taken_ = bytes;
    s.kept_.resize(count);
    return s;
  }
  s.path_ = spill.path();
  auto opened = open_nameless(std::filesystem::path(spill.path()).parent_path().string());
  if (!opened.ok()) return std::move(opened).status().within("a file for what does not fit into memory");
  s.fd_ = *opened;
  return s;
}

Status MatrixStore::put(size_t i, const Matrix& m) {
  if (m.size() > floats_)
    return fail(Code::internal, "a matrix of ", m.size(), " values, room for ", floats_);
  shapes_[i] = {m.rows(), m.cols()};
  if (fd_ < 0) {
    kept_[i] = m;
    return {};
  }
  const auto* data = reinterpret_cast<const char*>(m.data());
  size_t done = 0, size = m.size() * sizeof(float);
  const size_t at = i * floats_ * sizeof(float);
  while (done < size) {
    const ssize_t n = ::pwrite(fd_, data + done, size - done, static_cast<off_t>(at + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      return fail(Code::io, "cannot write activations to the disk of '", path_,
                  "': ", std::strerror(n < 0 ? errno : ENOSPC),
                  "; make room there, or allow more memory (--memory)");
    }
    done += static_cast<size_t>(n);
  }
  return {};
}

Status MatrixStore::get(size_t i, Matrix& m) const {
  const auto [rows, cols] = shapes_[i];
  if (fd_ < 0) {
    m = kept_[i];
    return {};
  }
  m.shape(rows, cols);
  auto* data = reinterpret_cast<char*>(m.data());
  size_t done = 0, size = m.size() * sizeof(float);
  const size_t at = i * floats_ * sizeof(float);
  while (done < size) {
    const ssize_t n = ::pread(fd_, data + done, size - done, static_cast<off_t>(at + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      return fail(Code::io, "cannot read activations back from the disk of '", path_,
                  "': ", std::strerror(n < 0 ? errno : EIO));
    }
    done += static_cast<size_t>(n);
  }
  return {};
}

}  // namespace minnow::compress
