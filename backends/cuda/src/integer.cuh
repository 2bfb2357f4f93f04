// A convolution, or a product as one of single pixels, of 8-bit integers by matrix units. The sums of a tile stay in registers, and
// `finish` makes results of `WIDTH` neighbours at a time. Images lie as N, H, W, C, filters as K, R, S, C, with C a multiple of 16.
#define STAGES 3
#define DEPTH (TAP_ROWS * TAP_COLUMNS * CHANNELS)
#define TILE_PIXELS (32 * PIXEL_TILES)

// The byte of 16 bytes `chunk` in row `row` of a tile: rows of 64 bytes, their chunks exchanged so that eight rows touch every bank once.
__device__ __forceinline__ unsigned place(unsigned row, unsigned chunk) { return row * 64 + ((chunk ^ row >> 1) & 3) * 16; }
__device__ __forceinline__ void fetch(unsigned to, const signed char* from, bool is_there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(is_there ? 16 : 0) : "memory");
}
__device__ __forceinline__ void four(unsigned (&to)[4], unsigned from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(from) : "memory");
}
__device__ __forceinline__ void multiply(int (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

extern "C" __global__ void __launch_bounds__(128) region(const signed char* __restrict__ image, const signed char* __restrict__ filters PARAMETERS) {
  BEGIN;
  __shared__ __align__(128) unsigned char pixel_tile[STAGES][TILE_PIXELS * 64], filter_tile[STAGES][64 * 64];
  const unsigned thread = threadIdx.x, lane = thread % 32, chunk = thread % 4;
  const unsigned first_pixel = blockIdx.x * TILE_PIXELS, first_filter = blockIdx.y * 64;
  const unsigned pixels_at = (unsigned)__cvta_generic_to_shared(pixel_tile);
  const unsigned filters_at = (unsigned)__cvta_generic_to_shared(filter_tile);
  image += IMAGE_OFFSET;
  // Each thread brings the same chunk of a few rows.
  int top[PIXEL_TILES], left[PIXEL_TILES];
  const signed char* base[PIXEL_TILES];
#pragma unroll
  for (int i = 0; i < PIXEL_TILES; ++i) {
    const unsigned pixel = first_pixel + thread / 4 + 32 * i;
    const bool is_there = pixel < PIXELS;
    const unsigned n = pixel / (OUT_ROWS * OUT_COLUMNS), rest = pixel % (OUT_ROWS * OUT_COLUMNS);
    top[i] = is_there ? (int)(rest / OUT_COLUMNS) * STEP_DOWN - PAD_TOP : -(1 << 28);
    left[i] = (int)(rest % OUT_COLUMNS) * STEP_ACROSS - PAD_LEFT;
    base[i] = image + (is_there ? (size_t)n * (IN_ROWS * IN_COLUMNS) * CHANNELS : 0);
  }
  const auto bring = [&](unsigned stage, unsigned step) {
    const unsigned at = step * 4 + chunk, tap = at / (CHANNELS / 16), part = at % (CHANNELS / 16);
    const bool is_inside = at < DEPTH / 16;
    const int down = (int)(tap / TAP_COLUMNS) * DILATE_ROWS, across = (int)(tap % TAP_COLUMNS) * DILATE_COLUMNS;
#pragma unroll
    for (int i = 0; i < PIXEL_TILES; ++i) {
      const int y = top[i] + down, x = left[i] + across;
      const bool is_there = is_inside && y >= 0 && y < IN_ROWS && x >= 0 && x < IN_COLUMNS;
      const signed char* from = is_there ? base[i] + ((size_t)y * IN_COLUMNS + x) * CHANNELS + part * 16 : image;
      fetch(pixels_at + stage * TILE_PIXELS * 64 + place(thread / 4 + 32 * i, chunk), from, is_there);
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const unsigned row = thread / 4 + 32 * i;
      const bool is_there = is_inside && first_filter + row < FILTERS;
      const signed char* from = is_there ? filters + (size_t)(first_filter + row) * DEPTH + at * 16 : filters;
      fetch(filters_at + stage * 64 * 64 + place(row, chunk), from, is_there);
    }
  };
  const unsigned n_steps = (DEPTH + 63) / 64;
  for (unsigned step = 0; step < STAGES - 1; ++step) {
    if (step < n_steps) bring(step, step);
    asm volatile("cp.async.commit_group;" ::: "memory");
  }
  // Four warps, each with half of the pixels and half of the filters.
  const unsigned warp_pixel = thread / 64 * (TILE_PIXELS / 2), warp_filter = thread / 32 % 2 * 32;
  int sums[PIXEL_TILES][4][4];
#pragma unroll
  for (int i = 0; i < PIXEL_TILES; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int c = 0; c < 4; ++c) sums[i][j][c] = 0;
  for (unsigned step = 0; step < n_steps; ++step) {
    asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2) : "memory");
    __syncthreads();
    if (step + STAGES - 1 < n_steps) bring((step + STAGES - 1) % STAGES, step + STAGES - 1);
    asm volatile("cp.async.commit_group;" ::: "memory");
    const unsigned stage = step % STAGES;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      unsigned a[PIXEL_TILES][4], b[2][4];
#pragma unroll
      for (int i = 0; i < PIXEL_TILES; ++i)
        four(a[i], pixels_at + stage * TILE_PIXELS * 64 + place(warp_pixel + i * 16 + lane % 16, half * 2 + lane / 16));
#pragma unroll
      for (int j = 0; j < 2; ++j)
        four(b[j], filters_at + stage * 64 * 64 + place(warp_filter + j * 16 + lane % 8 + lane / 16 * 8, half * 2 + lane / 8 % 2));
#pragma unroll
      for (int i = 0; i < PIXEL_TILES; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) multiply(sums[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
    }
  }
#pragma unroll
  for (int i = 0; i < PIXEL_TILES; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const unsigned pixel = first_pixel + warp_pixel + i * 16 + lane / 4 + 8 * half;
        const unsigned filter = first_filter + warp_filter + j * 8 + lane % 4 * 2;
        if (pixel < PIXELS && filter < FILTERS)
#pragma unroll
          for (int c = 0; c < 2; c += WIDTH) finish(pixel * FILTERS + filter + c, &sums[i][j][2 * half + c] ARGUMENTS);
      }
}
