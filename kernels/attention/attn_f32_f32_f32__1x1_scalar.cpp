#include "kernels/attention/scalar.h"

namespace {

struct Type {
  typedef float Element;
  static inline float value(float v) { return v; }
};

}  // namespace

extern "C" void attn_f32_f32_f32__1x1_scalar(const AttentionArgs* args) {
  attention_scalar<Type>(args, false);
}
