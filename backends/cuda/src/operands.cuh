// Continues `tile.cuh`: what brings the operands of one convolution, step by step.
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
