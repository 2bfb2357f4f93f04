// A convolution of neighbours without steps or gaps: the pixels of a tile and those around it are brought once for all taps, a part of
// the channels at a time. As in `tile.cuh`, the sums come to lie in shared memory before `finish` makes results of them.
#define PART_BYTES (CHANNELS * ELEMENT_BYTES < 128 ? CHANNELS * ELEMENT_BYTES : 128)
#define PART_CHUNKS (PART_BYTES / 16)
#define N_PARTS (CHANNELS * ELEMENT_BYTES / PART_BYTES)
#define TILE_COLUMNS 16
#define TILE_ROWS (TILE_PIXELS / TILE_COLUMNS)
#define HALO_ROWS (TILE_ROWS + TAP_ROWS - 1)
#define HALO_COLUMNS (TILE_COLUMNS + TAP_COLUMNS - 1)
#define TAPS (TAP_ROWS * TAP_COLUMNS)
#define IMAGE_BYTES ((HALO_ROWS * HALO_COLUMNS * PART_BYTES + 127) / 128 * 128)
#define DOWN_EACH (TILE_ROWS / WARPS_DOWN)
#define ACROSS_EACH (TILE_FILTERS / WARPS_ACROSS / 8)
#define ROWS_OF_TILES ((OUT_ROWS + TILE_ROWS - 1) / TILE_ROWS)
#define COLUMNS_OF_TILES ((OUT_COLUMNS + TILE_COLUMNS - 1) / TILE_COLUMNS)

// Where 16 bytes `chunk` of line `line` lie: chunks are exchanged so that those of eight lines in a row touch every bank once.
__device__ __forceinline__ unsigned place(unsigned line, unsigned chunk) {
  return (line * PART_CHUNKS + (chunk ^ line / (128 / PART_BYTES) % PART_CHUNKS)) * 16;
}

extern "C" __global__ void __launch_bounds__(THREADS) region(const uint4* __restrict__ image, const uint4* __restrict__ filters PARAMETERS) {
  NEXT;
  SHARED(memory);
  image += IMAGE_CHUNK, filters += FILTERS_CHUNK;
  const unsigned thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  const int n = blockIdx.x / (ROWS_OF_TILES * COLUMNS_OF_TILES), first_filter = blockIdx.y * TILE_FILTERS;
  const int first_row = blockIdx.x / COLUMNS_OF_TILES % ROWS_OF_TILES * TILE_ROWS, first_column = blockIdx.x % COLUMNS_OF_TILES * TILE_COLUMNS;
  const auto bring_filters = [&](int part) {
#pragma unroll 4
    for (int at = thread; at < TAPS * TILE_FILTERS * PART_CHUNKS; at += THREADS) {
      const int line = at / PART_CHUNKS, filter = first_filter + line % TILE_FILTERS, chunk = at % PART_CHUNKS;
      const bool is_there = filter < FILTERS;
      const int from = ((is_there ? filter : 0) * TAPS + line / TILE_FILTERS) * (N_PARTS * PART_CHUNKS) + part * PART_CHUNKS + chunk;
      fetch(memory, IMAGE_BYTES + place(line, chunk), filters + from, is_there);
    }
  };
  const auto bring_image = [&](int part) {
#pragma unroll 4
    for (int at = thread; at < HALO_ROWS * HALO_COLUMNS * PART_CHUNKS; at += THREADS) {
      const int line = at / PART_CHUNKS, chunk = at % PART_CHUNKS;
      const int y = first_row - PAD_TOP + line / HALO_COLUMNS, x = first_column - PAD_LEFT + line % HALO_COLUMNS;
      const bool is_there = y >= 0 && y < IN_ROWS && x >= 0 && x < IN_COLUMNS;
      const int from = ((n * IN_ROWS + y) * IN_COLUMNS + x) * (N_PARTS * PART_CHUNKS) + part * PART_CHUNKS + chunk;
      fetch(memory, place(line, chunk), image + (is_there ? from : 0), is_there);
    }
  };
#if !FILTERS_ARE_CONSTANT
  WAIT;
#endif
  bring_filters(0);
#if FILTERS_ARE_CONSTANT
  // What no kernel writes is fetched while the one before this ends.
  WAIT;
#endif
  bring_image(0);
  fetched_to_here();
  const unsigned warp_row = warp / WARPS_ACROSS * DOWN_EACH, warp_filter = warp % WARPS_ACROSS * ACROSS_EACH * 8;
  sum_t sums[DOWN_EACH][ACROSS_EACH][4] = {};
  for (int part = 0; part < N_PARTS; ++part) {
    wait_for_all_but<0>();
    __syncthreads();
#pragma unroll 4
    for (int tap = 0; tap < TAPS; ++tap) {
      const unsigned below = tap / TAP_COLUMNS, beside = tap % TAP_COLUMNS;
#pragma unroll
      for (int k = 0; k < PART_CHUNKS / 2; ++k) {
        unsigned a[DOWN_EACH][4], b[ACROSS_EACH / 2][4];
#pragma unroll
        for (int i = 0; i < DOWN_EACH; ++i)
          four(a[i], memory, place((warp_row + i + below) * HALO_COLUMNS + beside + lane % 16, k * 2 + lane / 16));
#pragma unroll
        for (int j = 0; j < ACROSS_EACH / 2; ++j)
          four(b[j], memory, IMAGE_BYTES + place(tap * TILE_FILTERS + warp_filter + j * 16 + lane % 8 + lane / 16 * 8, k * 2 + lane / 8 % 2));
#pragma unroll
        for (int i = 0; i < DOWN_EACH; ++i)
#pragma unroll
          for (int j = 0; j < ACROSS_EACH; ++j) multiply(sums[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
      }
    }
    __syncthreads();
    if (part + 1 < N_PARTS) bring_filters(part + 1), bring_image(part + 1);
    fetched_to_here();
  }
  // The sums take the place of the operands.
  sum_t* const tile = reinterpret_cast<sum_t*>(memory);
#pragma unroll
  for (int i = 0; i < DOWN_EACH; ++i)
#pragma unroll
    for (int j = 0; j < ACROSS_EACH; ++j) leave(tile + (warp_row + i) * TILE_COLUMNS * SUMS_ROW + warp_filter + j * 8, SUMS_ROW, sums[i][j]);
  const auto place_of = [&](unsigned pixel, unsigned& place) {
    const int y = first_row + pixel / TILE_COLUMNS, x = first_column + pixel % TILE_COLUMNS;
    place = (n * OUT_ROWS + y) * OUT_COLUMNS + x;
    return (OUT_ROWS % TILE_ROWS == 0 || y < OUT_ROWS) && (OUT_COLUMNS % TILE_COLUMNS == 0 || x < OUT_COLUMNS);
  };
  finish_tile(tile, 0, first_filter, place_of ARGUMENTS);
}
