// A convolution of neighbours without steps or gaps by four warps together: the pixels of a tile and those around it are brought once for
// all taps, a part of the channels at a time, and matrix units read them where they lie. Filters come step by step, as in
// `operands.cuh`.
//
// A part of the channels lies as planes, one for each 16 bytes of them; a plane has 16 bytes for each pixel, row by row of the image.
// Eight pixels beside each other are then what the units call a core matrix, wherever they begin, and a tap is another beginning.
// 64 pixels that are multiplied together are eight by eight.
#define PART_CHUNKS (CHANNELS * ELEMENT_BYTES < 128 ? CHANNELS * ELEMENT_BYTES / 16 : 8)
#define TAP_CHUNKS (CHANNELS * ELEMENT_BYTES / 16)
#define N_PARTS (TAP_CHUNKS / PART_CHUNKS)
#define TAPS (TAP_ROWS * TAP_COLUMNS)
// A step multiplies a tap, or as many of few channels as fill 128 bytes.
#define STEP_TAPS (TAPS % (8 / PART_CHUNKS) == 0 ? 8 / PART_CHUNKS : 1)
#define STEP_CHUNKS (STEP_TAPS * PART_CHUNKS)
#define PART_STEPS (TAPS / STEP_TAPS)
// Whether the next kernel may start while this one multiplies.
#define IS_SHORT (N_PARTS * PART_STEPS / SPLIT <= 4)
#define TILE_ROWS (TILE_PIXELS / TILE_COLUMNS)
#define HALO_ROWS (TILE_ROWS + TAP_ROWS - 1)
#define HALO_COLUMNS (TILE_COLUMNS + TAP_COLUMNS - 1)
#define STAGE_BYTES (TILE_FILTERS * 128)
#define IMAGES_AT (STAGES * STAGE_BYTES)
#define IMAGE_BYTES (PLANE * PART_CHUNKS * 16)
#define PIXELS_AT_ONCE (THREADS / PART_CHUNKS)
#define PIXELS_EACH ((HALO_ROWS * HALO_COLUMNS + PIXELS_AT_ONCE - 1) / PIXELS_AT_ONCE)
#define ROWS_AT_ONCE (THREADS / STEP_CHUNKS)
#define FILTERS_EACH ((TILE_FILTERS + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE)
#define ROWS_OF_TILES ((OUT_ROWS + TILE_ROWS - 1) / TILE_ROWS)
#define COLUMNS_OF_TILES ((OUT_COLUMNS + TILE_COLUMNS - 1) / TILE_COLUMNS)
// Steps whose filters are on their way; those of one more are multiplied, and those of another may still be.
#define AHEAD (STAGES - 2)

// Rows of 16 bytes, eight in a row one after another: `chunk` from a row to the 16 bytes that follow in its depth, `eight` from eight
// rows to the next, both in units of 16 bytes. The address need not be a multiple of more than that.
__device__ __forceinline__ u64 described_planes(const unsigned char* memory, unsigned at, unsigned chunk, unsigned eight) {
  return (u64)((shared_address(memory) + at) / 16 % (1 << 14)) | (u64)chunk << 16 | (u64)eight << 32;
}
#ifndef JOINED
#define JOINED
// Filters of this convolution, not of what may follow it in the same kernel.
#define OWN_FILTERS FILTERS
#endif

