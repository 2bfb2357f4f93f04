// A convolution, or a product as one of single pixels, by matrix units: the sums of a tile of pixels by filters, from `finish` the
// results. Images lie as N, H, W, C, filters as K, R, S, C, with whole chunks of 16 bytes of C.
//
// The blocks of a cluster share one tile: each adds up its part of the depth, then finishes its part of the pixels.
#define STEP_CHUNKS 8
#define TAP_CHUNKS (CHANNELS * ELEMENT_BYTES / 16)
#define DEPTH_CHUNKS (TAP_ROWS * TAP_COLUMNS * TAP_CHUNKS)
#define N_STEPS ((DEPTH_CHUNKS + STEP_CHUNKS - 1) / STEP_CHUNKS)
// Whether the next kernel may start while this one multiplies.
#define IS_SHORT (N_STEPS / SPLIT <= 4)
#define STAGE_BYTES ((TILE_PIXELS + TILE_FILTERS) * STEP_CHUNKS * 16)
#define ROWS_AT_ONCE (THREADS / STEP_CHUNKS)
#define PIXELS_EACH (TILE_PIXELS / ROWS_AT_ONCE)
#define FILTERS_EACH (TILE_FILTERS / ROWS_AT_ONCE)
#define DOWN_EACH (TILE_PIXELS / WARPS_DOWN / 16)
#define ACROSS_EACH (TILE_FILTERS / WARPS_ACROSS / 8)

// Where 16 bytes `chunk` of row `row` lie: chunks are exchanged so that those of eight rows touch every bank once.
__device__ __forceinline__ unsigned place(unsigned row, unsigned chunk) { return row * 128 + ((chunk ^ row) & 7) * 16; }

