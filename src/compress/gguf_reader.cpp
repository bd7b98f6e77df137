#include "compress/gguf_reader.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/checked.h"

namespace minnow::compress {

/// Reads forward through the file; every read is checked against its end.
class GgufCursor {
 public:
  explicit GgufCursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <typename T>
  Result<T> read(std::string_view what) {
    if (remaining() < sizeof(T)) return truncated(what, sizeof(T));
    T v;
    std::memcpy(&v, bytes_.data() + at_, sizeof v);
    at_ += sizeof v;
    return v;
  }

  Result<std::span<const std::byte>> take(uint64_t n, std::string_view what) {
    if (n > remaining()) return truncated(what, n);
    const auto s = bytes_.subspan(at_, n);
    at_ += n;
    return s;
  }

  Result<std::string_view> read_string(std::string_view what) {
    MINNOW_ASSIGN(const uint64_t n, read<uint64_t>(what));
    MINNOW_ASSIGN(const auto s, take(n, what));
    return std::string_view(reinterpret_cast<const char*>(s.data()), s.size());
  }

  uint64_t position() const { return at_; }
  uint64_t remaining() const { return bytes_.size() - at_; }

 private:
  Status truncated(std::string_view what, uint64_t n) const {
    return fail(Code::corrupt, "GGUF: ", what, " needs ", n, " bytes at offset ", at_,
                ", but the file ends at ", bytes_.size(),
                "; the file is damaged or was not downloaded in full");
  }

  std::span<const std::byte> bytes_;
  uint64_t at_ = 0;
};

namespace {

constexpr uint32_t kMagic = 0x46554747;         // "GGUF"
constexpr uint64_t kMinEntry = 8 + 4 + 1;       // key length, type, one byte of value
constexpr uint64_t kMinTensor = 8 + 4 + 4 + 8;  // name length, dimensions, type, offset
constexpr uint64_t kMaxName = 65535;
constexpr uint64_t kMaxAlignment = uint64_t{1} << 20;

uint64_t size_of(GgufType t) {
  switch (t) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean:
      return 1;
    case GgufType::u16:
    case GgufType::i16:
      return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32:
      return 4;
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64:
      return 8;
    default:
      return 0;
  }
}

std::string_view name_of(GgufType t) {
  constexpr std::string_view kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                         "bool", "string", "array", "u64", "i64", "f64"};
  const auto i = static_cast<uint32_t>(t);
  return i < std::size(kNames) ? kNames[i] : "unknown";
}