extern "C" __global__ void CLUSTER __launch_bounds__(THREADS) region(const uint4* __restrict__ image, const uint4* __restrict__ filters JOINED PARAMETERS) {
#if IS_SHORT
  NEXT;
#endif
  SHARED(memory);
  image += IMAGE_CHUNK, filters += FILTERS_CHUNK;
  const unsigned thread = threadIdx.x, warp = thread / 32, part = blockIdx.x % SPLIT, tile_at = blockIdx.x / SPLIT;
  const int n = tile_at / (ROWS_OF_TILES * COLUMNS_OF_TILES), first_filter = blockIdx.y * TILE_FILTERS;
  const int first_row = tile_at / COLUMNS_OF_TILES % ROWS_OF_TILES * TILE_ROWS, first_column = tile_at % COLUMNS_OF_TILES * TILE_COLUMNS;
  const int first_part = part * N_PARTS / SPLIT, n_parts = (part + 1) * N_PARTS / SPLIT - first_part;
  const int n_steps = n_parts * PART_STEPS;
  // Where the pixels lie that this thread brings, or less than 0 outside the image.
  const unsigned pixel_chunk = thread % PART_CHUNKS, pixel_line = thread / PART_CHUNKS;
  int from[PIXELS_EACH];
#pragma unroll
  for (int i = 0; i < PIXELS_EACH; ++i) {
    const int line = pixel_line + i * PIXELS_AT_ONCE;
    const int y = first_row - PAD_TOP + line / HALO_COLUMNS, x = first_column - PAD_LEFT + line % HALO_COLUMNS;
    from[i] = y >= 0 && y < IN_ROWS && x >= 0 && x < IN_COLUMNS ? ((n * IN_ROWS + y) * IN_COLUMNS + x) * TAP_CHUNKS + (int)pixel_chunk : -1;
  }
  const auto bring_image = [&](int number) {
    const unsigned to = IMAGES_AT + number % 2 * IMAGE_BYTES + (pixel_chunk * PLANE + pixel_line) * 16;
#pragma unroll
    for (int i = 0; i < PIXELS_EACH; ++i)
      if (HALO_ROWS * HALO_COLUMNS % PIXELS_AT_ONCE == 0 || i + 1 < PIXELS_EACH || pixel_line + i * PIXELS_AT_ONCE < HALO_ROWS * HALO_COLUMNS)
        fetch(memory, to + i * PIXELS_AT_ONCE * 16, image + (from[i] < 0 ? 0 : from[i] + (first_part + number) * PART_CHUNKS), from[i] >= 0);
  };
  const unsigned chunk = thread % STEP_CHUNKS, row = thread / STEP_CHUNKS;
  const auto bring_filters = [&](int step) {
    const int tap = step % PART_STEPS * STEP_TAPS + chunk / PART_CHUNKS;
    const int further = tap * TAP_CHUNKS + (first_part + step / PART_STEPS) * PART_CHUNKS + chunk % PART_CHUNKS;
    const unsigned to = step % STAGES * STAGE_BYTES;
#pragma unroll
    for (int i = 0; i < FILTERS_EACH; ++i) {
      const unsigned line = row + i * ROWS_AT_ONCE, filter = first_filter + line;
      const bool is_there = filter < OWN_FILTERS;
      if (TILE_FILTERS % ROWS_AT_ONCE == 0 || line < TILE_FILTERS)
        fetch(memory, to + line * 128 + ((chunk ^ line) & 7) * 16, filters + (is_there ? (size_t)filter * (TAPS * TAP_CHUNKS) + further : 0), is_there);
    }
  };
#if !FILTERS_ARE_CONSTANT
  WAIT;
#endif
#pragma unroll
  for (int step = 0; step < AHEAD; ++step)
    if (step < n_steps) bring_filters(step);
#if FILTERS_ARE_CONSTANT
  // What no kernel writes is fetched while the one before this ends.
  WAIT;
#endif
  bring_image(0);
#pragma unroll
  for (int step = 0; step < AHEAD; ++step) fetched_to_here();
  // Where this group's pixels begin.
  const unsigned group = warp / 4;
  const unsigned corner = group / (TILE_COLUMNS / 8) * 8 * HALO_COLUMNS + group % (TILE_COLUMNS / 8) * 8;
  sum_t sums[1][TILE_FILTERS / 8][4] = {};
  int step = 0;
  for (int number = 0; number < n_parts; ++number) {
    const unsigned pixels_at = IMAGES_AT + number % 2 * IMAGE_BYTES + corner * 16;
#pragma unroll 1
    for (int in_part = 0; in_part < PART_STEPS; ++in_part, ++step) {
      wait_for_all_but<AHEAD - 1>();
      show_to_units();
      __syncthreads();
      const unsigned filters_at = step % STAGES * STAGE_BYTES;
      begin_group(sums);
#pragma unroll
      for (int k = 0; k < STEP_CHUNKS; k += 2) {
        const unsigned tap = in_part * STEP_TAPS + k / PART_CHUNKS;
        const unsigned further = tap / TAP_COLUMNS * HALO_COLUMNS + tap % TAP_COLUMNS + k % PART_CHUNKS * PLANE;
        multiply_described(sums, described_planes(memory, pixels_at + further * 16, PLANE, HALO_COLUMNS), described(memory, filters_at + k * 16));
      }
      end_group();
      // All groups have come here, so that all have multiplied what was two steps before: its place is free.
      if (step + AHEAD < n_steps) bring_filters(step + AHEAD);
      // The same of the last step of the part before this, whose pixels those of the next take the place of.
      if (in_part == 1 && number + 1 < n_parts) bring_image(number + 1);
      fetched_to_here();
      multiplied_before(sums);
    }
  }
  multiplied(sums);
#if !IS_SHORT
  NEXT;
#endif
  const auto place_of = [&](unsigned pixel, unsigned& place) {
    const unsigned block = pixel / 64;
    const int y = first_row + block / (TILE_COLUMNS / 8) * 8 + pixel % 64 / 8, x = first_column + block % (TILE_COLUMNS / 8) * 8 + pixel % 8;
    place = (n * OUT_ROWS + y) * OUT_COLUMNS + x;
    return (OUT_ROWS % TILE_ROWS == 0 || y < OUT_ROWS) && (OUT_COLUMNS % TILE_COLUMNS == 0 || x < OUT_COLUMNS);
  };
  // What comes now takes the place of the operands.
  wait_for_all_but<0>();
  __syncthreads();
