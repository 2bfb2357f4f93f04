// The host as a device of matrix units: each thread of a block is one of the host's, so that tiled kernels are tested without a GPU.
// It takes the place of `prelude.cuh`, `matrix.cuh` and `packs.cuh`; instructions of a whole warp meet at a barrier and read what all lanes left.
#include <algorithm>
#include <barrier>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#define __device__
#define __forceinline__ inline
#define __global__
#define __launch_bounds__(...)
#define __restrict__
#define CLUSTER
#define BEGIN
#define WAIT
#define NEXT
#define F16 0
#define BF16 1
#define TF32 2
#define I8 3
#define E4M3 4
typedef long long i64;
typedef unsigned long long u64;
struct uint4 { unsigned words[4]; };
struct half_t { uint16_t bits; };
struct bfloat_t { uint16_t bits; };
struct e4m3_t { uint8_t bits; };
template <int N, typename T> struct alignas(N * sizeof(T)) Pack { T element[N]; };

inline float of_bits(uint32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
inline uint32_t bits_of(float x) { uint32_t bits; memcpy(&bits, &x, 4); return bits; }
inline float __uint_as_float(uint32_t bits) { return of_bits(bits); }
inline int min(int a, int b) { return a < b ? a : b; }
inline float get(float x) { return x; }
inline bool get(bool x) { return x; }
inline i64 get(signed char x) { return x; }
inline i64 get(unsigned char x) { return x; }
inline i64 get(short x) { return x; }
inline float get(bfloat_t x) { return of_bits((uint32_t)x.bits << 16); }
inline float get(half_t x) {
  const int exponent = x.bits >> 10 & 31, mantissa = x.bits & 1023;
  const float magnitude = exponent == 31 ? (mantissa ? NAN : INFINITY) : exponent ? std::ldexp((float)(mantissa + 1024), exponent - 25) : std::ldexp((float)mantissa, -24);
  return x.bits >> 15 ? -magnitude : magnitude;
}
inline float get(e4m3_t x) {
  const int exponent = x.bits >> 3 & 15, mantissa = x.bits & 7;
  const float magnitude = exponent ? std::ldexp((float)(mantissa + 8), exponent - 10) : std::ldexp((float)mantissa, -9);
  return x.bits >> 7 ? -magnitude : magnitude;
}
// Ordinary numbers only: what a test writes is neither infinite nor tiny.
inline uint32_t rounded(uint32_t bits, int dropped) { return (bits + (1u << (dropped - 1)) - 1 + (bits >> dropped & 1)) >> dropped; }
template <typename T> void put(T& to, i64 x) { to = (T)x; }
inline void put(float& to, float x) { to = x; }
inline void put(bfloat_t& to, float x) { to.bits = (uint16_t)rounded(bits_of(x), 16); }
inline void put(half_t& to, float x) {
  const uint32_t bits = bits_of(x), magnitude = bits & 0x7fffffff;
  to.bits = (uint16_t)(bits >> 16 & 0x8000) | (magnitude < 0x38800000 ? (uint16_t)std::lround(std::ldexp(std::fabs(x), 24)) : (uint16_t)(rounded(magnitude, 13) - (112 << 10)));
}
using std::max;
using std::min;
inline int __float2int_rn(float x) { return x != x ? 0 : (int)std::nearbyint(std::fmin(std::fmax((double)x, -0x1p31), 0x1p31 - 1)); }
template <typename T> T larger(T a, T b) { return a != a || a > b ? a : b; }
template <typename T> T smaller(T a, T b) { return a != a || a < b ? a : b; }
inline float relu(float x) { return x < 0 ? 0 : x; }
inline float unit(float x) { return x < 0 ? 0 : x > 1 ? 1 : x; }
inline float __fdividef(float x, float y) { return x / y; }
inline float power_of_2(float x) { return std::exp2(x); }
inline float gelu(float x) { return 0.5f * x * (1 + std::erf(x * 0.70710678f)); }

struct Block {
  Block(int threads, int bytes) : memory(bytes + 1024, 0xee), barrier(threads), warps(threads / 32) {}
  struct Warp { std::barrier<> barrier{32}; unsigned a[32][4], b[32][2], at[32]; };
  std::vector<unsigned char> memory;
  std::barrier<> barrier;
  std::vector<Warp> warps;
  unsigned char* begin() { return (unsigned char*)(((uintptr_t)memory.data() + 1023) / 1024 * 1024); }
};
struct Cluster {
  Cluster(int blocks, int threads, int bytes) : barrier(blocks * threads) {
    for (int at = 0; at < blocks; ++at) this->blocks.push_back(std::make_unique<Block>(threads, bytes));
  }
  std::vector<std::unique_ptr<Block>> blocks;
  std::barrier<> barrier;
};
inline thread_local struct { unsigned x, y; } threadIdx, blockIdx;
inline thread_local Block* this_block;
inline thread_local Cluster* this_cluster;
#define SHARED(name) unsigned char* const name = this_block->begin()

inline void __syncthreads() { this_block->barrier.arrive_and_wait(); }
inline void cluster_barrier() { this_cluster->barrier.arrive_and_wait(); }
inline void cluster_read() {}
inline void cluster_leave() { this_cluster->barrier.arrive_and_wait(); }
inline void show_to_units() {}
inline void fetch_later(const void*) {}
// Some copies arrive at once, the others when they are waited for and no sooner: whoever reads too early or writes too early is wrong.
struct Copy {
  unsigned char* to;
  const void* from;
  bool is_there;
  void arrive() const { is_there ? memcpy(to, from, 16) : memset(to, 0, 16); }
};
inline thread_local std::vector<std::vector<Copy>> copying(1);
inline thread_local unsigned n_copies = 0;
inline void fetch(unsigned char* memory, unsigned at, const void* from, bool is_there) {
  if (at % 16 || (uintptr_t)from % 16) std::abort();
  const Copy copy = {memory + at, from, is_there};
  n_copies++ % 3 == 0 ? copy.arrive() : copying.back().push_back(copy);
}
inline void fetched_to_here() { copying.emplace_back(); }
template <int N> void wait_for_all_but() {
  while (copying.size() > N + 1) {
    for (const Copy& copy : copying.front()) copy.arrive();
    copying.erase(copying.begin());
  }
}
template <int BYTES> void fetch_pack(void* to, const void* from, bool is_there) {
  if ((uintptr_t)to % BYTES || (uintptr_t)from % BYTES) std::abort();
  is_there ? memcpy(to, from, BYTES) : memset(to, 0, BYTES);
}
inline void wait_for_packs() {}
inline void four(unsigned (&to)[4], const unsigned char* memory, unsigned at) {
  auto& warp = this_block->warps[threadIdx.x / 32];
  const unsigned lane = threadIdx.x % 32;
  warp.at[lane] = at;
  warp.barrier.arrive_and_wait();
  for (int i = 0; i < 4; ++i) memcpy(&to[i], memory + warp.at[i * 8 + lane / 4] + lane % 4 * 4, 4);
  warp.barrier.arrive_and_wait();
}
inline void four_turned(unsigned (&to)[4], const unsigned char* memory, unsigned at) {
  auto& warp = this_block->warps[threadIdx.x / 32];
  const unsigned lane = threadIdx.x % 32;
  warp.at[lane] = at;
  warp.barrier.arrive_and_wait();
  for (int i = 0; i < 4; ++i)
    for (int half = 0; half < 2; ++half)
      memcpy((uint16_t*)&to[i] + half, memory + warp.at[i * 8 + lane % 4 * 2 + half] + lane / 4 * 2, 2);
  warp.barrier.arrive_and_wait();
}
// What lane `from` has.
template <typename T> T of_lane(T x, unsigned from) {
  static_assert(sizeof x == 4);
  auto& warp = this_block->warps[threadIdx.x / 32];
  memcpy(&warp.at[threadIdx.x % 32], &x, 4);
  warp.barrier.arrive_and_wait();
  memcpy(&x, &warp.at[from], 4);
  warp.barrier.arrive_and_wait();
  return x;
}
template <typename T> T __shfl_sync(unsigned, T x, unsigned from) { return of_lane(x, from); }
template <typename T> T __shfl_xor_sync(unsigned, T x, unsigned other) { return of_lane(x, threadIdx.x % 32 ^ other); }
inline bool __any_sync(unsigned, int x) {
  for (int step = 16; step > 0; step /= 2) x |= __shfl_xor_sync(~0u, x, step);
  return x;
}
template <typename E> unsigned packed_as(float low, float high) {
  E both[2];
  put(both[0], low), put(both[1], high);
  unsigned bits;
  memcpy(&bits, both, 4);
  return bits;
}
template <typename E, typename S> void multiply_as(S (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  auto& warp = this_block->warps[threadIdx.x / 32];
  const unsigned lane = threadIdx.x % 32;
  memcpy(warp.a[lane], a, sizeof a);
  warp.b[lane][0] = b0, warp.b[lane][1] = b1;
  warp.barrier.arrive_and_wait();
  for (unsigned c = 0; c < 4; ++c) {
    const unsigned row = lane / 4 + 8 * (c / 2), column = lane % 4 * 2 + c % 2;
    for (unsigned byte = 0; byte < 32; byte += sizeof(E)) {
      E x, y;
      memcpy(&x, (char*)&warp.a[row % 8 * 4 + byte % 16 / 4][byte / 16 * 2 + row / 8] + byte % 4, sizeof x);
      memcpy(&y, (char*)&warp.b[column * 4 + byte % 16 / 4][byte / 16] + byte % 4, sizeof y);
      sums[c] += (S)get(x) * (S)get(y);
    }
  }
  warp.barrier.arrive_and_wait();
}
// Four warps together: each thread computes its sums from operands in shared memory, which lie as their descriptions say. A group is
// multiplied when it is waited for and no sooner.
inline unsigned shared_address(const void* at) { return (unsigned)((const unsigned char*)at - this_block->begin()); }
inline thread_local struct { std::vector<std::vector<std::pair<uint64_t, uint64_t>>> groups; } multiplying;
inline uint64_t described(const unsigned char* memory, unsigned at) {
  return (uint64_t)((shared_address(memory) + at) / 16 % (1 << 14)) | (uint64_t)1 << 16 | (uint64_t)(1024 / 16) << 32 | (uint64_t)1 << 62;
}
// Byte `byte` of the 32 of row `row`.
inline unsigned place_of_byte(uint64_t description, unsigned row, unsigned byte) {
  const unsigned start = description % (1 << 14) * 16, chunk = (description >> 16) % (1 << 14) * 16, eight = (description >> 32) % (1 << 14) * 16;
  const unsigned kind = description >> 62;
  if (kind == 0) return start + row / 8 * eight + row % 8 * 16 + byte / 16 * chunk + byte % 16;
  if (kind != 1) std::abort();
  // Address bits 4 to 6 are exchanged by those of the row, bits 7 to 9.
  const unsigned at = start + row / 8 * eight + row % 8 * 128 + byte;
  return at ^ at / 128 % 8 * 16;
}
template <typename E, int N, typename S> void multiply_described_as(S (&sums)[1][N][4], uint64_t pixels, uint64_t filters) {
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
  const auto of = [&](uint64_t description, unsigned row, unsigned byte) {
    E x;
    memcpy(&x, this_block->begin() + place_of_byte(description, row, byte), sizeof x);
    return (S)get(x);
  };
  for (unsigned byte = 0; byte < 32; byte += sizeof(E))
    for (unsigned half = 0; half < 2; ++half) {
      const S pixel = of(pixels, warp * 16 + lane / 4 + 8 * half, byte);
      for (unsigned j = 0; j < N; ++j)
        for (unsigned c = 0; c < 2; ++c) sums[0][j][half * 2 + c] += pixel * of(filters, j * 8 + lane % 4 * 2 + c, byte);
    }
}
template <int N, typename S> void begin_group(S (&)[1][N][4]) { multiplying.groups.emplace_back(); }
template <int N, typename S> void multiply_described(S (&)[1][N][4], uint64_t pixels, uint64_t filters) { multiplying.groups.back().push_back({pixels, filters}); }
inline void end_group() {}
// Multiplies all groups but the last `but`.
template <typename E, int N, typename S> void multiplied_but(S (&sums)[1][N][4], size_t but) {
  while (multiplying.groups.size() > but) {
    for (const auto& [pixels, filters] : multiplying.groups.front()) multiply_described_as<E>(sums, pixels, filters);
    multiplying.groups.erase(multiplying.groups.begin());
  }
}
template <int ELEMENTS> struct Kind { typedef float sum_t; typedef half_t element_t; };
template <> struct Kind<BF16> { typedef float sum_t; typedef bfloat_t element_t; };
template <> struct Kind<TF32> { typedef float sum_t; typedef float element_t; };
template <> struct Kind<E4M3> { typedef float sum_t; typedef e4m3_t element_t; };
template <> struct Kind<I8> { typedef int sum_t; typedef signed char element_t; };

// Runs `kernel` on every block of the grid, cluster by cluster.
template <typename F> void run(unsigned columns, unsigned rows, int parts, int threads, int bytes, F kernel) {
  for (unsigned y = 0; y < rows; ++y)
    for (unsigned x = 0; x < columns; x += parts) {
      Cluster cluster(parts, threads, bytes);
      std::vector<std::thread> all;
      for (int at = 0; at < parts * threads; ++at)
        all.emplace_back([&, at] {
          threadIdx = {(unsigned)(at % threads), 0}, blockIdx = {x + at / threads, y};
          this_block = cluster.blocks[at / threads].get(), this_cluster = &cluster;
          kernel();
        });
      for (auto& thread : all) thread.join();
    }
}
