// Copies of packs of 4, 8 or 16 bytes to shared memory, which no register waits for.
#define SHARED(name) extern __shared__ __align__(16) unsigned char name[]

// Copies a pack, or clears its place.
template <int BYTES> __device__ __forceinline__ void fetch_pack(void* to, const void* from, bool is_there) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
               ::"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "n"(BYTES), "r"(is_there ? BYTES : 0) : "memory");
}
// Waits for all that this thread fetched.
__device__ __forceinline__ void wait_for_packs() { asm volatile("cp.async.wait_all;" ::: "memory"); }
