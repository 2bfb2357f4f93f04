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

