#include "compress/additions.h"

#include <unistd.h>

#include <cstdio>

namespace minnow::compress {
namespace {

using WriteFile = std::function<Result<CompressReport>(const std::string& path)>;

/// What `then` makes of a file that `first` wrote and that is not kept.
Result<CompressReport> through(const std::string& output, const char* stage, const WriteFile& first,
                               const std::function<Result<CompressReport>(const std::string&)>& then) {
  const std::string between = cat(output, ".", stage, ".", static_cast<uint64_t>(::getpid()));
  auto report = first(between);
  if (report.ok()) report = then(between);
  std::remove(between.c_str());
  return report;
}

}  // namespace

Result<CompressReport> add_to_file(const std::string& input, const Additions& a, const std::string& output) {
  if (a.codebooks == nullptr) return add_sparsity(input, *a.sparsity, output);
  if (a.sparsity == nullptr) return add_codebooks(input, *a.codebooks, output);
  return through(
      output, "sparse", [&](const std::string& to) { return add_sparsity(input, *a.sparsity, to); },
      [&](const std::string& from) { return add_codebooks(from, *a.codebooks, output); });
}

Result<CompressReport> through_plain_file(const std::string& output, const Additions& a,
                                          const WriteFile& write) {
  if (a.none()) return write(output);
  return through(output, "plain", write,
                 [&](const std::string& from) { return add_to_file(from, a, output); });
}

Result<uint64_t> size_with(const std::string& path, const Additions& a) {
  const std::string sparse = cat(path, ".sparse.", static_cast<uint64_t>(::getpid()));
  const std::string whole = cat(path, ".whole.", static_cast<uint64_t>(::getpid()));
  CompressReport report;
  const Status status = [&]() -> Status {
    if (a.sparsity != nullptr) {
      MINNOW_ASSIGN(report, try_sparsity(path, *a.sparsity, sparse));
    }
    if (a.codebooks != nullptr) {
      MINNOW_ASSIGN(report, try_codebooks(a.sparsity != nullptr ? sparse : path, *a.codebooks, whole));
    }
    return {};
  }();
  std::remove(sparse.c_str());
  std::remove(whole.c_str());
  MINNOW_TRY(Status(status));
  return report.file_bytes;
}

}  // namespace minnow::compress
