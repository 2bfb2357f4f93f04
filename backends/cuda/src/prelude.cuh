// Kernels overlap: at `WAIT` a kernel waits until the one before it has ended, and touches nothing before that it writes; once all its
// blocks have come to `NEXT`, the next one starts. Blocks that start early lie where there is room, not where they would share the
// device evenly, so that only small and short kernels let others start at once.
#if __CUDA_ARCH__ >= 900
#define NEXT asm volatile("griddepcontrol.launch_dependents;")
#define WAIT asm volatile("griddepcontrol.wait;" ::: "memory")
#else
#define NEXT
#define WAIT
#endif
#define BEGIN if (gridDim.x * gridDim.y * blockDim.x <= 16384) NEXT; WAIT
// NVRTC has no headers of its own, so the narrow types are converted by instructions.
typedef long long i64;
typedef unsigned long long u64;
struct half_t { unsigned short bits; };
struct bfloat_t { unsigned short bits; };
template <int N, typename T> struct alignas(N * sizeof(T)) Pack { T element[N]; };

__device__ __forceinline__ float get(float x) { return x; }
__device__ __forceinline__ double get(double x) { return x; }
__device__ __forceinline__ float get(half_t x) { float y; asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits)); return y; }
__device__ __forceinline__ float get(bfloat_t x) { return __uint_as_float((unsigned)x.bits << 16); }
__device__ __forceinline__ i64 get(i64 x) { return x; }
__device__ __forceinline__ i64 get(int x) { return x; }
__device__ __forceinline__ i64 get(short x) { return x; }
__device__ __forceinline__ i64 get(signed char x) { return x; }
__device__ __forceinline__ u64 get(u64 x) { return x; }
__device__ __forceinline__ i64 get(unsigned x) { return x; }
__device__ __forceinline__ i64 get(unsigned short x) { return x; }
__device__ __forceinline__ i64 get(unsigned char x) { return x; }
__device__ __forceinline__ bool get(bool x) { return x; }

template <typename T, typename S> __device__ __forceinline__ void put(T& to, S x) { to = (T)x; }
template <typename S> __device__ __forceinline__ void put(half_t& to, S x) {
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to.bits) : "f"((float)x));
}
template <typename S> __device__ __forceinline__ void put(bfloat_t& to, S x) {
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to.bits) : "f"((float)x));
}
template <typename S> __device__ __forceinline__ void put(bool& to, S x) { to = x != S(0); }
// Integers of less than 64 bits keep the low bits of the whole number, as a processor's conversion does.
template <> __device__ __forceinline__ void put(int& to, float x) { to = (int)(i64)x; }
template <> __device__ __forceinline__ void put(short& to, float x) { to = (short)(i64)x; }
template <> __device__ __forceinline__ void put(signed char& to, float x) { to = (signed char)(i64)x; }
template <> __device__ __forceinline__ void put(unsigned& to, float x) { to = (unsigned)(i64)x; }
template <> __device__ __forceinline__ void put(unsigned short& to, float x) { to = (unsigned short)(i64)x; }
template <> __device__ __forceinline__ void put(unsigned char& to, float x) { to = (unsigned char)(i64)x; }

