// Attention of one head in 16 bits. A block has `QUERIES` queries and walks over the keys, `KEYS` at a time. A warp has `TILES` times 16
// of the queries. `GROUPS` warps have the same ones: they take turns at the keys, `STEP` each, and their results are combined in the end.
//
// Scores are logarithms of weights to base 2. Of each query a warp keeps `top`, relative to which weights are counted, their `total`,
// and the `sum` of the values times their weights. Every `top` gives the same result as long as no weight is too large for 16 bits, so
// it stays as it is until a score is more than `SLACK` above it: sums are rarely rescaled.
#define SLACK 8.f
#define THREADS (WARPS * GROUPS * 32)
#define QUERIES (WARPS * TILES * 16)
#define N_QUERY_BLOCKS ((N_QUERIES + QUERIES - 1) / QUERIES)
#define N_KEY_BLOCKS ((N_KEYS + KEYS - 1) / KEYS)
#define CHUNKS (DEPTH / 8)
#define ROWS_AT_ONCE (THREADS / CHUNKS)
// Bytes from one row to the next: with 16 more than there are, eight rows touch every bank once.
#define ROW (DEPTH * 2 + 16)
#define STAGES_AT (QUERIES * ROW)
#define STAGE_BYTES (2 * KEYS * ROW)
#define ADDED_AT (STAGES_AT + STAGES * STAGE_BYTES)
// Blocks of keys that are brought before they are needed.
#define AHEAD (STAGES < N_KEY_BLOCKS ? STAGES - 1 : N_KEY_BLOCKS)
// Columns of sums that are combined at a time, and numbers from one row of them to the next.
#define SUM_COLUMNS (DEPTH / SUM_PARTS)
#define SUM_ROW (SUM_COLUMNS + 8)
#define NEVER (-__uint_as_float(0x7f800000))

// A logarithm of a weight to base e, to base 2; what is finite stays finite, since masks of -3.4e38 do not forbid.
template <typename T> __device__ __forceinline__ float in_base_2(T x) {
  const float most = 3.40282347e38f, e = (float)get(x);
  return fabsf(e) <= most ? fminf(fmaxf(e * 1.44269504f, -most), most) : e;
}
__device__ __forceinline__ float in_base_2(half_t x) { return get(x) * 1.44269504f; }