template <typename T>
T load(const std::byte* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

/// The element as an integer, if it is one that int64_t holds.
std::optional<int64_t> as_integer(GgufType t, const std::byte* p) {
  switch (t) {
    case GgufType::u8:
      return load<uint8_t>(p);
    case GgufType::i8:
      return load<int8_t>(p);
    case GgufType::u16:
      return load<uint16_t>(p);
    case GgufType::i16:
      return load<int16_t>(p);
    case GgufType::u32:
      return load<uint32_t>(p);
    case GgufType::i32:
      return load<int32_t>(p);
    case GgufType::i64:
      return load<int64_t>(p);
    case GgufType::u64: {
      const auto v = load<uint64_t>(p);
      if (v > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
      return static_cast<int64_t>(v);
    }
    default:
      return std::nullopt;
  }
}

std::optional<double> as_number(GgufType t, const std::byte* p) {
  if (t == GgufType::f32) return load<float>(p);
  if (t == GgufType::f64) return load<double>(p);
  const auto i = as_integer(t, p);
  if (!i) return std::nullopt;
  return static_cast<double>(*i);
}

/// The file's names go into messages: cut long ones, and keep control characters out.
std::string shown(std::string_view s) {
  std::string out;
  for (const char c : s.substr(0, 80)) out.push_back(static_cast<uint8_t>(c) < 0x20 || c == 0x7F ? '?' : c);
  return out;
}

Status wrong_type(std::string_view key, const GgufValue& v, std::string_view wanted) {
  const std::string have =
      v.type == GgufType::array ? cat("an array of ", name_of(v.element)) : std::string(name_of(v.type));
  return fail(Code::corrupt, "GGUF: metadata '", key, "' is ", have, ", not ", wanted);
}

}  // namespace

std::optional<GgmlTypeInfo> ggml_type_info(uint32_t type) {
  switch (type) {
    case 0:
      return GgmlTypeInfo{"F32", 1, 4};
    case 1:
      return GgmlTypeInfo{"F16", 1, 2};
    case 2:
      return GgmlTypeInfo{"Q4_0", 32, 18};
    case 3:
      return GgmlTypeInfo{"Q4_1", 32, 20};
    case 6:
      return GgmlTypeInfo{"Q5_0", 32, 22};
    case 7:
      return GgmlTypeInfo{"Q5_1", 32, 24};
    case 8:
      return GgmlTypeInfo{"Q8_0", 32, 34};
    case 9:
      return GgmlTypeInfo{"Q8_1", 32, 36};
    case 10:
      return GgmlTypeInfo{"Q2_K", 256, 84};
    case 11:
      return GgmlTypeInfo{"Q3_K", 256, 110};
    case 12:
      return GgmlTypeInfo{"Q4_K", 256, 144};
    case 13:
      return GgmlTypeInfo{"Q5_K", 256, 176};
    case 14:
      return GgmlTypeInfo{"Q6_K", 256, 210};
    case 15:
      return GgmlTypeInfo{"Q8_K", 256, 292};
    case 16:
      return GgmlTypeInfo{"IQ2_XXS", 256, 66};
    case 17:
      return GgmlTypeInfo{"IQ2_XS", 256, 74};
    case 18:
      return GgmlTypeInfo{"IQ3_XXS", 256, 98};
    case 19:
      return GgmlTypeInfo{"IQ1_S", 256, 50};
    case 20:
      return GgmlTypeInfo{"IQ4_NL", 32, 18};
    case 21:
      return GgmlTypeInfo{"IQ3_S", 256, 110};
    case 22:
      return GgmlTypeInfo{"IQ2_S", 256, 82};
    case 23:
      return GgmlTypeInfo{"IQ4_XS", 256, 136};
    case 24:
      return GgmlTypeInfo{"I8", 1, 1};
    case 25:
      return GgmlTypeInfo{"I16", 1, 2};
    case 26:
      return GgmlTypeInfo{"I32", 1, 4};
    case 27:
      return GgmlTypeInfo{"I64", 1, 8};
    case 28:
      return GgmlTypeInfo{"F64", 1, 8};
    case 29:
      return GgmlTypeInfo{"IQ1_M", 256, 56};
    case 30:
      return GgmlTypeInfo{"BF16", 1, 2};
    case 34:
      return GgmlTypeInfo{"TQ1_0", 256, 54};
    case 35:
      return GgmlTypeInfo{"TQ2_0", 256, 66};
    case 39:
      return GgmlTypeInfo{"MXFP4", 32, 17};
    default:
      return std::nullopt;
  }
}

Result<GgufReader> GgufReader::open(const std::string& path) {
  MINNOW_ASSIGN(MappedFile file, MappedFile::open(path));
  auto reader = parse(std::move(file));
  if (!reader.ok()) return std::move(reader).status().within(path);
  return reader;
}

Result<GgufReader> GgufReader::parse(MappedFile file) {
  GgufReader r;
  r.file_ = std::move(file);
  MINNOW_TRY(r.read());
  return r;
}

Status GgufReader::read() {
  GgufCursor in(file_.bytes());
  MINNOW_ASSIGN(const uint32_t magic, in.read<uint32_t>("the magic number"));
  if (magic != kMagic) return fail(Code::corrupt, "not a GGUF file: it does not begin with 'GGUF'");
  MINNOW_ASSIGN(version_, in.read<uint32_t>("the version"));
  if (version_ == 0x02000000 || version_ == 0x03000000) {
    return fail(Code::unsupported, "GGUF: this is a big-endian file; convert it to little-endian");
  }
  if (version_ != 2 && version_ != 3) {
    return fail(Code::unsupported, "GGUF: version ", version_,
                " is not supported; convert the model to version 3");
  }
  MINNOW_ASSIGN(const uint64_t tensors, in.read<uint64_t>("the tensor count"));
  MINNOW_ASSIGN(const uint64_t entries, in.read<uint64_t>("the metadata count"));
  if (entries > in.remaining() / kMinEntry) {
    return fail(Code::corrupt, "GGUF: the header promises ", entries, " metadata entries, but only ",
                in.remaining(), " bytes follow; the file is damaged");
  }
  if (tensors > in.remaining() / kMinTensor) {
    return fail(Code::corrupt, "GGUF: the header promises ", tensors, " tensors, but only ", in.remaining(),
                " bytes follow; the file is damaged");
  }
  MINNOW_TRY(read_metadata(in, entries));
  if (has("general.alignment")) {
    MINNOW_ASSIGN(const int64_t a, integer("general.alignment"));
    if (a < 1 || static_cast<uint64_t>(a) > kMaxAlignment || !std::has_single_bit(static_cast<uint64_t>(a))) {
      return fail(Code::corrupt, "GGUF: general.alignment is ", a, ", not a power of two up to ",
                  kMaxAlignment);
    }
    alignment_ = static_cast<uint64_t>(a);
  }
  MINNOW_TRY(read_tensors(in, tensors));
  data_begin_ = round_up(in.position(), alignment_);
  return check_layout();
}

Status GgufReader::read_metadata(GgufCursor& in, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    MINNOW_ASSIGN(const std::string_view key, in.read_string(cat("the key of metadata entry ", i)));
    if (key.empty() || key.size() > kMaxName) {
      return fail(Code::corrupt, "GGUF: the key of metadata entry ", i, " has ", key.size(), " bytes");
    }
    const std::string what = cat("metadata '", shown(key), "'");
    GgufValue v;
    MINNOW_ASSIGN(const uint32_t type, in.read<uint32_t>(what));
    v.type = static_cast<GgufType>(type);
    if (v.type == GgufType::string) {
      MINNOW_ASSIGN(const std::string_view s, in.read_string(what));
      v.bytes = std::as_bytes(std::span(s.data(), s.size()));
    } else if (v.type == GgufType::array) {
      MINNOW_ASSIGN(const uint32_t element, in.read<uint32_t>(what));
      MINNOW_ASSIGN(v.count, in.read<uint64_t>(what));
      v.element = static_cast<GgufType>(element);
      const uint64_t least = v.element == GgufType::string ? 8 : size_of(v.element);
      if (least == 0) {
        return fail(Code::unsupported, "GGUF: ", what, " is an array of type ", element,
                    ", which minnow cannot read");
      }
      if (v.count > in.remaining() / least) {
        return fail(Code::corrupt, "GGUF: ", what, " promises ", v.count, " elements, but only ",
                    in.remaining(), " bytes follow; the file is damaged");
      }
      const uint64_t begin = in.position();
      if (v.element == GgufType::string) {
        for (uint64_t n = 0; n < v.count; ++n) MINNOW_TRY(in.read_string(what).status());
      } else {
        MINNOW_TRY(in.take(v.count * least, what).status());
      }
      v.bytes = file_.bytes().subspan(begin, in.position() - begin);
    } else {
      const uint64_t n = size_of(v.type);
      if (n == 0)
        return fail(Code::unsupported, "GGUF: ", what, " has type ", type, ", which minnow cannot read");
      MINNOW_ASSIGN(v.bytes, in.take(n, what));
    }
    if (!values_.emplace(key, v).second) return fail(Code::corrupt, "GGUF: ", what, " is there twice");
    keys_.push_back(key);
  }
  return {};
}

