// The kernels this machine will run, chosen once from the variant lists.
#pragma once

#include <cstdint>

#include "kernels/activation/activation.h"
#include "kernels/at_least/at_least.h"
#include "kernels/attention/attention.h"
#include "kernels/axpy/axpy.h"
#include "kernels/collect/collect.h"
#include "kernels/convert/convert.h"
#include "kernels/expand/expand.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemv_channel/gemv_channel.h"
#include "kernels/gemv_panel/gemv_panel.h"
#include "kernels/gemv_row/gemv_row.h"
#include "kernels/linear_float/linear_float.h"
#include "kernels/mean/mean.h"
#include "kernels/nearest/nearest.h"
#include "kernels/norm/norm.h"
#include "kernels/quantize/quantize.h"
#include "kernels/rope/rope.h"
#include "kernels/score/score.h"
#include "kernels/threshold/threshold.h"
#include "kernels/weigh/weigh.h"

namespace minnow::model {

struct KernelSet {
  uint32_t isa = 0;  ///< the mask they were chosen for
  const LinearFloatKernel *linear_f32 = nullptr, *linear_f16 = nullptr, *linear_bf16 = nullptr;
  const GemvPanelKernel* gemv_panel = nullptr;
  const GemvRowKernel* gemv_row = nullptr;
  const GemvChannelKernel* gemv_channel = nullptr;
  const ExpandKernel* expand = nullptr;
  const GemmKernel* gemm = nullptr;
  const QuantizeKernel* quantize = nullptr;
  const ThresholdKernel* threshold = nullptr;
  const NearestKernel* nearest = nullptr;
  const CollectKernel* collect = nullptr;
  const AtLeastKernel* at_least = nullptr;
  const MeanKernel* mean = nullptr;
  const ScoreKernel* score = nullptr;
  const WeighKernel* weigh = nullptr;
  const AttentionKernel *attention_f32 = nullptr, *attention_f16 = nullptr, *attention_q8 = nullptr;
  const NormKernel *rms_norm = nullptr, *layer_norm = nullptr;
  const ActivationKernel* activation = nullptr;
  const RopeKernel* rope = nullptr;
  const AxpyKernel* axpy = nullptr;
  const ConvertKernel *f16_to_f32 = nullptr, *bf16_to_f32 = nullptr, *f32_to_f16 = nullptr,
                      *f32_to_bf16 = nullptr;
};

KernelSet select_kernels(uint32_t isa);

}  // namespace minnow::model
