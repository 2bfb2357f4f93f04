// The results of a tile, of sums that lie in its shared memory: shared by all blocks of a cluster, each of which finishes a part of the
// pixels.
#define THREADS (WARPS_DOWN * WARPS_ACROSS * 32)
// From one row of sums to the next, so that eight rows touch every bank once.
#define SUMS_ROW (TILE_FILTERS + 8)
#define SHARE (TILE_PIXELS / SPLIT * TILE_FILTERS / WIDTH)
#define ROUNDS ((SHARE + THREADS - 1) / THREADS)
#define AT_ONCE (ROUNDS < 8 ? ROUNDS : 8)

// `place_of` gives where a pixel of the tile lies among those of the result, and whether it does; `leave_sums` puts the sums where `tile` is,
// while what is read beside them is on its way. That takes registers, and where sums are many, blocks.
template <typename F, typename G>
__device__ __forceinline__ void finish_tile_after(sum_t* tile, unsigned part, unsigned first_filter, F place_of, G leave_sums PARAMETERS) {
  unsigned in_tile[AT_ONCE], places[AT_ONCE];
  bool are_there[AT_ONCE];
  Beside besides[AT_ONCE];
  // What lies outside is computed of something inside and written elsewhere: without branches, all that is read is under way at once, as
  // far as registers go.
  const auto look_beside = [&](int first) {
#pragma unroll
    for (int i = 0; i < AT_ONCE; ++i) {
      const unsigned at = threadIdx.x + (first + i) * THREADS;
      const unsigned pixel = part * (TILE_PIXELS / SPLIT) + at % SHARE / (TILE_FILTERS / WIDTH), filter = at % (TILE_FILTERS / WIDTH) * WIDTH;
      unsigned place;
      are_there[i] = place_of(pixel, place) && (SHARE % THREADS == 0 || at < SHARE) && (FILTERS % TILE_FILTERS == 0 || first_filter + filter < FILTERS);
      in_tile[i] = pixel * SUMS_ROW + filter;
      places[i] = are_there[i] ? place * FILTERS + first_filter + filter : 0;
      besides[i] = beside(places[i] ARGUMENTS);
    }
  };
  look_beside(0);
  leave_sums();
  cluster_barrier();
#pragma unroll 1
  for (int first = 0; first < ROUNDS; first += AT_ONCE) {
    if (first > 0) look_beside(first);
    Pack<WIDTH, sum_t> totals[AT_ONCE];
#pragma unroll
    for (int i = 0; i < AT_ONCE; ++i) {
      totals[i] = of_block<Pack<WIDTH, sum_t>>(tile + in_tile[i], 0);
#pragma unroll
      for (int other = 1; other < SPLIT; ++other) {
        const Pack<WIDTH, sum_t> more = of_block<Pack<WIDTH, sum_t>>(tile + in_tile[i], other);
#pragma unroll
        for (int c = 0; c < WIDTH; ++c) totals[i].element[c] += more.element[c];
      }
    }
    if (first + AT_ONCE >= ROUNDS) cluster_read();
#pragma unroll
    for (int i = 0; i < AT_ONCE; ++i)
      finish(places[i], totals[i].element, besides[i], are_there[i] ? nullptr : tile + TILE_PIXELS * SUMS_ROW ARGUMENTS);
  }
  cluster_leave();
}
// The same of sums that lie there already.
template <typename F> __device__ __forceinline__ void finish_tile(sum_t* tile, unsigned part, unsigned first_filter, F place_of PARAMETERS) {
  finish_tile_after(tile, part, first_filter, place_of, [] {} ARGUMENTS);
}
