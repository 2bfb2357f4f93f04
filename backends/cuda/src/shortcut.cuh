// The operands of a convolution, and behind them in depth those of another one into the same sums: single pixels without padding, the
// shortcut of a residual block. Its steps begin at a step of their own, so that none mixes both.
#define SHORTCUT_CHUNKS (SHORTCUT_CHANNELS * ELEMENT_BYTES / 16)
#define OWN_STEPS ((DEPTH_CHUNKS + STEP_CHUNKS - 1) / STEP_CHUNKS)
#undef N_STEPS
#define N_STEPS (OWN_STEPS + (SHORTCUT_CHUNKS + STEP_CHUNKS - 1) / STEP_CHUNKS)

extern "C" __global__ void CLUSTER __launch_bounds__(THREADS) region(const uint4* __restrict__ image, const uint4* __restrict__ filters,
    const uint4* __restrict__ shortcut, const uint4* __restrict__ shortcut_filters PARAMETERS) {
#if IS_SHORT
  NEXT;
#endif
  SHARED(memory);
  image += IMAGE_CHUNK, filters += FILTERS_CHUNK, shortcut += SHORTCUT_CHUNK, shortcut_filters += SHORTCUT_FILTERS_CHUNK;
  const unsigned thread = threadIdx.x, lane = thread % 32, chunk = thread % STEP_CHUNKS, row = thread / STEP_CHUNKS;
  const unsigned part = blockIdx.x % SPLIT;
  const unsigned first_pixel = blockIdx.x / SPLIT * TILE_PIXELS, first_filter = blockIdx.y * TILE_FILTERS;
  const int first_step = part * N_STEPS / SPLIT, n_steps = (part + 1) * N_STEPS / SPLIT - first_step;
  // Of the pixels that this thread brings: where the window begins, and which of its rows and columns lie inside the image; and where the
  // pixel of the shortcut is, which always does.
  int corner[PIXELS_EACH], single[PIXELS_EACH];
  unsigned inside[PIXELS_EACH];
#pragma unroll
  for (int i = 0; i < PIXELS_EACH; ++i) {
    const unsigned pixel = first_pixel + row + ROWS_AT_ONCE * i;
    const int n = pixel / (OUT_ROWS * OUT_COLUMNS), rest = pixel % (OUT_ROWS * OUT_COLUMNS);
    const int y = rest / OUT_COLUMNS, x = rest % OUT_COLUMNS;
    const int top = y * STEP_DOWN - PAD_TOP, left = x * STEP_ACROSS - PAD_LEFT;
    corner[i] = ((n * IN_ROWS + top) * IN_COLUMNS + left) * TAP_CHUNKS;
    single[i] = ((n * SHORTCUT_ROWS + y * SHORTCUT_DOWN) * SHORTCUT_COLUMNS + x * SHORTCUT_ACROSS) * SHORTCUT_CHUNKS;
    inside[i] = 0;
    for (int r = 0; r < TAP_ROWS; ++r)
      inside[i] |= (unsigned)(pixel < PIXELS && top + r * DILATE_ROWS >= 0 && top + r * DILATE_ROWS < IN_ROWS) << r;
    for (int s = 0; s < TAP_COLUMNS; ++s)
      inside[i] |= (unsigned)(left + s * DILATE_COLUMNS >= 0 && left + s * DILATE_COLUMNS < IN_COLUMNS) << (16 + s);
  }
  const auto bring_pixels = [&](unsigned stage, int step) {
    const bool is_shortcut = step >= OWN_STEPS;
    const int at = (is_shortcut ? step - OWN_STEPS : step) * STEP_CHUNKS + chunk, tap = is_shortcut ? 0 : at / TAP_CHUNKS;
    const int r = tap / TAP_COLUMNS, s = tap % TAP_COLUMNS;
    const int further = is_shortcut ? at : (r * DILATE_ROWS * IN_COLUMNS + s * DILATE_COLUMNS) * TAP_CHUNKS + at % TAP_CHUNKS;
    const uint4* const from = is_shortcut ? shortcut : image;
    const bool is_deep = at < (is_shortcut ? SHORTCUT_CHUNKS : DEPTH_CHUNKS);
#pragma unroll
    for (int i = 0; i < PIXELS_EACH; ++i) {
      const bool is_inside = is_shortcut ? first_pixel + row + ROWS_AT_ONCE * i < PIXELS : inside[i] >> r & inside[i] >> (16 + s) & 1;
      const bool is_there = is_deep && is_inside;
      fetch(memory, stage * STAGE_BYTES + place(row + ROWS_AT_ONCE * i, chunk),
            from + (is_there ? (is_shortcut ? single[i] : corner[i]) + further : 0), is_there);
    }
  };
  // Where chunk `chunk` of a filter lies at a step, if it has one there.
  const auto of_filter = [&](unsigned filter, int step, bool& is_there) {
    const bool is_shortcut = step >= OWN_STEPS;
    const int at = (is_shortcut ? step - OWN_STEPS : step) * STEP_CHUNKS + chunk, depth = is_shortcut ? SHORTCUT_CHUNKS : DEPTH_CHUNKS;
    is_there = at < depth && filter < FILTERS;
    return (is_shortcut ? shortcut_filters : filters) + (is_there ? (size_t)filter * depth + at : 0);
  };
  const auto bring_filters = [&](unsigned stage, int step) {
#pragma unroll
    for (int i = 0; i < FILTERS_EACH; ++i) {
      bool is_there;
      const uint4* const from = of_filter(first_filter + row + ROWS_AT_ONCE * i, step, is_there);
      fetch(memory, stage * STAGE_BYTES + TILE_PIXELS * 128 + place(row + ROWS_AT_ONCE * i, chunk), from, is_there);
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
        bool is_there;
        const uint4* const from = of_filter(first_filter + row + ROWS_AT_ONCE * i, first_step + step, is_there);
        if (is_there) fetch_later(from);
      }
  WAIT;
#endif
