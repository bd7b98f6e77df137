#include "compress/mlwq/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "format/container.h"

namespace minnow::compress {
namespace {

constexpr uint64_t kMagic = 0x32306b636e6e696dull;  // "minnck02"
constexpr const char *kBlockFile = "block-", *kEndsFile = "ends", *kLinearFile = "linear-";

/// Writes fields one after another.
class Out {
 public:
  template <typename T>
  void put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  template <typename T>
  void list(const std::vector<T>& values) {
    put<uint64_t>(values.size());
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  }
  void matrix(const Matrix& m) {
    put<uint64_t>(m.rows());
    put<uint64_t>(m.cols());
    bytes_.append(reinterpret_cast<const char*>(m.data()), m.size() * sizeof(float));
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

/// Reads them back; after a field that is not there, `ok` is false and everything else is empty.
class In {
 public:
  explicit In(const std::string& bytes) : bytes_(bytes) {}
  template <typename T>
  T get() {
    T value{};
    if (take(sizeof value)) std::memcpy(&value, bytes_.data() + at_ - sizeof value, sizeof value);
    return value;
  }
  template <typename T>
  std::vector<T> list() {
    const auto n = get<uint64_t>();
    std::vector<T> values;
    if (n > bytes_.size() || !take(n * sizeof(T))) return values;
    values.resize(n);
    if (n != 0) std::memcpy(values.data(), bytes_.data() + at_ - n * sizeof(T), n * sizeof(T));
    return values;
  }
  Matrix matrix() {
    const auto rows = get<uint64_t>(), cols = get<uint64_t>();
    Matrix m;
    if (rows > bytes_.size() || cols > bytes_.size() || !take(rows * cols * sizeof(float))) return m;
    m.shape(rows, cols);
    const size_t size = m.size() * sizeof(float);
    if (size != 0) std::memcpy(m.data(), bytes_.data() + at_ - size, size);
    return m;
  }
  /// Of things that follow, each of a byte at least.
  size_t count() { return std::min<uint64_t>(get<uint64_t>(), bytes_.size()); }
  bool ok = true;

 private:
  bool take(uint64_t n) {
    if (!ok || n > bytes_.size() - at_) return ok = false;
    at_ += n;
    return true;
  }
  const std::string& bytes_;
  size_t at_ = 0;
};

void put(Out& o, const LinearSensitivity& s) {
  o.matrix(s.moments.second);
  o.list(s.moments.first);
  o.put(s.moments.weight);
  o.list(s.row_weights);
  o.put(s.tokens);
}

LinearSensitivity get_sensitivity(In& in) {
  LinearSensitivity s;
  s.moments.second = in.matrix();
  s.moments.first = in.list<double>();
  s.moments.weight = in.get<double>();
  s.row_weights = in.list<double>();
  s.tokens = in.get<double>();
  return s;
}

void put(Out& o, const CalibratedLinear& l) {
  put(o, l.sensitivity);
  o.list(l.salience);
  o.put<uint64_t>(l.candidates.size());
  for (const Candidate& x : l.candidates) {
    o.list(x.scheme.slabs);
    o.put(x.bytes);
    o.put(x.loss);
  }
  o.put(l.rise);
}

CalibratedLinear get_linear(In& in) {
  CalibratedLinear l;
  l.sensitivity = get_sensitivity(in);
  l.salience = in.list<double>();
  l.candidates.resize(in.count());
  for (Candidate& x : l.candidates) {
    x.scheme.slabs = in.list<SlabSpec>();
    x.bytes = in.get<uint64_t>();
    x.loss = in.get<double>();
  }
  l.rise = in.get<double>();
  return l;
}

}  // namespace

uint64_t add_to_key(uint64_t key, const void* bytes, size_t size) {
  const uint64_t both[] = {key, format::checksum({static_cast<const std::byte*>(bytes), size})};
  return format::checksum(std::as_bytes(std::span(both)));
}

Status Checkpoint::write(const std::string& name, uint64_t key, const std::string& bytes) const {
  if (directory_.empty()) return {};
  std::error_code error;
  std::filesystem::create_directories(directory_, error);
  if (error) return fail(Code::io, "cannot make the directory '", directory_, "': ", error.message());
  MINNOW_ASSIGN(AtomicFileWriter file, AtomicFileWriter::create(directory_ + "/" + name));
  const auto* data = reinterpret_cast<const std::byte*>(bytes.data());
  const uint64_t head[] = {kMagic, key, bytes.size(), format::checksum({data, bytes.size()})};
  MINNOW_TRY(file.write(std::as_bytes(std::span(head))));
  MINNOW_TRY(file.write({data, bytes.size()}));
  return file.commit();
}

std::optional<std::string> Checkpoint::read(const std::string& name, uint64_t key) const {
  if (directory_.empty() || !file_exists(directory_ + "/" + name)) return std::nullopt;
  auto file = read_text_file(directory_ + "/" + name, uint64_t{1} << 36);
  uint64_t head[4] = {};
  if (!file.ok() || file->size() < sizeof head) return std::nullopt;
  std::memcpy(head, file->data(), sizeof head);
  std::string bytes = file->substr(sizeof head);
  const bool good =
      head[0] == kMagic && head[1] == key && head[2] == bytes.size() &&
      head[3] == format::checksum({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()});
  if (!good) return std::nullopt;
  return bytes;
}

Status Checkpoint::keep(uint64_t key, size_t index, const CalibratedBlock& b) const {
  if (directory_.empty()) return {};
  Out o;
  for (const CalibratedLinear& l : b.linear) put(o, l);
  o.put<uint64_t>(b.token_weights.size());
  for (const auto& sequence : b.token_weights) {
    for (const auto& weights : sequence) o.list(weights);
  }
  return write(cat(kBlockFile, index), key, o.take());
}

std::optional<CalibratedBlock> Checkpoint::block(uint64_t key, size_t index) const {
  const auto bytes = read(cat(kBlockFile, index), key);
  if (!bytes) return std::nullopt;
  In in(*bytes);
  CalibratedBlock b;
  for (CalibratedLinear& l : b.linear) l = get_linear(in);
  b.token_weights.resize(in.count());
  for (auto& sequence : b.token_weights) {
    for (auto& weights : sequence) weights = in.list<float>();
  }
  if (!in.ok) return std::nullopt;
  return b;
}

Status Checkpoint::keep(uint64_t key, const CalibratedEnds& e) const {
  if (directory_.empty()) return {};
  Out o;
  put(o, e.sensitivity.head);
  o.list(e.sensitivity.embedding_channels);
  o.list(e.sensitivity.token_share);
  o.put(e.sensitivity.nll);
  put(o, e.embedding);
  put(o, e.head);
  return write(kEndsFile, key, o.take());
}

std::optional<CalibratedEnds> Checkpoint::ends(uint64_t key) const {
  const auto bytes = read(kEndsFile, key);
  if (!bytes) return std::nullopt;
  In in(*bytes);
  CalibratedEnds e;
  e.sensitivity.head = get_sensitivity(in);
  e.sensitivity.embedding_channels = in.list<double>();
  e.sensitivity.token_share = in.list<double>();
  e.sensitivity.nll = in.get<double>();
  e.embedding = get_linear(in);
  e.head = get_linear(in);
  if (!in.ok) return std::nullopt;
  return e;
}

Status Checkpoint::keep(uint64_t key, size_t index, const QuantisedLinear& l) const {
  if (directory_.empty()) return {};
  Out o;
  o.list(std::vector<char>(l.name.begin(), l.name.end()));
  o.put(l.rows);
  o.put(l.cols);
  o.list(l.order);
  o.put<uint64_t>(l.slabs.size());
  for (const QuantisedSlab& s : l.slabs) {
    o.put(s.code);
    o.put(s.group);
    o.put(s.first);
    o.put(s.count);
    o.list(s.codes);
    o.list(s.scales);
    o.list(s.zeros);
  }
  return write(cat(kLinearFile, index), key, o.take());
}

std::optional<QuantisedLinear> Checkpoint::linear(uint64_t key, size_t index) const {
  const auto bytes = read(cat(kLinearFile, index), key);
  if (!bytes) return std::nullopt;
  In in(*bytes);
  QuantisedLinear l;
  const std::vector<char> name = in.list<char>();
  l.name.assign(name.begin(), name.end());
  l.rows = in.get<uint32_t>();
  l.cols = in.get<uint32_t>();
  l.order = in.list<uint32_t>();
  l.slabs.resize(in.count());
  for (QuantisedSlab& s : l.slabs) {
    s.code = in.get<format::CodeType>();
    s.group = in.get<uint32_t>();
    s.first = in.get<uint32_t>();
    s.count = in.get<uint32_t>();
    s.codes = in.list<uint8_t>();
    s.scales = in.list<float>();
    s.zeros = in.list<uint8_t>();
  }
  if (!in.ok) return std::nullopt;
  return l;
}

void Checkpoint::remove() const {
  if (directory_.empty()) return;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(directory_, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name == kEndsFile || name.starts_with(kBlockFile) || name.starts_with(kLinearFile))
      std::filesystem::remove(entry.path(), ignored);
  }
  std::filesystem::remove(directory_, ignored);  // only when nothing else is in it
}

}  // namespace minnow::compress
