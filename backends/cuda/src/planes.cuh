// What four warps together multiply where operands are described one by one; `halo_groups.cuh` has the description of its pixels.
// Begins, adds products of 32 bytes of each row, and ends what is waited for together.
__device__ __forceinline__ void begin_group(GROUP_TILE) { asm volatile("wgmma.fence.sync.aligned;" : GROUP_SUMS :: "memory"); }
__device__ __forceinline__ void multiply_described(GROUP_TILE, u64 pixels, u64 filters) {
  asm volatile("{\n.reg .pred p;\n" GROUP_ADDS "\n" GROUP_MULTIPLY "\n}" : GROUP_SUMS : "l"(pixels), "l"(filters), "r"(1) : "memory");
}
__device__ __forceinline__ void end_group() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits for all groups but the last.
__device__ __forceinline__ void multiplied_before(GROUP_TILE) { asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory"); }
