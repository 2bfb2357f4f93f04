// Numbers of 8 bits and fewer, one to a byte. Kinds of floating-point formats by their special codes: 0 has infinities and
// NaN at the largest exponent, 1 NaN at the largest code, 2 NaN at negative zero, 3 none.
template <int EXPONENT, int MANTISSA, int BIAS, int SPECIALS> struct narrow_t { unsigned char bits; };
template <int BITS, bool IS_SIGNED> struct small_t { unsigned char bits; };

template <int E, int M, int BIAS, int SPECIALS> __device__ __forceinline__ float get(narrow_t<E, M, BIAS, SPECIALS> x) {
  const int sign = 1 << (E + M), magnitude = x.bits & (sign - 1);
  const int largest = SPECIALS == 0 ? sign - (1 << M) - 1 : SPECIALS == 1 ? sign - 2 : sign - 1;
  const float nan = __int_as_float(0x7fc00000);
  if (SPECIALS == 2 && x.bits == sign) return nan;
  const int exponent = magnitude >> M, mantissa = magnitude & ((1 << M) - 1);
  float value = ldexp((float)((exponent > 0 ? 1 << M : 0) + mantissa), (exponent > 0 ? exponent : 1) - BIAS - M);
  if (magnitude > largest) value = SPECIALS == 0 && magnitude == largest + 1 ? highest<float>() : nan;
  return x.bits & sign ? -value : value;
}
// To the nearest, halves to even; what is beyond the largest number becomes it.
template <int E, int M, int BIAS, int SPECIALS, typename S>
__device__ __forceinline__ void put(narrow_t<E, M, BIAS, SPECIALS>& to, S from) {
  const float x = (float)from;
  const int sign = 1 << (E + M), mine = signbit(x) ? sign : 0, least = 1 - BIAS;
  const int largest = SPECIALS == 0 ? sign - (1 << M) - 1 : SPECIALS == 1 ? sign - 2 : sign - 1;
  if (x != x) {
    to.bits = SPECIALS == 0 ? mine | (sign - (1 << (M - 1))) : SPECIALS == 1 ? mine | (sign - 1) : sign;
    return;
  }
  const float a = fabs(x);
  int exponent = a > 0.f && a < highest<float>() ? ilogb(a) : least;
  exponent = exponent < least ? least : exponent;
  // Codes count on through the exponents: rounding up to a power of two carries into the exponent by itself.
  const float code = (float)(exponent - least) * (1 << M) + rint(ldexp(a, M - exponent));
  const int magnitude = code > largest ? largest : (int)code;
  to.bits = SPECIALS == 2 && magnitude == 0 ? 0 : mine | magnitude;
}
template <int BITS, bool IS_SIGNED> __device__ __forceinline__ i64 get(small_t<BITS, IS_SIGNED> x) {
  return IS_SIGNED && x.bits >> (BITS - 1) ? (i64)x.bits - (1 << BITS) : (i64)x.bits;
}
template <int BITS, bool IS_SIGNED, typename S> __device__ __forceinline__ void put(small_t<BITS, IS_SIGNED>& to, S x) {
  to.bits = (unsigned char)((i64)x & ((1 << BITS) - 1));
}
