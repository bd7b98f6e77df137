#include "kernels/attention/scalar.h"

namespace {

struct Type {
  typedef uint16_t Element;
  static inline float value(uint16_t v) { return f32_of_f16(v); }
};

}  // namespace

extern "C" void attn_f32_f32_f16__1x1_scalar(const AttentionArgs* args) {
  attention_scalar<Type>(args, false);
}
