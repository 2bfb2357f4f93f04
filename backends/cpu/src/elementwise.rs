//! Elementwise operators on f32 with broadcasting, over all threads.

use crate::broadcast::Broadcast;
use crate::parallel::{for_each_chunk, for_each_pair};
use crate::simd::vectorized;
use crate::unary::Unary;

/// Elements that one task works on: little enough for the first-level cache, much more than starting a task costs.
const PIECE: usize = 8192;

/// A function of two elements with an f32 result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    /// NaN when either is, as in ONNX.
    Max,
    /// NaN when either is, as in ONNX.
    Min,
    /// The first where it is not negative, else its product with the second.
    PRelu,
}

/// A comparison of two elements; the result is 1 for true and 0 for false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Compare {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Applies `f` to every element.
///
/// # Panics
/// When the lengths differ.
pub fn unary(f: Unary, input: &[f32], out: &mut [f32]) {
    assert_eq!(input.len(), out.len(), "one output per input");
    for_each_pair(out, input, PIECE, f.cost(), |_, out, input| {
        vectorized(
            #[inline(always)]
            || {
                out.copy_from_slice(input);
                f.apply(out);
            },
        );
    });
}

/// Applies `f` to every element in place.
pub fn unary_in_place(f: Unary, values: &mut [f32]) {
    for_each_chunk(values, PIECE, f.cost(), |_, part| {
        vectorized(
            #[inline(always)]
            || f.apply(part),
        );
    });
}

/// `out = f(a, b)` over the shape of `walk`.
///
/// # Panics
/// When the lengths do not fit.
pub fn binary(f: Binary, walk: &Broadcast<2>, a: &[f32], b: &[f32], out: &mut [f32]) {
    zip(walk, a, b, out, |a, b, out| {
        vectorized(
            #[inline(always)]
            || f.apply_to(a, b, out),
        );
    });
}

impl Binary {
    /// `out = f(a, b)` for slices of one length. Called inside a vectorized region.
    #[inline(always)]
    pub(crate) fn apply(self, a: &[f32], b: &[f32], out: &mut [f32]) {
        self.apply_to(Operand::Many(a), Operand::Many(b), out);
    }

    /// `out = f(a, b)` for one `b`. Called inside a vectorized region.
    #[inline(always)]
    pub(crate) fn apply_single(self, a: &[f32], b: f32, out: &mut [f32]) {
        self.apply_to(Operand::Many(a), Operand::One(b), out);
    }

    #[inline(always)]
    fn apply_to(self, a: Operand<'_>, b: Operand<'_>, out: &mut [f32]) {
        match self {
            Binary::Add => each(
                a,
                b,
                out,
                #[inline(always)]
                |a, b| a + b,
            ),
            Binary::Sub => each(
                a,
                b,
                out,
                #[inline(always)]
                |a, b| a - b,
            ),
            Binary::Mul => each(
                a,
                b,
                out,
                #[inline(always)]
                |a, b| a * b,
            ),
            Binary::Div => each(
                a,
                b,
                out,
                #[inline(always)]
                |a, b| a / b,
            ),
            Binary::Pow => power(a, b, out),
            Binary::Max => each(
                a,
                b,
                out,
                #[inline(always)]
                |a, b| if a > b || a.is_nan() { a } else { b },
            ),
            Binary::Min => each(
                a,
                b,
                out,
                #[inline(always)]
                |a, b| if a < b || a.is_nan() { a } else { b },
            ),
            Binary::PRelu => each(
                a,
                b,
                out,
                #[inline(always)]
                |a, b| if a < 0.0 { a * b } else { a },
            ),
        }
    }
}

/// `out = f(a, b)` over the shape of `walk`.
///
/// # Panics
/// When the lengths do not fit.
pub fn compare(f: Compare, walk: &Broadcast<2>, a: &[f32], b: &[f32], out: &mut [u8]) {
    zip(walk, a, b, out, |a, b, out| {
        vectorized(
            #[inline(always)]
            || match f {
                Compare::Equal => each(
                    a,
                    b,
                    out,
                    #[inline(always)]
                    |a, b| u8::from(a == b),
                ),
                Compare::Less => each(
                    a,
                    b,
                    out,
                    #[inline(always)]
                    |a, b| u8::from(a < b),
                ),
                Compare::LessOrEqual => each(
                    a,
                    b,
                    out,
                    #[inline(always)]
                    |a, b| u8::from(a <= b),
                ),
                Compare::Greater => each(
                    a,
                    b,
                    out,
                    #[inline(always)]
                    |a, b| u8::from(a > b),
                ),
                Compare::GreaterOrEqual => each(
                    a,
                    b,
                    out,
                    #[inline(always)]
                    |a, b| u8::from(a >= b),
                ),
            },
        );
    });
}

