//! Shared by the tests of this crate.

/// Numbers in -1..1 that look random and depend on `seed` only.
pub fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
        })
        .collect()
}

/// Asserts that every element is within `tolerance` of the wanted one, relative to the largest wanted magnitude.
pub fn assert_close(got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "lengths");
    let scale = want.iter().fold(1e-30f32, |scale, x| scale.max(x.abs()));
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance * scale, "element {at}: got {got}, want {want}, scale {scale}");
    }
}

/// `[batch, channels, area]` to `[batch, area, channels]`.
pub fn to_channels_last(data: &[f32], batch: usize, channels: usize, area: usize) -> Vec<f32> {
    (0..batch * area * channels)
        .map(|at| data[(at / (area * channels) * channels + at % channels) * area + at / channels % area])
        .collect()
}

/// `[batch, area, channels]` to `[batch, channels, area]`.
pub fn to_channels_first(data: &[f32], batch: usize, channels: usize, area: usize) -> Vec<f32> {
    to_channels_last(data, batch, area, channels)
}
