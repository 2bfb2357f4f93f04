// A convolution of each channel alone where there are few threads: a thread has `PACK` channels of one pixel. All that it reads is under
// way at once, to shared memory, since a compiler spares registers and waits for one row after the other. Images lie as N, H, W, C,
// filters, which no kernel writes, as R, S, C.
#define PACKS (CHANNELS / PACK)
#define TAPS (TAP_ROWS * TAP_COLUMNS)
typedef Pack<PACK, element_t> pack_t;

extern "C" __global__ void __launch_bounds__(THREADS) region(const element_t* __restrict__ image, const element_t* __restrict__ filters PARAMETERS) {
  NEXT;
  SHARED(memory);
  const unsigned at = blockIdx.x * THREADS + threadIdx.x;
  const unsigned pack = at % PACKS, x = at / PACKS % OUT_COLUMNS, y = at / (PACKS * OUT_COLUMNS) % OUT_ROWS, n = at / (PACKS * OUT_COLUMNS * OUT_ROWS);
  if (n >= IMAGES) return;
  const pack_t* const taps = reinterpret_cast<const pack_t*>(filters) + pack;
  const pack_t* const pixels = reinterpret_cast<const pack_t*>(image + IMAGE_OFFSET) + (size_t)n * (IN_ROWS * IN_COLUMNS * PACKS) + pack;
  // Each thread has places of its own, so that it waits for nothing but what it fetches.
  pack_t* const held = reinterpret_cast<pack_t*>(memory) + threadIdx.x;
  // Taps are under way while the kernel before this ends.
#pragma unroll
  for (int tap = 0; tap < TAPS; ++tap) fetch_pack<sizeof(pack_t)>(held + tap * THREADS, taps + tap * PACKS, true);
  WAIT;
  const int top = (int)y * STEP_DOWN - PAD_TOP, left = (int)x * STEP_ACROSS - PAD_LEFT;
#pragma unroll
  for (int r = 0; r < TAP_ROWS; ++r)
#pragma unroll
    for (int s = 0; s < TAP_COLUMNS; ++s) {
      const int row = top + r * DILATE_ROWS, column = left + s * DILATE_COLUMNS;
      const bool is_inside = row >= 0 && row < IN_ROWS && column >= 0 && column < IN_COLUMNS;
      fetch_pack<sizeof(pack_t)>(held + (TAPS + r * TAP_COLUMNS + s) * THREADS, pixels + (is_inside ? (row * IN_COLUMNS + column) * PACKS : 0), is_inside);
    }
  wait_for_packs();
  float sums[PACK] = {};
#pragma unroll
  for (int tap = 0; tap < TAPS; ++tap) {
    const pack_t weights = held[tap * THREADS], pixel = held[(TAPS + tap) * THREADS];
#pragma unroll
    for (int c = 0; c < PACK; ++c) sums[c] += get(pixel.element[c]) * get(weights.element[c]);
  }
  const unsigned first = ((n * OUT_ROWS + y) * OUT_COLUMNS + x) * CHANNELS + pack * PACK;
#pragma unroll
  for (int c = 0; c < PACK; c += WIDTH) finish(first + c, sums + c, nullptr ARGUMENTS);
}
