  // Ends `halo_groups.cuh`: what makes results of the sums.
  sum_t* const tile = reinterpret_cast<sum_t*>(memory);
#pragma unroll
  for (int j = 0; j < TILE_FILTERS / 8; ++j) leave(tile + warp * 16 * SUMS_ROW + j * 8, SUMS_ROW, sums[0][j]);
  finish_tile(tile, part, first_filter, place_of ARGUMENTS);
}