/// `out = if condition { a } else { b }` for elements of any type; a condition is any byte but 0.
///
/// # Panics
/// When the lengths do not fit.
pub fn choose<T: Copy + Send + Sync>(walk: &Broadcast<3>, condition: &[u8], a: &[T], b: &[T], out: &mut [T]) {
    assert_eq!(walk.len(), out.len(), "one output per element of the broadcast shape");
    let [step_c, step_a, step_b] = walk.inner();
    for_each_chunk(out, PIECE, 1, |chunk_at, out| {
        let first = chunk_at * PIECE;
        walk.for_pieces(first..first + out.len(), |at, [c, x, y], count| {
            for (i, slot) in out[at - first..][..count].iter_mut().enumerate() {
                *slot = if condition[c + i * step_c] != 0 { a[x + i * step_a] } else { b[y + i * step_b] };
            }
        });
    });
}

/// One piece of an operand: consecutive elements, or one element for all.
#[derive(Clone, Copy)]
enum Operand<'a> {
    Many(&'a [f32]),
    One(f32),
}

fn zip<T: Send>(
    walk: &Broadcast<2>,
    a: &[f32],
    b: &[f32],
    out: &mut [T],
    piece: impl Fn(Operand<'_>, Operand<'_>, &mut [T]) + Sync,
) {
    assert_eq!(walk.len(), out.len(), "one output per element of the broadcast shape");
    let [step_a, step_b] = walk.inner();
    let operand = |data, step, from, count| -> Operand<'_> {
        let data: &[f32] = data;
        if step == 0 { Operand::One(data[from]) } else { Operand::Many(&data[from..from + count]) }
    };
    for_each_chunk(out, PIECE, 1, |chunk_at, out| {
        let first = chunk_at * PIECE;
        walk.for_pieces(first..first + out.len(), |at, [x, y], count| {
            piece(operand(a, step_a, x, count), operand(b, step_b, y, count), &mut out[at - first..][..count]);
        });
    });
}

#[inline(always)]
fn each<T>(a: Operand<'_>, b: Operand<'_>, out: &mut [T], f: impl Fn(f32, f32) -> T) {
    match (a, b) {
        (Operand::Many(a), Operand::Many(b)) => {
            for ((slot, &a), &b) in out.iter_mut().zip(a).zip(b) {
                *slot = f(a, b);
            }
        }
        (Operand::Many(a), Operand::One(b)) => {
            for (slot, &a) in out.iter_mut().zip(a) {
                *slot = f(a, b);
            }
        }
        (Operand::One(a), Operand::Many(b)) => {
            for (slot, &b) in out.iter_mut().zip(b) {
                *slot = f(a, b);
            }
        }
        (Operand::One(a), Operand::One(b)) => {
            for slot in out {
                *slot = f(a, b);
            }
        }
    }
}

