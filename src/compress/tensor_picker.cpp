#include "compress/tensor_picker.h"

#include <cmath>

namespace minnow::compress {
namespace {

std::string shape_text(const SourceTensor& t) {
  std::string s;
  for (uint64_t d : t.shape) s += cat(s.empty() ? "" : " x ", d);
  return s.empty() ? "a scalar" : s;
}

}  // namespace

Status TensorPicker::matrix(RowSource& out, const std::string& name, uint32_t rows, uint32_t cols,
                            uint32_t first, uint32_t total) {
  if (total == 0) total = rows;
  const SourceTensor* t = source_.find(name);
  if (t == nullptr) return fail(Code::not_found, where_, ": tensor '", name, "' is missing");
  if (t->shape != std::vector<uint64_t>{total, cols}) {
    return fail(Code::corrupt, where_, ": tensor '", name, "' is ", shape_text(*t), ", the config asks for ",
                total, " x ", cols);
  }
  if (source_bytes(t->type, cols) == 0) {
    return fail(Code::unsupported, where_, ": tensor '", name, "' is ", name_of(t->type), " with rows of ",
                cols, ", which its blocks cannot cut");
  }
  used_.insert(name);
  counted_.insert(name);
  out.tensor = t;
  out.first_row = first;
  out.rows = rows;
  out.cols = cols;
  return {};
}

Status TensorPicker::floats(std::vector<float>& out, const std::string& name,
                            const std::vector<uint64_t>& shape) {
  const SourceTensor* t = source_.find(name);
  if (t == nullptr) return fail(Code::not_found, where_, ": tensor '", name, "' is missing");
  uint64_t count = 1;
  std::string wanted;
  for (uint64_t d : shape) {
    count *= d;
    wanted += cat(wanted.empty() ? "" : " x ", d);
  }
  if (t->shape != shape || source_bytes(t->type, count) == 0) {
    return fail(Code::corrupt, where_, ": tensor '", name, "' is ", shape_text(*t), ", the config asks for ",
                wanted, " values");
  }
  out.resize(count);
  widen(t->type, t->data, count, out.data());
  for (uint64_t i = 0; i < count; ++i) {
    if (!std::isfinite(out[i])) {
      return fail(Code::corrupt, where_, ": tensor '", name, "' holds a value that is not finite at index ",
                  i);
    }
  }
  used_.insert(name);
  counted_.insert(name);
  return {};
}

Status TensorPicker::vector(std::vector<float>& out, const std::string& name, uint64_t count) {
  return floats(out, name, {count});
}

Status TensorPicker::table(std::vector<float>& out, const std::string& name, uint64_t rows, uint64_t cols) {
  return floats(out, name, {rows, cols});
}

Status TensorPicker::linear(ImportedLinear& out, const std::string& name, uint32_t rows, uint32_t cols,
                            Bias bias) {
  return fused(out, name, name, rows, cols, 0, rows, bias);
}

Status TensorPicker::fused(ImportedLinear& out, const std::string& name, const std::string& part,
                           uint32_t rows, uint32_t cols, uint32_t first, uint32_t total, Bias bias) {
  out.name = part;
  MINNOW_TRY(matrix(out.weight, name + ".weight", rows, cols, first, total));
  if (bias == Bias::none || (bias == Bias::optional && !has(name + ".bias"))) return {};
  std::vector<float> values;
  MINNOW_TRY(vector(values, name + ".bias", total));
  out.bias.assign(values.begin() + first, values.begin() + first + rows);
  return {};
}

Status TensorPicker::norm(ImportedNorm& out, const std::string& name, uint32_t count, Bias bias,
                          float offset) {
  MINNOW_TRY(vector(out.weight, name + ".weight", count));
  for (float& w : out.weight) w += offset;
  if (bias == Bias::none || (bias == Bias::optional && !has(name + ".bias"))) return {};
  return vector(out.bias, name + ".bias", count);
}

Status TensorPicker::finish() const {
  for (const std::string& name : source_.names()) {
    if (!used_.contains(name)) {
      return fail(Code::unsupported, where_, ": tensor '", name,
                  "' has no place in this architecture; minnow does not guess what it is for");
    }
  }
  return {};
}

uint64_t TensorPicker::elements() const {
  uint64_t total = 0;
  for (const std::string& name : counted_) total += source_.find(name)->elements();
  return total;
}

}  // namespace minnow::compress
