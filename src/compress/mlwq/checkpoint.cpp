#include "compress/mlwq/checkpoint.h"

#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "format/container.h"

namespace minnow::compress {
namespace {

constexpr uint64_t kMagic = 0x31306b636e6e696dull;  // "minnck01"

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
    std::memcpy(m.data(), bytes_.data() + at_ - rows * cols * sizeof(float), rows * cols * sizeof(float));
    return m;
  }
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

Status Checkpoint::keep(uint64_t key, const Calibrated& c) const {
  if (directory_.empty()) return {};
  Out o;
  const Sensitivity& s = c.sensitivity;
  o.put<uint64_t>(s.blocks.size());
  for (const BlockSensitivity& b : s.blocks) {
    for (const LinearSensitivity& l : b.linear) put(o, l);
  }
  put(o, s.head);
  o.list(s.embedding_channels);
  o.list(s.token_share);
  o.put(s.nll);
  o.put<uint64_t>(s.token_weights.size());
  for (const auto& sequence : s.token_weights) {
    for (const auto& block : sequence) {
      for (const auto& weights : block) o.list(weights);
    }
  }
  o.put<uint64_t>(c.candidates.size());
  for (size_t l = 0; l < c.candidates.size(); ++l) {
    o.list(c.salience[l]);
    o.put<uint64_t>(c.candidates[l].size());
    for (const Candidate& x : c.candidates[l]) {
      o.list(x.scheme.slabs);
      o.put(x.bytes);
      o.put(x.loss);
    }
  }
  return write("calibrated", key, o.take());
}

std::optional<Calibrated> Checkpoint::calibrated(uint64_t key) const {
  const auto bytes = read("calibrated", key);
  if (!bytes) return std::nullopt;
  In in(*bytes);
  Calibrated c;
  Sensitivity& s = c.sensitivity;
  s.blocks.resize(std::min<uint64_t>(in.get<uint64_t>(), bytes->size()));
  for (BlockSensitivity& b : s.blocks) {
    for (LinearSensitivity& l : b.linear) l = get_sensitivity(in);
  }
  s.head = get_sensitivity(in);
  s.embedding_channels = in.list<double>();
  s.token_share = in.list<double>();
  s.nll = in.get<double>();
  s.token_weights.resize(std::min<uint64_t>(in.get<uint64_t>(), bytes->size()));
  for (auto& sequence : s.token_weights) {
    sequence.resize(s.blocks.size());
    for (auto& block : sequence) {
      for (auto& weights : block) weights = in.list<float>();
    }
  }
  const uint64_t linears = std::min<uint64_t>(in.get<uint64_t>(), bytes->size());
  c.salience.resize(linears);
  c.candidates.resize(linears);
  for (size_t l = 0; l < linears; ++l) {
    c.salience[l] = in.list<double>();
    c.candidates[l].resize(std::min<uint64_t>(in.get<uint64_t>(), bytes->size()));
    for (Candidate& x : c.candidates[l]) {
      x.scheme.slabs = in.list<SlabSpec>();
      x.bytes = in.get<uint64_t>();
      x.loss = in.get<double>();
    }
  }
  if (!in.ok) return std::nullopt;
  return c;
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
  return write(cat("linear-", index), key, o.take());
}

std::optional<QuantisedLinear> Checkpoint::linear(uint64_t key, size_t index) const {
  const auto bytes = read(cat("linear-", index), key);
  if (!bytes) return std::nullopt;
  In in(*bytes);
  QuantisedLinear l;
  const std::vector<char> name = in.list<char>();
  l.name.assign(name.begin(), name.end());
  l.rows = in.get<uint32_t>();
  l.cols = in.get<uint32_t>();
  l.order = in.list<uint32_t>();
  l.slabs.resize(std::min<uint64_t>(in.get<uint64_t>(), bytes->size()));
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
    if (name == "calibrated" || name.starts_with("linear-")) std::filesystem::remove(entry.path(), ignored);
  }
  std::filesystem::remove(directory_, ignored);  // only when nothing else is in it
}

}  // namespace minnow::compress
