// Ends `tile.cuh`, after what brings operands: what multiplies them, and makes results of the sums.
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
