// A convolution of each channel alone: a thread has `PACK` channels of `EACH` neighbours, so that what they share is read once. Images lie
// as N, H, W, C, filters as R, S, C.
#define PACKS (CHANNELS / PACK)
#define GROUPS ((OUT_COLUMNS + EACH - 1) / EACH)
#define SPAN ((EACH - 1) * STEP_ACROSS + (TAP_COLUMNS - 1) * DILATE_COLUMNS + 1)
typedef Pack<PACK, element_t> pack_t;

extern "C" __global__ void __launch_bounds__(THREADS) region(const element_t* __restrict__ image, const element_t* __restrict__ filters PARAMETERS) {
  const unsigned at = blockIdx.x * THREADS + threadIdx.x;
  const unsigned pack = at % PACKS, x0 = at / PACKS % GROUPS * EACH, y = at / (PACKS * GROUPS) % OUT_ROWS, n = at / (PACKS * GROUPS * OUT_ROWS);
  WAIT;
  NEXT;
  if (n >= IMAGES) return;
  const pack_t* const pixels = reinterpret_cast<const pack_t*>(image + IMAGE_OFFSET) + (size_t)n * (IN_ROWS * IN_COLUMNS * PACKS) + pack;
  const pack_t* const taps = reinterpret_cast<const pack_t*>(filters) + pack;
  const int top = (int)y * STEP_DOWN - PAD_TOP, left = (int)x0 * STEP_ACROSS - PAD_LEFT;
  float sums[EACH][PACK] = {};
#pragma unroll
  for (int r = 0; r < TAP_ROWS; ++r) {
    const int row = top + r * DILATE_ROWS;
    if (row < 0 || row >= IN_ROWS) continue;
    pack_t tap[TAP_COLUMNS];
#pragma unroll
    for (int s = 0; s < TAP_COLUMNS; ++s) tap[s] = taps[(r * TAP_COLUMNS + s) * PACKS];
#pragma unroll
    for (int beside = 0; beside < SPAN; ++beside) {
      const int column = left + beside;
      if (column < 0 || column >= IN_COLUMNS) continue;
      const pack_t pixel = pixels[(row * IN_COLUMNS + column) * PACKS];
#pragma unroll
      for (int s = 0; s < TAP_COLUMNS; ++s)
#pragma unroll
        for (int e = 0; e < EACH; ++e)
          if (beside == e * STEP_ACROSS + s * DILATE_COLUMNS)
#pragma unroll
            for (int c = 0; c < PACK; ++c) sums[e][c] += get(pixel.element[c]) * get(tap[s].element[c]);
    }
  }
#pragma unroll
  for (int e = 0; e < EACH; ++e) {
    if (x0 + e >= OUT_COLUMNS) continue;
    const unsigned first = ((n * OUT_ROWS + y) * OUT_COLUMNS + x0 + e) * CHANNELS + pack * PACK;
#pragma unroll
    for (int c = 0; c < PACK; c += WIDTH) finish(first + c, sums[e] + c, nullptr ARGUMENTS);
  }
}