/// Powers; the exponents that occur in real models are products or roots.
#[inline(always)]
fn power(a: Operand<'_>, b: Operand<'_>, out: &mut [f32]) {
    match b {
        Operand::One(2.0) => each(
            a,
            b,
            out,
            #[inline(always)]
            |a, _| a * a,
        ),
        Operand::One(3.0) => each(
            a,
            b,
            out,
            #[inline(always)]
            |a, _| a * a * a,
        ),
        Operand::One(1.0) => each(
            a,
            b,
            out,
            #[inline(always)]
            |a, _| a,
        ),
        Operand::One(-1.0) => each(
            a,
            b,
            out,
            #[inline(always)]
            |a, _| 1.0 / a,
        ),
        // The root of minus infinity is NaN while its power is infinite; adding zero maps -0 to 0, as powers do.
        Operand::One(0.5) => each(
            a,
            b,
            out,
            #[inline(always)]
            |a, _| {
                if a == f32::NEG_INFINITY { f32::INFINITY } else { a.sqrt() + 0.0 }
            },
        ),
        _ => each(a, b, out, f32::powf),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    #[test]
    fn every_binary_function_agrees_with_its_definition_for_every_kind_of_operand() {
        let full = [3, 4, 5];
        let table: [(Binary, fn(f32, f32) -> f32); 7] = [
            (Binary::Add, |a, b| a + b),
            (Binary::Sub, |a, b| a - b),
            (Binary::Mul, |a, b| a * b),
            (Binary::Div, |a, b| a / b),
            (Binary::Max, f32::max),
            (Binary::Min, f32::min),
            (Binary::PRelu, |a, b| if a < 0.0 { a * b } else { a }),
        ];
        let shapes: [[&[usize]; 2]; 4] = [[&full, &full], [&full, &[4, 1]], [&[3, 1, 1], &[5]], [&[], &full]];
        for (f, definition) in table {
            for shapes in shapes {
                let operands = shapes.map(|shape| noise(shape.len() as u64 + 1, shape.iter().product()));
                let full = crate::broadcast::broadcast_shape(&shapes).unwrap();
                let walk = Broadcast::new(&full, shapes);
                let mut out = vec![f32::NAN; walk.len()];
                binary(f, &walk, &operands[0], &operands[1], &mut out);
                walk.for_pieces(0..walk.len(), |at, [a, b], count| {
                    for i in 0..count {
                        let want =
                            definition(operands[0][a + i * walk.inner()[0]], operands[1][b + i * walk.inner()[1]]);
                        assert_eq!(out[at + i].to_bits(), want.to_bits(), "{f:?} {shapes:?}");
                    }
                });
            }
        }
    }

    #[test]
    fn powers_with_special_exponents_agree_with_the_general_power() {
        let bases = [0.0f32, -0.0, 1.5, -2.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 7e-20];
        for exponent in [2.0f32, 3.0, 1.0, -1.0, 0.5, 0.0, -2.5] {
            let mut out = [0.0; 8];
            binary(Binary::Pow, &Broadcast::new(&[8], [&[8], &[]]), &bases, &[exponent], &mut out);
            for (got, base) in out.iter().zip(bases) {
                let want = base.powf(exponent);
                let same = (got - want).abs() <= 2e-7 * want.abs()
                    || got.to_bits() == want.to_bits()
                    || got.is_nan() && want.is_nan();
                assert!(same, "{base} ^ {exponent}: got {got}, want {want}");
            }
        }
    }

    #[test]
    fn extremes_of_nan_are_nan_on_either_side() {
        let walk = Broadcast::new(&[2], [&[2], &[2]]);
        for f in [Binary::Max, Binary::Min] {
            let mut out = [0.0; 2];
            binary(f, &walk, &[f32::NAN, 1.0], &[1.0, f32::NAN], &mut out);
            assert!(out.iter().all(|x| x.is_nan()), "{f:?} {out:?}");
        }
    }

    #[test]
    fn comparisons_and_choices_broadcast() {
        let mut bits = [9; 6];
        compare(
            Compare::LessOrEqual,
            &Broadcast::new(&[2, 3], [&[3], &[2, 1]]),
            &[1.0, 2.0, f32::NAN],
            &[1.0, 2.0],
            &mut bits,
        );
        assert_eq!(bits, [1, 0, 0, 1, 1, 0]);
        let mut out = [0i64; 6];
        choose(&Broadcast::new(&[2, 3], [&[2, 3], &[], &[3]]), &bits, &[7], &[1, 2, 3], &mut out);
        assert_eq!(out, [7, 2, 3, 7, 7, 3]);
    }

    #[test]
    fn long_unary_work_is_divided_without_gaps() {
        let x = noise(1, 3 * PIECE + 17);
        let mut out = vec![f32::NAN; x.len()];
        unary(Unary::Abs, &x, &mut out);
        assert!(out.iter().zip(&x).all(|(y, x)| *y == x.abs()));
        let mut x2 = x.clone();
        unary_in_place(Unary::Abs, &mut x2);
        assert_eq!(out, x2);
    }
}
