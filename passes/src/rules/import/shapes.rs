//! The shapes that the published checker gives to terms, and instances of rules by their shapes.

use super::Reading;
use super::term::{Operator, Published, Term};
use super::translate::{Hint, Translation};
use crate::rules::verify::split_mix;
use crate::rules::{Example, Value};
use eutectic_ir::Name;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Where a split of `term` along `axis` cuts it: the two parts of the uppermost join on that axis, and along which of
/// their axes their sizes count. `None` when no join below reaches that axis.
pub(super) fn cut(term: &Term, axis: usize) -> Option<(&Term, &Term, usize)> {
    let Term::Call(operator, args) = term else { return None };
    match operator {
        Operator::Concat { axis: joined, .. } if *joined == axis => Some((&args[0], &args[1], axis)),
        Operator::Unary(_) | Operator::Elementwise(_) | Operator::Concat { .. } => {
            args.iter().find_map(|arg| cut(arg, axis))
        }
        // Columns of a product are those of its right factor, all other axes those of its left factor. The joins below
        // say how many axes there are.
        Operator::MatMul => {
            let is_last = |term: &Term| n_axes(term).is_some_and(|rank| rank == axis + 1);
            let is_column = args.iter().any(is_last);
            cut(&args[usize::from(is_column)], axis)
        }
        Operator::Conv { .. } => match axis {
            0 => cut(&args[0], 0),
            1 => cut(&args[1], 0),
            _ => None,
        },
        Operator::Split { .. } | Operator::Part(_) => None,
    }
}

fn n_axes(term: &Term) -> Option<usize> {
    match term {
        Term::Input(_) => None,
        Term::Call(Operator::Concat { rank, .. }, _) => Some(*rank),
        Term::Call(Operator::Conv { .. }, _) => Some(4),
        Term::Call(_, args) => args.iter().find_map(n_axes),
    }
}

type Shapes = BTreeMap<Name, Vec<usize>>;

/// The shape of `term`, or `None` when the published checker refuses it. On the left side the strict reading admits
/// dense convolutions only.
fn shape(term: &Term, inputs: &Shapes, reading: Reading, is_left: bool) -> Option<Vec<usize>> {
    let (operator, args) = match term {
        Term::Input(name) => return inputs.get(name).cloned(),
        Term::Call(operator, args) => (operator, args),
    };
    let of = |term: &Term| shape(term, inputs, reading, is_left);
    let a = of(&args[0])?;
    match operator {
        Operator::Unary(_) | Operator::Split { .. } => Some(a),
        Operator::Part(index) => {
            let Term::Call(Operator::Split { axis }, whole) = &args[0] else { return None };
            let (first, second, at) = cut(&whole[0], *axis)?;
            let sizes = [of(first)?, of(second)?].map(|shape| shape.get(at).copied());
            let mut part = a;
            *part.get_mut(*axis)? = (*sizes.get(*index)?)?;
            Some(part)
        }
        Operator::Elementwise(_) if reading == Reading::Strict => (a == of(&args[1])?).then_some(a),
        Operator::Elementwise(_) => broadcast(&a, &of(&args[1])?),
        Operator::MatMul => {
            let b = of(&args[1])?;
            let at = a.len().checked_sub(2)?;
            (a.len() == b.len() && a[..at] == b[..at] && a[at + 1] == b[at]).then(|| [&a[..=at], &b[at + 1..]].concat())
        }
        Operator::Concat { axis, rank } => {
            let b = of(&args[1])?;
            let fits = a.len() == *rank && b.len() == *rank && (0..*rank).all(|at| at == *axis || a[at] == b[at]);
            let mut joined = a;
            *joined.get_mut(*axis).filter(|_| fits)? += b[*axis];
            Some(joined)
        }
        Operator::Conv { strides, is_same } => {
            let weights = of(&args[1])?;
            let (&[n, channels, height, width], &[filters, per_group, kernel_height, kernel_width]) =
                (a.as_slice(), weights.as_slice())
            else {
                return None;
            };
            let group = channels.checked_div(per_group).filter(|group| *group > 0 && group * per_group == channels)?;
            let is_admitted = filters.is_multiple_of(group) && (group == 1 || !is_left || reading == Reading::Liberal);
            let size = |size: usize, kernel: usize, stride: usize| match (is_same, size, kernel) {
                (_, 0, _) | (_, _, 0) => None,
                (true, ..) => Some(size),
                (false, ..) => Some(size.checked_sub(kernel)? / stride + 1),
            };
            let [down, right] = *strides;
            is_admitted.then_some(vec![
                n,
                filters,
                size(height, kernel_height, down)?,
                size(width, kernel_width, right)?,
            ])
        }
    }
}

fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], at: usize| (at + shape.len()).checked_sub(rank).map_or(1, |at| shape[at]);
    let one = |at: usize| match (size(a, at), size(b, at)) {
        (x, y) if x == y || y == 1 => Some(x),
        (1, y) => Some(y),
        _ => None,
    };
    (0..rank).map(one).collect()
}

