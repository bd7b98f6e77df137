#include "model/kernel_set.h"

namespace minnow::model {

KernelSet select_kernels(uint32_t isa) {
  KernelSet k;
  k.isa = isa;
  k.linear_f32 = select_linear_float(LinearFloatOp::linear_f32_f32_f32, isa);
  k.linear_f16 = select_linear_float(LinearFloatOp::linear_f32_f32_f16, isa);
  k.linear_bf16 = select_linear_float(LinearFloatOp::linear_f32_f32_bf16, isa);
  k.gemv_panel = select_gemv_panel(GemvPanelOp::gemv_panel_f32_q8_wn, isa);
  k.gemv_row = select_gemv_row(GemvRowOp::gemv_row_f32_q8_wn, isa);
  k.gemv_channel = select_gemv_channel(GemvChannelOp::gemv_channel_f32_q8_wn, isa);
  k.expand = select_expand(ExpandOp::expand_u8_wn, isa);
  k.gemm = select_gemm(GemmOp::gemm_f32_q8_u8, isa);
  k.threshold = select_threshold(ThresholdOp::threshold_f32, isa);
  k.nearest = select_nearest(NearestOp::nearest_u16_f32, isa);
  k.collect = select_collect(CollectOp::collect_u32_u16, isa);
  k.at_least = select_at_least(AtLeastOp::at_least_u32_f32, isa);
  k.mean = select_mean(MeanOp::mean_f16_f32, isa);
  k.score = select_score(ScoreOp::score_f32_f16, isa);
  k.weigh = select_weigh(WeighOp::weigh_f32_f16, isa);
  k.quantize = select_quantize(QuantizeOp::quantize_q8_f32, isa);
  k.attention_f32 = select_attention(AttentionOp::attn_f32_f32_f32, isa);
  k.attention_f16 = select_attention(AttentionOp::attn_f32_f32_f16, isa);
  k.attention_q8 = select_attention(AttentionOp::attn_f32_f32_q8, isa);
  k.rms_norm = select_norm(NormOp::rmsnorm_f32, isa);
  k.layer_norm = select_norm(NormOp::layernorm_f32, isa);
  k.activation = select_activation(ActivationOp::act_mul_f32, isa);
  k.rope = select_rope(RopeOp::rope_f32, isa);
  k.axpy = select_axpy(AxpyOp::axpy_f32, isa);
  k.f16_to_f32 = select_convert(ConvertOp::convert_f32_f16, isa);
  k.bf16_to_f32 = select_convert(ConvertOp::convert_f32_bf16, isa);
  k.f32_to_f16 = select_convert(ConvertOp::convert_f16_f32, isa);
  k.f32_to_bf16 = select_convert(ConvertOp::convert_bf16_f32, isa);
  return k;
}

}  // namespace minnow::model