Status GgufReader::read_tensors(GgufCursor& in, uint64_t count) {
  tensors_.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    GgufTensor t;
    MINNOW_ASSIGN(t.name, in.read_string(cat("the name of tensor ", i)));
    if (t.name.empty() || t.name.size() > kMaxName) {
      return fail(Code::corrupt, "GGUF: the name of tensor ", i, " has ", t.name.size(), " bytes");
    }
    const std::string what = cat("tensor '", shown(t.name), "'");
    MINNOW_ASSIGN(t.dim_count, in.read<uint32_t>(what));
    if (t.dim_count < 1 || t.dim_count > t.dims.size()) {
      return fail(Code::corrupt, "GGUF: ", what, " has ", t.dim_count, " dimensions; 1 to 4 are possible");
    }
    t.elements = 1;
    for (uint32_t d = 0; d < t.dim_count; ++d) {
      MINNOW_ASSIGN(t.dims[d], in.read<uint64_t>(what));
      const auto product = checked_mul(t.elements, t.dims[d]);
      if (t.dims[d] == 0 || !product || *product > (uint64_t{1} << 60)) {
        return fail(Code::corrupt, "GGUF: ", what, " has dimension ", t.dims[d], " at place ", d,
                    ", which no tensor can have; the file is damaged");
      }
      t.elements = *product;
    }
    MINNOW_ASSIGN(t.type, in.read<uint32_t>(what));
    MINNOW_ASSIGN(t.offset, in.read<uint64_t>(what));
    if (const auto info = ggml_type_info(t.type)) {
      if (t.dims[0] % info->block != 0) {
        return fail(Code::corrupt, "GGUF: ", what, " has rows of ", t.dims[0],
                    " values, not a multiple of the ", info->block, " of ", info->name);
      }
      const auto size = checked_mul<uint64_t>(t.elements / info->block, info->bytes);
      if (!size)
        return fail(Code::corrupt, "GGUF: ", what, " has ", t.elements, " values; the file is damaged");
      t.size = *size;
    }
    if (!tensor_index_.emplace(t.name, tensors_.size()).second) {
      return fail(Code::corrupt, "GGUF: ", what, " is there twice");
    }
    tensors_.push_back(t);
  }
  return {};
}