/// Up to `n` instances that the published checker admits on both sides, small ones first, each as an `example` for the
/// translated rule. They are spread over the ways in which sizes of the inputs can be equal, 1 or 0; those of which the
/// sides have different shapes come before all others.
pub fn instances(
    rule: &Published,
    translation: &Translation,
    reading: Reading,
    n: usize,
    seed: u64,
) -> Vec<Vec<Example>> {
    let mut random = Random(seed);
    let inputs = rule.inputs();
    // The smallest of each kind.
    let mut found: BTreeMap<(Kind, bool), (bool, usize, Vec<Vec<usize>>)> = BTreeMap::new();
    const ATTEMPTS: usize = 60_000;
    for _ in 0..ATTEMPTS {
        let drawn = draw(rule, &inputs, reading, &mut random);
        let sides = |(left, right): &(Term, Term)| {
            Some((shape(left, &drawn, reading, true)?, shape(right, &drawn, reading, false)?))
        };
        let Some(results) = rule.outputs.iter().map(sides).collect::<Option<Vec<_>>>() else { continue };
        let is_same = results.iter().all(|(left, right)| left == right);
        // Two empty results tell nothing.
        if is_same && results.iter().all(|(left, _)| left.contains(&0)) {
            continue;
        }
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|name| drawn[*name].clone()).collect();
        // Empty tensors make the least convincing counterexamples, so they count as large.
        let is_empty = shapes.iter().any(|shape| shape.contains(&0));
        let size = shapes.iter().map(|shape| shape.iter().product::<usize>()).sum();
        let sized = (is_empty, size, shapes);
        match found.entry((kind(&sized.2), is_same)) {
            Entry::Vacant(place) => drop(place.insert(sized)),
            Entry::Occupied(mut smallest) if sized < *smallest.get() => drop(smallest.insert(sized)),
            Entry::Occupied(_) => {}
        }
    }
    let mut order: Vec<_> = found
        .into_iter()
        .map(|((_, is_same), sized)| ((is_same, !is_same && sized.0, split_mix(&mut random.0)), sized))
        .collect();
    order.sort();
    order.truncate(n);
    let mut chosen: Vec<_> = order.into_iter().map(|(_, sized)| sized).collect();
    chosen.sort();
    let example = |(.., shapes): (bool, usize, Vec<Vec<usize>>)| {
        let shapes: Shapes = inputs.iter().map(|name| (*name).clone()).zip(shapes).collect();
        hints(translation, shapes, reading)
    };
    chosen.into_iter().filter_map(example).collect()
}

/// Choices that `seed` determines.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        (split_mix(&mut self.0) % n.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick(&mut self, items: &[usize]) -> usize {
        items[self.below(items.len())]
    }
}

type Kind = Vec<usize>;

/// Which sizes of one axis, counted from the last, are equal to each other, 1 or 0.
fn kind(shapes: &[Vec<usize>]) -> Kind {
    let sizes = || shapes.iter().flat_map(|shape| shape.iter().rev().enumerate());
    let first = |axis: usize, size: usize| {
        sizes().position(|(other, found)| other == axis && *found == size).map_or(0, |at| at + 2)
    };
    sizes().map(|(axis, &size)| if size < 2 { size } else { first(axis, size) }).collect()
}

fn draw(rule: &Published, inputs: &[&Name], reading: Reading, random: &mut Random) -> Shapes {
    let mut rank = None;
    let mut has_products = false;
    for (left, right) in &rule.outputs {
        rank = rank.or_else(|| n_axes(left)).or_else(|| n_axes(right));
        left.each_operator(&mut |operator| has_products |= operator == Operator::MatMul);
    }
    let is_fixed = rank.is_some();
    let rank = rank.unwrap_or_else(|| if has_products { 2 + random.below(2) } else { random.below(4) });
    let pool = if random.one_in(6) { &[0, 1, 2][..] } else { &[1, 2, 3, 4][..] };
    let palette: Vec<usize> = (0..1 + random.below(3)).map(|_| random.pick(pool)).collect();
    // Along half of the axes all inputs have one size: most operators want that of all axes but one or two.
    let aligned: Vec<Option<usize>> = (0..rank).map(|_| random.one_in(2).then(|| random.pick(&palette))).collect();
    let mut one = || -> Vec<usize> {
        let shape = aligned.iter().map(|size| size.unwrap_or_else(|| random.pick(&palette)));
        let shape: Vec<usize> = shape.collect();
        let drops = !is_fixed && !has_products && reading == Reading::Liberal && random.one_in(4);
        if drops { shape[random.below(rank + 1)..].to_vec() } else { shape }
    };
    inputs.iter().map(|name| ((*name).clone(), one())).collect()
}

fn hints(translation: &Translation, shapes: Shapes, reading: Reading) -> Option<Vec<Example>> {
    let ints = |items: &[usize]| Value::ints(items.iter().map(|&item| item as i64));
    let of = |term: &Term| shape(term, &shapes, reading, true);
    let mut found: Vec<Example> =
        shapes.iter().map(|(name, shape)| Example { name: name.clone(), value: ints(shape) }).collect();
    for hint in &translation.hints {
        match hint {
            Hint::Conv { label, input, weights, is_same } => {
                let (input, weights) = (of(input)?, of(weights)?);
                let (height, width) = (weights[2], weights[3]);
                let same = [(height - 1) / 2, (width - 1) / 2, height / 2, width / 2];
                let pads = if *is_same { same } else { [0; 4] };
                found.push(Example { name: format!("{label}.pads").into(), value: ints(&pads) });
                if reading == Reading::Liberal {
                    let group = Value::int((input[1] / weights[1]) as i64);
                    found.push(Example { name: format!("{label}.group").into(), value: group });
                }
            }
            Hint::Sizes(name, first, second, at) => {
                let sizes = [of(first)?[*at], of(second)?[*at]];
                found.push(Example { name: name.as_str().into(), value: ints(&sizes) });
            }
        }
    }
    Some(found)
}