template <typename T> __device__ __forceinline__ T larger(T a, T b) { return a != a || a > b ? a : b; }
template <typename T> __device__ __forceinline__ T smaller(T a, T b) { return a != a || a < b ? a : b; }
#if __CUDA_ARCH__ >= 800
// The same in one instruction.
__device__ __forceinline__ float larger(float a, float b) { float c; asm("max.NaN.f32 %0, %1, %2;" : "=f"(c) : "f"(a), "f"(b)); return c; }
__device__ __forceinline__ float smaller(float a, float b) { float c; asm("min.NaN.f32 %0, %1, %2;" : "=f"(c) : "f"(a), "f"(b)); return c; }
#endif
__device__ __forceinline__ float relu(float x) { return larger(x, 0.f); }
__device__ __forceinline__ double relu(double x) { return x < 0. ? 0. : x; }
__device__ __forceinline__ float unit(float x) { return x != x ? x : __saturatef(x); }
__device__ __forceinline__ double unit(double x) { return x < 0. ? 0. : x > 1. ? 1. : x; }
template <typename T> __device__ __forceinline__ T sigmoid(T x) { return T(1) / (T(1) + exp(-x)); }
#ifdef NARROW
// What is stored in 16 bits needs fewer digits of the error function: Abramowitz and Stegun, 7.1.26, right to 2e-7.
__device__ __forceinline__ float gelu(float x) {
  const float a = fminf(fabsf(x), 30.f);
  float t, tail;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(t) : "f"(fmaf(0.23164189f, a, 1.f)));
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(tail) : "f"(a * a * -0.72134752f));
  float sum = fmaf(0.53070271f, t, -0.72657601f);
  sum = fmaf(sum, t, 0.71070687f);
  sum = fmaf(sum, t, -0.14224837f);
  sum = fmaf(sum, t, 0.12741480f);
  return (x < 0.f ? 0.f : x) - sum * t * (tail * a);
}
// By the logistic function of twice the argument of the hyperbolic tangent, right to 2^-21.
__device__ __forceinline__ float gelu_tanh(float x) {
  float power, share;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x * fmaf(-0.10294324f, x * x, -2.3022082f)));
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(share) : "f"(1.f + power));
  return x * share;
}
#endif
template <typename T> __device__ __forceinline__ T gelu(T x) { return T(.5) * x * (T(1) + erf(x * T(0.70710678118654752))); }
template <typename T> __device__ __forceinline__ T gelu_tanh(T x) {
  return T(.5) * x * (T(1) + tanh(T(0.79788456080286536) * (x + T(0.044715) * x * x * x)));
}
// The remainder has the sign of the divisor.
__device__ __forceinline__ float rest_of(float a, float b) { return fmod(a, b); }
__device__ __forceinline__ double rest_of(double a, double b) { return fmod(a, b); }
__device__ __forceinline__ i64 rest_of(i64 a, i64 b) { return b == 0 ? 0 : a % b; }
__device__ __forceinline__ u64 rest_of(u64 a, u64 b) { return b == 0 ? 0 : a % b; }
template <typename T> __device__ __forceinline__ T remainder_of(T a, T b) {
  const T rest = rest_of(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
__device__ __forceinline__ i64 wrapped(i64 at, i64 extent) {
  at = at < 0 ? at + extent : at;
  return at < 0 ? 0 : at < extent ? at : extent - 1;
}

template <typename T> __device__ __forceinline__ T lowest();
template <> __device__ __forceinline__ float lowest() { return -__int_as_float(0x7f800000); }
template <> __device__ __forceinline__ double lowest() { return -__longlong_as_double(0x7ff0000000000000ll); }
template <> __device__ __forceinline__ i64 lowest() { return -9223372036854775807ll - 1; }
template <> __device__ __forceinline__ u64 lowest() { return 0; }
template <typename T> __device__ __forceinline__ T highest();
template <> __device__ __forceinline__ float highest() { return __int_as_float(0x7f800000); }
template <> __device__ __forceinline__ double highest() { return __longlong_as_double(0x7ff0000000000000ll); }
template <> __device__ __forceinline__ i64 highest() { return 9223372036854775807ll; }
template <> __device__ __forceinline__ u64 highest() { return ~0ull; }

struct Sum {
  template <typename T> static __device__ T none() { return 0; }
  template <typename T> static __device__ T of(T a, T b) { return a + b; }
};
struct Max {
  template <typename T> static __device__ T none() { return lowest<T>(); }
  template <typename T> static __device__ T of(T a, T b) { return larger(a, b); }
};
struct Min {
  template <typename T> static __device__ T none() { return highest<T>(); }
  template <typename T> static __device__ T of(T a, T b) { return smaller(a, b); }
};
struct Product {
  template <typename T> static __device__ T none() { return 1; }
  template <typename T> static __device__ T of(T a, T b) { return a * b; }
};
template <typename Op, int THREADS, typename T> __device__ __forceinline__ T reduced(T x, double* memory) {
  T* scratch = reinterpret_cast<T*>(memory);
#pragma unroll
  for (int step = (THREADS < 32 ? THREADS : 32) / 2; step > 0; step /= 2) x = Op::of(x, __shfl_xor_sync(~0u, x, step));
  if (THREADS > 32) {
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
    __syncthreads();
    x = threadIdx.x % 32 < THREADS / 32 ? scratch[threadIdx.x % 32] : Op::template none<T>();
#pragma unroll
    for (int step = 16; step > 0; step /= 2) x = Op::of(x, __shfl_xor_sync(~0u, x, step));
    __syncthreads();
  }
  return x;
}