// What a mask adds to a score.
__device__ __forceinline__ float added_by(bool may_see) { return may_see ? 0.f : NEVER; }
template <typename T> __device__ __forceinline__ float added_by(T x) { return in_base_2(x); }

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) region(
    const element_t* __restrict__ q, const element_t* __restrict__ k, const element_t* __restrict__ v, MASK_PARAMETER element_t* __restrict__ out) {
  SHARED(memory);
  WAIT;
  // The warp's number is read from one lane, so that the compiler knows that branches on it are uniform.
  const unsigned thread = threadIdx.x, lane = thread % 32, warp = __shfl_sync(~0u, thread / 32, 0);
  const unsigned batch = blockIdx.x / HEADS, head = blockIdx.x % HEADS, pair = lane % 4 * 2;
  // With a causal mask the last queries see the most keys, and their blocks are started first.
  const int block_first = (IS_CAUSAL ? N_QUERY_BLOCKS - 1 - blockIdx.y : blockIdx.y) * QUERIES;
  const int in_block = warp / GROUPS * TILES * 16, first = block_first + in_block, group = warp % GROUPS;
  q += (size_t)batch * Q_BATCH + head * Q_HEAD + Q_OFFSET;
  k += (size_t)batch * K_BATCH + head / K_SHARED * K_HEAD + K_OFFSET;
  v += (size_t)batch * V_BATCH + head / V_SHARED * V_HEAD + V_OFFSET;
  out += (size_t)batch * OUT_BATCH + head * OUT_HEAD + OUT_OFFSET;
#if MASK != NO_MASK
  mask += (size_t)batch * MASK_BATCH + head * MASK_HEAD + MASK_OFFSET;
#endif
  // Keys after the last query of a block are seen by none of it.
  const int n_blocks = IS_CAUSAL ? min(N_KEY_BLOCKS, (block_first + QUERIES - 1) / KEYS + 1) : N_KEY_BLOCKS;

  const unsigned row_of = thread / CHUNKS, chunk_of = thread % CHUNKS;
  const bool brings = ROWS_AT_ONCE * CHUNKS == THREADS || row_of < ROWS_AT_ONCE;
  const auto bring_keys = [&](int block) {
    const unsigned stage = STAGES_AT + block % STAGES * STAGE_BYTES;
#pragma unroll
    for (unsigned i = 0; i < (KEYS + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE; ++i) {
      const unsigned row = row_of + i * ROWS_AT_ONCE, key = block * KEYS + row;
      if (!brings || (KEYS % ROWS_AT_ONCE != 0 && row >= KEYS)) continue;
      const bool is_there = N_KEYS % KEYS == 0 || key < N_KEYS;
      fetch(memory, stage + row * ROW + chunk_of * 16, k + (is_there ? key : 0) * K_ROW + chunk_of * 8, is_there);
      fetch(memory, stage + (KEYS + row) * ROW + chunk_of * 16, v + (is_there ? key : 0) * V_ROW + chunk_of * 8, is_there);
    }
  };
#pragma unroll
  for (unsigned i = 0; i < (QUERIES + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE; ++i) {
    const unsigned row = row_of + i * ROWS_AT_ONCE, query = block_first + row;
    if (!brings || (QUERIES % ROWS_AT_ONCE != 0 && row >= QUERIES)) continue;
    fetch(memory, row * ROW + chunk_of * 16, q + (query < N_QUERIES ? query : 0) * Q_ROW + chunk_of * 8, query < N_QUERIES);
  }
  fetched_to_here();
#pragma unroll
  for (int block = 0; block < AHEAD; ++block) {
    if (block < n_blocks) bring_keys(block);
    fetched_to_here();
  }
#if MASK == ONE_FOR_ALL_QUERIES
  float* const added = reinterpret_cast<float*>(memory + ADDED_AT);
  for (int key = thread; key < N_KEYS; key += THREADS) added[key] = added_by(mask[key * MASK_KEY]);
#endif
  wait_for_all_but<AHEAD>();
  __syncthreads();
  unsigned a[TILES][DEPTH / 16][4];
#pragma unroll
  for (int tile = 0; tile < TILES; ++tile)
#pragma unroll
    for (int part = 0; part < DEPTH / 16; ++part)
      four(a[tile][part], memory, (in_block + tile * 16 + lane % 16) * ROW + (part * 2 + lane / 16) * 16);

  float top[TILES][2], total[TILES][2] = {}, sum[TILES][CHUNKS][4] = {};
#pragma unroll
  for (int tile = 0; tile < TILES; ++tile) top[tile][0] = top[tile][1] = NEVER;

  // What this lane addresses of 16 keys or values and 16 of their columns.
  const unsigned lane_at = (lane / 16 * 8 + lane % 8) * ROW + lane / 8 % 2 * 16;
  // Sees the `STEP` keys from `start` on, which lie at `keys_at`.
  const auto see = [&](int start, unsigned keys_at) {
#if MASK == EACH_ITS_OWN
    // What the mask says arrives while scores are computed.
    Pack<2, mask_t> seen[TILES][STEP / 8][2];
#pragma unroll
    for (int at = 0; at < TILES * STEP / 4; ++at) {
      const int half = at % 2, eight = at / 2 % (STEP / 8), tile = at / 2 / (STEP / 8);
      const int query = min(first + tile * 16 + half * 8 + (int)lane / 4, N_QUERIES - 1), key = start + eight * 8 + pair;
#if MASK_IN_PAIRS
      seen[tile][eight][half] = *reinterpret_cast<const Pack<2, mask_t>*>(mask + (size_t)query * MASK_ROW + min(key, N_KEYS - 2));
#else
      seen[tile][eight][half].element[0] = mask[(size_t)query * MASK_ROW + min(key, N_KEYS - 1) * MASK_KEY];
      seen[tile][eight][half].element[1] = mask[(size_t)query * MASK_ROW + min(key + 1, N_KEYS - 1) * MASK_KEY];
#endif
    }
#endif
    float s[TILES][STEP / 8][4] = {};
#pragma unroll
    for (int part = 0; part < DEPTH / 16; ++part)
#pragma unroll
      for (int eight = 0; eight < STEP / 8; eight += 2) {
        unsigned b[4];
        four(b, memory, keys_at + eight * 8 * ROW + part * 32);
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile) {
          multiply(s[tile][eight], a[tile][part], b[0], b[1]);
          multiply(s[tile][eight + 1], a[tile][part], b[2], b[3]);
        }
      }
#if MASK == ONE_FOR_ALL_QUERIES
    Pack<2, float> more[STEP / 8];
#pragma unroll
    for (int eight = 0; eight < STEP / 8; ++eight) more[eight] = *reinterpret_cast<const Pack<2, float>*>(added + start + eight * 8 + pair);
#endif
    const bool is_last = N_KEYS % STEP != 0 && start + STEP > N_KEYS, is_diagonal = IS_CAUSAL && start + STEP - 1 > first;
    bool rises = false;
    float highest[TILES][2];
#pragma unroll
    for (int tile = 0; tile < TILES; ++tile) {
#pragma unroll
      for (int at = 0; at < STEP / 2; ++at) {
        float& score = s[tile][at / 4][at % 4];
#if SOFTCAPS
        score = CAP * tanh(score * SCALE);
#elif !SCALES_LATER
        score *= SCALE;
#endif
#if MASK == ONE_FOR_ALL_QUERIES
        score += more[at / 4].element[at % 2];
#elif MASK == EACH_ITS_OWN
        score += added_by(seen[tile][at / 4][at / 2 % 2].element[at % 2]);
#endif
      }
      if (is_last || is_diagonal) {
#pragma unroll
        for (int at = 0; at < STEP / 2; ++at) {
          const int key = start + at / 4 * 8 + pair + at % 2, query = first + tile * 16 + at / 2 % 2 * 8 + lane / 4;
          if (key >= N_KEYS || (IS_CAUSAL && key > query)) s[tile][at / 4][at % 4] = NEVER;
        }
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float most = fmaxf(s[tile][0][half * 2], s[tile][0][half * 2 + 1]);
#pragma unroll
        for (int eight = 1; eight < STEP / 8; ++eight) most = fmaxf(most, fmaxf(s[tile][eight][half * 2], s[tile][eight][half * 2 + 1]));
        most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
        most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
        highest[tile][half] = most * FACTOR;
        rises |= highest[tile][half] > top[tile][half] + SLACK;
      }
    }
    if (__any_sync(~0u, rises)) {
#pragma unroll
      for (int tile = 0; tile < TILES; ++tile)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float next = fmaxf(top[tile][half], highest[tile][half]);
          const float shrink = power_of_2(top[tile][half] - (next == NEVER ? 0.f : next));
          top[tile][half] = next;
          total[tile][half] *= shrink;
#pragma unroll
          for (int chunk = 0; chunk < CHUNKS; ++chunk) sum[tile][chunk][half * 2] *= shrink, sum[tile][chunk][half * 2 + 1] *= shrink;
        }
    }
    // Values are multiplied with the first weights while the next ones are computed.
#pragma unroll
    for (int part = 0; part < STEP / 16; ++part) {
      unsigned weights[TILES][4];
#pragma unroll
      for (int tile = 0; tile < TILES; ++tile)
#pragma unroll
        for (int at = 0; at < 4; ++at) {
          const int half = at % 2;
          const float* const two = s[tile][part * 2 + at / 2] + half * 2;
          const float base = top[tile][half] == NEVER ? 0.f : top[tile][half];
          const float left = power_of_2(fmaf(two[0], FACTOR, -base)), right = power_of_2(fmaf(two[1], FACTOR, -base));
          total[tile][half] += left + right;
          weights[tile][at] = packed(left, right);
        }
#pragma unroll
      for (int chunk = 0; chunk < CHUNKS; chunk += 2) {
        unsigned b[4];
        four_turned(b, memory, keys_at + (KEYS + part * 16) * ROW + chunk * 16);
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile) {
          multiply(sum[tile][chunk], weights[tile], b[0], b[2]);
          multiply(sum[tile][chunk + 1], weights[tile], b[1], b[3]);
        }
      }
    }
  };
  for (int block = 0; block < n_blocks; ++block) {
    wait_for_all_but<AHEAD - 1>();
    // The block is here for all threads, and all of them have done with the one before it, whose place is taken next.
    __syncthreads();
    if (block + AHEAD < n_blocks) bring_keys(block + AHEAD);
    fetched_to_here();
    const unsigned stage = STAGES_AT + block % STAGES * STAGE_BYTES;
#pragma unroll 1
    for (int row = group * STEP; row < KEYS; row += GROUPS * STEP) {
      const int start = block * KEYS + row;
      if (first >= N_QUERIES || start >= N_KEYS || (IS_CAUSAL && start >= first + TILES * 16)) break;
      see(start, stage + row * ROW + lane_at);
    }
  }

  // The sums take the place of queries and keys; behind them is what of each query belongs to them.
  float* const sums = reinterpret_cast<float*>(memory);
  float* const tops = sums + GROUPS * QUERIES * SUM_ROW;
  float* const totals = tops + GROUPS * QUERIES;
