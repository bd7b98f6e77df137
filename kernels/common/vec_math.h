// exp, tanh, erf over VecF. The ISA file names its vec_<isa>.h in MINNOW_VEC. Polynomials: minimax (Remez),
// errors in the comments.
#pragma once

#include MINNOW_VEC

// Relative error below 2^-22; 0 below -104, infinity above 88.73; NaN stays NaN.
// x = n ln 2 + r with |r| <= ln 2 / 2; ln 2 in two parts, the first exact in products with n.
static inline VecF v_exp(VecF x) {
  x = v_min(v_set1(89.0f), v_max(v_set1(-105.0f), x));
  const VecF n = v_round(v_mul(x, v_set1(1.4426950409f)));
  VecF r = v_fnma(n, v_set1(0.693145751953125f), x);
  r = v_fnma(n, v_set1(1.42860682e-6f), r);
  VecF p = v_set1(0.00138131459f);  // (e^r - 1 - r) / r^2, 3.3e-9
  p = v_fma(p, r, v_set1(0.00836941863f));
  p = v_fma(p, r, v_set1(0.0416684567f));
  p = v_fma(p, r, v_set1(0.166665148f));
  p = v_fma(p, r, v_set1(0.49999993f));
  p = v_fma(p, v_mul(r, r), v_add(r, v_set1(1.0f)));
  return v_scale2(p, n);
}

// Relative error below 2^-21, also near zero. Below 0.64 an odd polynomial, above it 1 - 2 / (exp(2x) + 1).
static inline VecF v_tanh(VecF x) {
  const VecF a = v_abs(x);
  const VecF u = v_mul(x, x);
  VecF p = v_set1(-0.00559102454f);  // (tanh(a) / a - 1) / a^2, 5.7e-9
  p = v_fma(p, u, v_set1(0.0205388277f));
  p = v_fma(p, u, v_set1(-0.0537096598f));
  p = v_fma(p, u, v_set1(0.133310923f));
  p = v_fma(p, u, v_set1(-0.333332695f));
  const VecF small = v_fma(v_mul(p, u), x, x);
  const VecF one = v_set1(1.0f);
  const VecF large = v_sub(one, v_div(v_set1(2.0f), v_add(v_exp(v_add(a, a)), one)));
  return v_if_less(a, v_set1(0.64f), small, v_with_sign(large, x));
}

// erfc(a) for a >= 0; absolute error below 2^-22, relative below 2^-19 up to a = 4.
static inline VecF v_erfc_of_positive(VecF a) {
  const VecF u = v_mul(a, a);
  VecF p = v_set1(7.88910674e-5f);  // erf(a) / a, 1.2e-9
  p = v_fma(p, u, v_set1(-0.000802083718f));
  p = v_fma(p, u, v_set1(0.00518953483f));
  p = v_fma(p, u, v_set1(-0.0268544443f));
  p = v_fma(p, u, v_set1(0.112836002f));
  p = v_fma(p, u, v_set1(-0.376126271f));
  p = v_fma(p, u, v_set1(1.12837917f));
  const VecF one = v_set1(1.0f);
  const VecF small = v_fnma(p, a, one);
  const VecF t = v_div(one, v_fma(a, v_set1(0.5f), one));
  VecF q = v_set1(-0.226742084f);  // exp(a^2) erfc(a) for a in [1, 4.2], 3.5e-10 after exp(-a^2)
  q = v_fma(q, t, v_set1(0.625094853f));
  q = v_fma(q, t, v_set1(-0.0513044498f));
  q = v_fma(q, t, v_set1(0.389373348f));
  q = v_fma(q, t, v_set1(0.261785474f));
  q = v_fma(q, t, v_set1(0.00158993829f));
  return v_if_less(a, one, small, v_mul(q, v_exp(v_sub(v_zero(), u))));
}