extern "C" __global__ void CLUSTER __launch_bounds__(THREADS) region(const uint4* __restrict__ image, const uint4* __restrict__ filters PARAMETERS) {
#if IS_SHORT
  NEXT;
#endif
  SHARED(memory);
  image += IMAGE_CHUNK, filters += FILTERS_CHUNK;
  const unsigned thread = threadIdx.x, lane = thread % 32, chunk = thread % STEP_CHUNKS, row = thread / STEP_CHUNKS;
  const unsigned part = blockIdx.x % SPLIT;
  const unsigned first_pixel = blockIdx.x / SPLIT * TILE_PIXELS, first_filter = blockIdx.y * TILE_FILTERS;
  const int first_step = part * N_STEPS / SPLIT, n_steps = (part + 1) * N_STEPS / SPLIT - first_step;
  // Of the pixels that this thread brings: where the window begins, and which of its rows and columns lie inside the image.
  int corner[PIXELS_EACH];
  unsigned inside[PIXELS_EACH];
#pragma unroll
  for (int i = 0; i < PIXELS_EACH; ++i) {
    const unsigned pixel = first_pixel + row + ROWS_AT_ONCE * i;
    const int n = pixel / (OUT_ROWS * OUT_COLUMNS), rest = pixel % (OUT_ROWS * OUT_COLUMNS);
    const int top = rest / OUT_COLUMNS * STEP_DOWN - PAD_TOP, left = rest % OUT_COLUMNS * STEP_ACROSS - PAD_LEFT;
    corner[i] = ((n * IN_ROWS + top) * IN_COLUMNS + left) * TAP_CHUNKS;
    inside[i] = 0;
    for (int r = 0; r < TAP_ROWS; ++r)
      inside[i] |= (unsigned)(pixel < PIXELS && top + r * DILATE_ROWS >= 0 && top + r * DILATE_ROWS < IN_ROWS) << r;
    for (int s = 0; s < TAP_COLUMNS; ++s)
      inside[i] |= (unsigned)(left + s * DILATE_COLUMNS >= 0 && left + s * DILATE_COLUMNS < IN_COLUMNS) << (16 + s);
  }
  const auto bring_pixels = [&](unsigned stage, int step) {
    const int at = step * STEP_CHUNKS + chunk, tap = at / TAP_CHUNKS;
    const int r = tap / TAP_COLUMNS, s = tap % TAP_COLUMNS;
    const int further = (r * DILATE_ROWS * IN_COLUMNS + s * DILATE_COLUMNS) * TAP_CHUNKS + at % TAP_CHUNKS;
#pragma unroll
    for (int i = 0; i < PIXELS_EACH; ++i) {
      const bool is_there = at < DEPTH_CHUNKS && (inside[i] >> r & inside[i] >> (16 + s) & 1);
      fetch(memory, stage * STAGE_BYTES + place(row + ROWS_AT_ONCE * i, chunk), image + (is_there ? corner[i] + further : 0), is_there);
    }
  };
  const auto bring_filters = [&](unsigned stage, int step) {
    const int at = step * STEP_CHUNKS + chunk;
#pragma unroll
    for (int i = 0; i < FILTERS_EACH; ++i) {
      const unsigned filter = first_filter + row + ROWS_AT_ONCE * i;
      const bool is_there = at < DEPTH_CHUNKS && filter < FILTERS;
      fetch(memory, stage * STAGE_BYTES + TILE_PIXELS * 128 + place(row + ROWS_AT_ONCE * i, chunk),
            filters + (is_there ? (size_t)filter * DEPTH_CHUNKS + at : 0), is_there);
    }
  };
#if !FILTERS_ARE_CONSTANT
  WAIT;
#endif
#pragma unroll
  for (int step = 0; step < STAGES - 1; ++step)
    if (step < n_steps) bring_filters(step, first_step + step);
#if FILTERS_ARE_CONSTANT
  // What no kernel writes is fetched while the one before this ends.
  if (chunk == 0)
    for (int step = STAGES - 1; step < n_steps; ++step)
#pragma unroll
      for (int i = 0; i < FILTERS_EACH; ++i) {
        const unsigned filter = first_filter + row + ROWS_AT_ONCE * i;
        if (filter < FILTERS) fetch_later(filters + (size_t)filter * DEPTH_CHUNKS + (first_step + step) * STEP_CHUNKS);
      }
  WAIT;
#endif
#pragma unroll
  for (int step = 0; step < STAGES - 1; ++step) {
    if (step < n_steps) bring_pixels(step, first_step + step);
    fetched_to_here();
  }
  const unsigned warp = thread / 32;
  const unsigned warp_pixel = warp / WARPS_ACROSS * DOWN_EACH * 16, warp_filter = warp % WARPS_ACROSS * ACROSS_EACH * 8;
  sum_t sums[DOWN_EACH][ACROSS_EACH][4] = {};
  for (int step = 0; step < n_steps; ++step) {
    wait_for_all_but<STAGES - 2>();
#if BY_GROUPS
    show_to_units();
    multiplied(sums);
#endif
    __syncthreads();
    const unsigned pixels_at = step % STAGES * STAGE_BYTES, filters_at = pixels_at + TILE_PIXELS * 128;
#if BY_GROUPS
    multiply_group(sums, memory, pixels_at + warp / 4 * 64 * 128, filters_at);
#endif
    if (step + STAGES - 1 < n_steps) {
      bring_filters((step + STAGES - 1) % STAGES, first_step + step + STAGES - 1);
      bring_pixels((step + STAGES - 1) % STAGES, first_step + step + STAGES - 1);
    }
    fetched_to_here();
#if !BY_GROUPS
#pragma unroll
    for (int k = 0; k < STEP_CHUNKS / 2; ++k) {
      unsigned a[DOWN_EACH][4], b[ACROSS_EACH / 2][4];
#pragma unroll
      for (int i = 0; i < DOWN_EACH; ++i)
        four(a[i], memory, pixels_at + place(warp_pixel + i * 16 + lane % 16, k * 2 + lane / 16));
#pragma unroll
      for (int j = 0; j < ACROSS_EACH / 2; ++j)
        four(b[j], memory, filters_at + place(warp_filter + j * 16 + lane % 8 + lane / 16 * 8, k * 2 + lane / 8 % 2));
#pragma unroll
      for (int i = 0; i < DOWN_EACH; ++i)
#pragma unroll
        for (int j = 0; j < ACROSS_EACH; ++j) multiply(sums[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
    }
#endif
  }
#if BY_GROUPS
  multiplied(sums);
#endif
#if !IS_SHORT
  NEXT;
#endif
  // The sums take the place of the stages.
  wait_for_all_but<0>();
  __syncthreads();
  sum_t* const tile = reinterpret_cast<sum_t*>(memory);
#pragma unroll
  for (int i = 0; i < DOWN_EACH; ++i)
#pragma unroll
    for (int j = 0; j < ACROSS_EACH; ++j) leave(tile + (warp_pixel + i * 16) * SUMS_ROW + warp_filter + j * 8, SUMS_ROW, sums[i][j]);
  const auto place_of = [&](unsigned pixel, unsigned& place) {
    place = first_pixel + pixel;
    return PIXELS % TILE_PIXELS == 0 || place < PIXELS;
  };
  finish_tile(tile, part, first_filter, place_of ARGUMENTS);
}
