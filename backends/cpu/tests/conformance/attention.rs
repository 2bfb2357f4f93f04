//! Attention.

use super::{Attr, Case, Tensor, check, float, noise};

fn attention(attrs: &[(&'static str, Attr)], inputs: &[&[usize]], mask: Option<Tensor>) -> Case {
    let given = inputs.iter().enumerate().map(|(at, shape)| Some(noise(at as u64, shape)));
    Case { op: "Attention", attrs: attrs.to_vec(), inputs: given.chain([mask]).collect(), n_outputs: 1 }
}

#[test]
fn heads_of_three_and_of_four_axes_agree_with_the_reference() {
    let heads = [("q_num_heads", Attr::Int(4)), ("kv_num_heads", Attr::Int(2))];
    let flat: [&[usize]; 3] = [&[2, 5, 12], &[2, 70, 6], &[2, 70, 10]];
    check(attention(&heads, &flat, None), 1e-5);
    check(attention(&[heads[0].clone(), heads[1].clone(), ("scale", float(0.3))], &flat, None), 1e-5);
    let split: [&[usize]; 3] = [&[2, 4, 5, 3], &[2, 2, 7, 3], &[2, 2, 7, 6]];
    check(attention(&[], &split, None), 1e-5);
    check(attention(&[("is_causal", Attr::Int(1))], &split, None), 1e-5);
}

#[test]
fn masks_are_repeated_and_hide_keys() {
    let split: [&[usize]; 3] = [&[2, 3, 4, 8], &[2, 3, 6, 8], &[2, 3, 6, 8]];
    for shape in [&[6][..], &[4, 6], &[1, 6], &[2, 1, 1, 6], &[1, 3, 4, 6], &[2, 3, 4, 6]] {
        for causal in [0, 1] {
            check(attention(&[("is_causal", Attr::Int(causal))], &split, Some(noise(9, shape))), 1e-5);
        }
        let n: usize = shape.iter().product();
        // The first row of keys is hidden whole: those queries attend to nothing.
        let seen: Vec<bool> = (0..n).map(|at| at >= 6 && at % 3 != 1).collect();
        check(attention(&[], &split, Some(Tensor::from_bools(shape, &seen).expect("a shape"))), 1e-5);
    }
}
