#include "kernels/attention/scalar.h"

namespace {

struct Type {
  typedef int8_t Element;
  static inline float value(int8_t v) { return (float)v; }
};

}  // namespace

extern "C" void attn_f32_f32_q8__1x1_scalar(const AttentionArgs* args) {
  attention_scalar<Type>(args, true);
}