#pragma unroll
  for (int part = 0; part < SUM_PARTS; ++part) {
    __syncthreads();
#pragma unroll
    for (int tile = 0; tile < TILES; ++tile)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const unsigned row = group * QUERIES + in_block + tile * 16 + half * 8 + lane / 4;
        if (part == 0) {
          float whole = total[tile][half];
          whole += __shfl_xor_sync(~0u, whole, 1);
          whole += __shfl_xor_sync(~0u, whole, 2);
          tops[row] = top[tile][half], totals[row] = whole;
        }
#pragma unroll
        for (int chunk = 0; chunk < SUM_COLUMNS / 8; ++chunk) {
          const float* const two = sum[tile][part * (SUM_COLUMNS / 8) + chunk] + half * 2;
          *reinterpret_cast<Pack<2, float>*>(sums + row * SUM_ROW + chunk * 8 + pair) = {two[0], two[1]};
        }
      }
    __syncthreads();
#pragma unroll 2
    for (unsigned at = thread; at < QUERIES * (SUM_COLUMNS / 8); at += THREADS) {
      const unsigned row = at / (SUM_COLUMNS / 8), column = at % (SUM_COLUMNS / 8) * 8, query = block_first + row;
      if (query >= N_QUERIES) continue;
      float highest = NEVER, whole = 0.f, x[8] = {};
#pragma unroll
      for (int other = 0; other < GROUPS; ++other) highest = fmaxf(highest, tops[other * QUERIES + row]);
      const float base = highest == NEVER ? 0.f : highest;
#pragma unroll
      for (int other = 0; other < GROUPS; ++other) {
        const float weight = power_of_2(tops[other * QUERIES + row] - base);
        whole += weight * totals[other * QUERIES + row];
#pragma unroll
        for (int side = 0; side < 2; ++side) {
          const Pack<4, float> some = *reinterpret_cast<const Pack<4, float>*>(sums + (other * QUERIES + row) * SUM_ROW + column + side * 4);
#pragma unroll
          for (int c = 0; c < 4; ++c) x[side * 4 + c] += weight * some.element[c];
        }
      }
      // A query that sees no key attends to nothing.
      const float inverse = whole == 0.f ? 0.f : __fdividef(1.f, whole);
      Pack<4, unsigned> result;
#pragma unroll
      for (int c = 0; c < 4; ++c) result.element[c] = packed(x[2 * c] * inverse, x[2 * c + 1] * inverse);
      *reinterpret_cast<Pack<4, unsigned>*>(out + query * OUT_ROW + part * SUM_COLUMNS + column) = result;
    }
  }
}