Status GgufReader::check_layout() const {
  if (tensors_.empty()) return {};
  if (data_begin_ > file_.size()) {
    return fail(Code::corrupt, "GGUF: the data section would begin at ", data_begin_,
                ", but the file ends at ", file_.size(),
                "; the file is damaged or was not downloaded in full");
  }
  const uint64_t available = file_.size() - data_begin_;
  std::vector<const GgufTensor*> order;
  for (const GgufTensor& t : tensors_) {
    if (t.offset % alignment_ != 0) {
      return fail(Code::corrupt, "GGUF: tensor '", shown(t.name), "' lies at offset ", t.offset,
                  ", not a multiple of the alignment ", alignment_);
    }
    if (!range_fits(t.offset, t.size, available)) {
      return fail(Code::corrupt, "GGUF: tensor '", shown(t.name), "' needs ", t.size, " bytes at offset ",
                  t.offset, " of a data section of ", available,
                  " bytes; the file is damaged or was not downloaded in full");
    }
    if (t.size != 0) order.push_back(&t);
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->offset + order[i - 1]->size > order[i]->offset) {
      return fail(Code::corrupt, "GGUF: tensors '", shown(order[i - 1]->name), "' and '",
                  shown(order[i]->name), "' overlap; the file is damaged");
    }
  }
  return {};
}

const GgufValue* GgufReader::find(std::string_view key) const {
  const auto it = values_.find(key);
  return it == values_.end() ? nullptr : &it->second;
}

Result<const GgufValue*> GgufReader::need(std::string_view key, bool array) const {
  const GgufValue* v = find(key);
  if (v == nullptr) return fail(Code::not_found, "GGUF: metadata '", key, "' is missing");
  if ((v->type == GgufType::array) != array)
    return wrong_type(key, *v, array ? "an array" : "a single value");
  return v;
}

Result<std::string_view> GgufReader::string(std::string_view key) const {
  MINNOW_ASSIGN(const GgufValue* v, need(key, false));
  if (v->type != GgufType::string) return wrong_type(key, *v, "a string");
  return std::string_view(reinterpret_cast<const char*>(v->bytes.data()), v->bytes.size());
}

Result<int64_t> GgufReader::integer(std::string_view key) const {
  MINNOW_ASSIGN(const GgufValue* v, need(key, false));
  const auto i = as_integer(v->type, v->bytes.data());
  if (!i) return wrong_type(key, *v, "an integer below 2^63");
  return *i;
}

Result<double> GgufReader::number(std::string_view key) const {
  MINNOW_ASSIGN(const GgufValue* v, need(key, false));
  const auto n = as_number(v->type, v->bytes.data());
  if (!n) return wrong_type(key, *v, "a number");
  return *n;
}

Result<bool> GgufReader::boolean(std::string_view key) const {
  MINNOW_ASSIGN(const GgufValue* v, need(key, false));
  if (v->type != GgufType::boolean) return wrong_type(key, *v, "a bool");
  return load<uint8_t>(v->bytes.data()) != 0;
}

Result<std::vector<std::string_view>> GgufReader::strings(std::string_view key) const {
  MINNOW_ASSIGN(const GgufValue* v, need(key, true));
  if (v->element != GgufType::string) return wrong_type(key, *v, "an array of strings");
  std::vector<std::string_view> out;
  out.reserve(v->count);
  const std::byte* p = v->bytes.data();  // the lengths were checked when the file was read
  for (uint64_t i = 0; i < v->count; ++i) {
    const auto n = load<uint64_t>(p);
    out.emplace_back(reinterpret_cast<const char*>(p + 8), n);
    p += 8 + n;
  }
  return out;
}

Result<std::vector<int64_t>> GgufReader::integers(std::string_view key) const {
  MINNOW_ASSIGN(const GgufValue* v, need(key, true));
  std::vector<int64_t> out;
  out.reserve(v->element == GgufType::string ? 0 : v->count);
  for (uint64_t i = 0; i < v->count; ++i) {
    const auto n = as_integer(v->element, v->bytes.data() + i * size_of(v->element));
    if (!n) return wrong_type(key, *v, "an array of integers");
    out.push_back(*n);
  }
  return out;
}

Result<std::vector<float>> GgufReader::floats(std::string_view key) const {
  MINNOW_ASSIGN(const GgufValue* v, need(key, true));
  std::vector<float> out;
  out.reserve(v->element == GgufType::string ? 0 : v->count);
  for (uint64_t i = 0; i < v->count; ++i) {
    const auto n = as_number(v->element, v->bytes.data() + i * size_of(v->element));
    if (!n) return wrong_type(key, *v, "an array of numbers");
    out.push_back(static_cast<float>(*n));
  }
  return out;
}

const GgufTensor* GgufReader::find_tensor(std::string_view name) const {
  const auto it = tensor_index_.find(name);
  return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

Result<std::span<const std::byte>> GgufReader::data(const GgufTensor& t) const {
  if (t.size == 0) {
    return fail(Code::unsupported, "GGUF: tensor '", shown(t.name), "' has ggml type ", t.type,
                ", which this version of minnow does not know; convert the model to F16, BF16 or Q8_0");
  }
  return file_.bytes().subspan(data_begin_ + t.offset, t.size);
}

}  // namespace minnow::compress
