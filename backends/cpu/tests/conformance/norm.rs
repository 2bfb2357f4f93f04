//! Normalisations.

use super::{Attr, case, check, float, noise, positive};

#[test]
fn normalisations_agree_with_the_reference() {
    let image = || noise(1, &[2, 6, 4, 5]);
    let row = |seed, n: usize| noise(seed, &[n]);
    let batch = [image(), row(2, 6), row(3, 6), row(4, 6), positive(5, &[6])];
    check(case("BatchNormalization", &[("epsilon", float(1e-3))], &batch), 1e-5);
    check(
        case("BatchNormalization", &[], &[noise(1, &[3, 6]), row(2, 6), row(3, 6), row(4, 6), positive(5, &[6])]),
        1e-5,
    );
    for axis in [-1, 2] {
        let shape: &[usize] = if axis == -1 { &[5] } else { &[4, 5] };
        let inputs = [image(), noise(2, shape), noise(3, shape)];
        check(case("LayerNormalization", &[("axis", Attr::Int(axis))], &inputs), 1e-5);
        check(case("LayerNormalization", &[("axis", Attr::Int(axis))], &inputs[..2]), 1e-5);
        check(case("RMSNormalization", &[("axis", Attr::Int(axis))], &inputs[..2]), 1e-5);
    }
    check(case("InstanceNormalization", &[], &[image(), row(2, 6), row(3, 6)]), 1e-5);
    check(case("GroupNormalization", &[("num_groups", Attr::Int(3))], &[image(), row(2, 6), row(3, 6)]), 1e-5);
}
