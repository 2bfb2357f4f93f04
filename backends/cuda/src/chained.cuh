  // Ends `halo_groups.cuh` with another convolution, of single pixels, of what the first one makes of its sums: all its filters are in
  // this tile. What the second multiplies lies as rows of 128 bytes, as many of the tile's length after each other as its depth takes; one
  // tile of filters after the other is brought while the one before is finished.
#define PANELS (TILE_FILTERS / 64)
#define NEXT_AT (PANELS * TILE_PIXELS * 128)
#define TILE_AT (NEXT_AT + PANELS * TILE_FILTERS * 128)
#define DEPTH_CHUNKS (PANELS * 8)
#define NEXT_EACH (TILE_FILTERS * DEPTH_CHUNKS / THREADS)
  const auto bring_next = [&](int filter) {
#pragma unroll
    for (int i = 0; i < NEXT_EACH; ++i) {
      const unsigned at = thread + i * THREADS, line = at / DEPTH_CHUNKS, in_depth = at % DEPTH_CHUNKS;
      const unsigned to = NEXT_AT + in_depth / 8 * TILE_FILTERS * 128 + line * 128 + ((in_depth ^ line) & 7) * 16;
      const bool is_there = filter + line < FILTERS;
      fetch(memory, to, next_filters + (is_there ? (size_t)(filter + line) * DEPTH_CHUNKS + in_depth : 0), is_there);
    }
    fetched_to_here();
  };
  next_filters += NEXT_CHUNK;
  bring_next(0);
#pragma unroll
  for (int j = 0; j < TILE_FILTERS / 8; ++j) {
    const unsigned lane = thread % 32, filter = j * 8 + lane % 4 * 2;
    const float low = FIRST_BIAS(filter), high = FIRST_BIAS(filter + 1);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const unsigned pixel = warp * 16 + lane / 4 + 8 * half;
      const unsigned to = filter / 64 * TILE_PIXELS * 128 + pixel * 128 + ((filter % 64 / 8 ^ pixel) & 7) * 16 + filter % 8 * 2;
      *reinterpret_cast<unsigned*>(memory + to) = packed(FIRST_ENDS(sums[0][j][2 * half] + low), FIRST_ENDS(sums[0][j][2 * half + 1] + high));
    }
  }
  sum_t* const tile = reinterpret_cast<sum_t*>(memory + TILE_AT);
#pragma unroll 1
  for (int filter = 0; filter < FILTERS; filter += TILE_FILTERS) {
    finish_tile_after(tile, part, filter, place_of, [&] {
      wait_for_all_but<0>();
      show_to_units();
      __syncthreads();
#pragma unroll
      for (int j = 0; j < TILE_FILTERS / 8; ++j)
#pragma unroll
        for (int c = 0; c < 4; ++c) sums[0][j][c] = 0;
#pragma unroll
      for (int panel = 0; panel < PANELS; ++panel)
        multiply_group(sums, memory, (panel * TILE_PIXELS + group * 64) * 128, NEXT_AT + panel * TILE_FILTERS * 128);
      multiplied(sums);
#pragma unroll
      for (int j = 0; j < TILE_FILTERS / 8; ++j) leave(tile + warp * 16 * SUMS_ROW + j * 8, SUMS_ROW, sums[0][j]);
      // All have multiplied what lies where the next filters come.
      __syncthreads();
      if (filter + TILE_FILTERS < FILTERS) bring_next(filter + TILE_FILTERS);
    } ARGUMENTS);
  }
}
