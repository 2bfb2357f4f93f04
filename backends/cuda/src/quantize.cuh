// The integer nearest to x / scale, halves to even, plus `zero`: at least `low`, at most `high`, and `zero` for what is no number. The
// scale lies between 2^-60 and 2^60. What depends on it alone is computed once for all x, so that a division is four multiplications.
__device__ __forceinline__ int quantized(float x, float scale, int low, int high, int zero) {
  const float inverse = 1.f / scale, further = fmaf(-inverse, scale, 1.f) * inverse;
  // Rounding is monotonous: a limit of the result is one of what is divided.
  x = smaller(larger(x, (low - zero) * scale), (high - zero) * scale);
  // A quotient right to a unit in the last place, then with its remainder, which is exact, the one that a division gives: Markstein,
  // Computation of elementary functions on the IBM RISC System/6000 processor, 1990.
  const float near = fmaf(x, inverse, x * further);
  return __float2int_rn(fmaf(fmaf(-near, scale, x), inverse, near)) + zero;
}
