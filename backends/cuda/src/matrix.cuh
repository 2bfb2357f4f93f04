// Instructions of matrix units and of copies to shared memory, for elements of the kind `ELEMENTS`.
#define SHARED(name) extern __shared__ __align__(1024) unsigned char name[]
#if __CUDA_ARCH__ >= 900
#define CLUSTER __cluster_dims__(SPLIT, 1, 1)
#else
#define CLUSTER
#endif
#define F16 0
#define BF16 1
#define TF32 2
#define I8 3
#define E4M3 4

#if ELEMENTS == I8
typedef int sum_t;
#else
typedef float sum_t;
#endif

__device__ __forceinline__ unsigned shared_address(const void* at) { return (unsigned)__cvta_generic_to_shared(at); }

// Copies 16 bytes to `at` in shared memory, or clears them.
__device__ __forceinline__ void fetch(unsigned char* memory, unsigned at, const void* from, bool is_there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(memory) + at), "l"(from), "r"(is_there ? 16 : 0) : "memory");
}
// Brings the line of `from` to the second-level cache.
__device__ __forceinline__ void fetch_later(const void* from) { asm volatile("prefetch.global.L2 [%0];" ::"l"(from)); }
__device__ __forceinline__ void fetched_to_here() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> __device__ __forceinline__ void wait_for_all_but() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

// Four blocks of eight rows of 16 bytes, the address of each row from one lane.
__device__ __forceinline__ void four(unsigned (&to)[4], const unsigned char* memory, unsigned at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(shared_address(memory) + at));
#if ELEMENTS == TF32
  for (int i = 0; i < 4; ++i) asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(to[i]) : "f"(__uint_as_float(to[i])));
#endif
}

#if ELEMENTS == F16 || ELEMENTS == BF16
// The same of blocks whose rows become columns.
__device__ __forceinline__ void four_turned(unsigned (&to)[4], const unsigned char* memory, unsigned at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(shared_address(memory) + at));
}

// Two numbers as they are stored, the first at the lower address.
__device__ __forceinline__ unsigned packed(float low, float high) {
  unsigned both;
#if ELEMENTS == F16
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
#else
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
#endif
  return both;
}
#endif

// Right to 2^-22.
__device__ __forceinline__ float power_of_2(float x) { float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }

// Adds to 16 by 8 sums the products of 32 bytes of each of 16 rows and 8 columns.
__device__ __forceinline__ void multiply(sum_t (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#if ELEMENTS == I8
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
#if ELEMENTS == F16
#define SHAPE "m16n8k16.row.col.f32.f16.f16.f32"
#elif ELEMENTS == BF16
#define SHAPE "m16n8k16.row.col.f32.bf16.bf16.f32"
#elif ELEMENTS == TF32
#define SHAPE "m16n8k8.row.col.f32.tf32.tf32.f32"
#else
#define SHAPE "m16n8k32.row.col.f32.e4m3.e4m3.f32"
#endif
  asm volatile("mma.sync.aligned." SHAPE " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

#if BY_GROUPS
#define GROUP_TILE sum_t (&sums)[1][TILE_FILTERS / 8][4]
// Rows of 128 bytes that lie from `at` on, their chunks exchanged: how matrix units find them.
__device__ __forceinline__ u64 described(const unsigned char* memory, unsigned at) {
  return (u64)((shared_address(memory) + at) / 16 % (1 << 14)) | (u64)1 << 16 | (u64)(1024 / 16) << 32 | (u64)1 << 62;
}
// Lets matrix units see what this thread has copied.
__device__ __forceinline__ void show_to_units() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// Begins what is waited for together, adds to 64 by `TILE_FILTERS` sums of four warps products of 32 bytes of each row, and ends it.
__device__ __forceinline__ void begin_group(GROUP_TILE) { asm volatile("wgmma.fence.sync.aligned;" : GROUP_SUMS :: "memory"); }
__device__ __forceinline__ void multiply_described(GROUP_TILE, u64 pixels, u64 filters) {
  asm volatile("{\n.reg .pred p;\n" GROUP_ADDS "\n" GROUP_MULTIPLY "\n}" : GROUP_SUMS : "l"(pixels), "l"(filters), "r"(1) : "memory");
}
__device__ __forceinline__ void end_group() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// The same of 128 bytes of each row.
__device__ __forceinline__ void multiply_group(GROUP_TILE, const unsigned char* memory, unsigned pixels_at, unsigned filters_at) {
  begin_group(sums);
#pragma unroll
  for (unsigned at = 0; at < 128; at += 32) multiply_described(sums, described(memory, pixels_at + at), described(memory, filters_at + at));
  end_group();
}
// Waits for all groups but the last.
__device__ __forceinline__ void multiplied_before(GROUP_TILE) { asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory"); }
__device__ __forceinline__ void multiplied(GROUP_TILE) { asm volatile("wgmma.wait_group.sync.aligned 0;" : GROUP_SUMS :: "memory"); }
#endif

// Puts the sums of 16 by 8 at `to`, in a tile whose rows are `row` numbers long.
__device__ __forceinline__ void leave(sum_t* to, unsigned row, const sum_t (&sums)[4]) {
  const unsigned lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    sum_t* const at = to + (lane / 4 + 8 * half) * row + lane % 4 * 2;
    at[0] = sums[2 * half], at[1] = sums[2 * half + 1];
  }
}

// What the block `other` places further in the cluster has at `at` in its shared memory; 0 is this one.
template <typename T> __device__ __forceinline__ T of_block(const void* at, unsigned other) {
  unsigned address = shared_address(at);
  T value;
  unsigned* words = reinterpret_cast<unsigned*>(&value);
#if SPLIT == 1 || __CUDA_ARCH__ < 900
#define NEAR "shared"
#else
#define NEAR "shared::cluster"
  asm volatile("mapa.shared::cluster.u32 %0, %0, %1;" : "+r"(address) : "r"((blockIdx.x + other) % SPLIT));
#endif
#pragma unroll
  for (int i = 0; i < sizeof(T) / 16; ++i)
    asm volatile("ld." NEAR ".v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[4 * i]), "=r"(words[4 * i + 1]), "=r"(words[4 * i + 2]), "=r"(words[4 * i + 3]) : "r"(address + 16 * i));
#pragma unroll
  for (int i = sizeof(T) / 16 * 4; i < sizeof(T) / 4; ++i)
    asm volatile("ld." NEAR ".u32 %0, [%1];" : "=r"(words[i]) : "r"(address + 4 * i));
  return value;
}

// All threads of a block, or of a cluster where several blocks share a tile.
__device__ __forceinline__ void cluster_barrier() {
#if SPLIT == 1 || __CUDA_ARCH__ < 900
  __syncthreads();
#else
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}
// Nobody leaves at the second before all have come to the first, and read nothing more of other blocks.
__device__ __forceinline__ void cluster_read() {
#if SPLIT > 1 && __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void cluster_leave() {
#if SPLIT > 1 && __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
#endif
}
