//! Counting n-grams.

use super::pointwise::affordable;
use crate::attr::{Attr, AttrKind, Attrs};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Contents, Datum, EvalCall, Scalar};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work};
use crate::types::Element;
use rustc_hash::FxHashMap;
use std::hash::Hash;
use std::ops::Range;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&TF_IDF_VECTORIZER];

static TF_IDF_VECTORIZER: OpDef = OpDef {
    name: "TfIdfVectorizer",
    doc: "How often each n-gram of a pool occurs in each row, perhaps with gaps, counted once or often, and weighted",
    versions: &[9],
    inputs: &[Param::required("X", "T")],
    outputs: &[Param::required("Y", "T1")],
    attrs: &[
        AttrDef::required("max_gram_length", AttrKind::Int),
        AttrDef::required("max_skip_count", AttrKind::Int),
        AttrDef::required("min_gram_length", AttrKind::Int),
        AttrDef::required("mode", AttrKind::String),
        AttrDef::required("ngram_counts", AttrKind::Ints),
        AttrDef::required("ngram_indexes", AttrKind::Ints),
        AttrDef::optional("pool_int64s", AttrKind::Ints),
        AttrDef::optional("pool_strings", AttrKind::Strings),
        AttrDef::optional("weights", AttrKind::Floats),
    ],
    types: &[("T", &[Element::String, Element::Int32, Element::Int64]), ("T1", &[Element::Float])],
    infer: infer_tf_idf,
    eval: eval!(tf_idf),
    // One look-up for each start of an n-gram of each length and gap.
    work: |call, outputs| {
        let setup = Setup::read(call.attrs).ok()?;
        let n_lengths = i64::try_from(setup.lengths.len()).ok()?;
        let n_gaps = i64::try_from(setup.max_skip).ok()?.checked_add(1)?;
        let flops = call.ty(0).ok()?.count()?.mul(&Dim::known(n_lengths))?.mul(&Dim::known(n_gaps))?;
        Work::streaming(call, outputs, flops)
    },
    ..OpDef::BASE
};

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// Counts.
    Tf,
    /// Weights of what occurs.
    Idf,
    /// Counts times weights.
    TfIdf,
}

/// The attributes, checked: every n-gram of the pool has a place in the output.
struct Setup<'a> {
    mode: Mode,
    /// Lengths of the n-grams that are counted.
    lengths: Range<usize>,
    max_skip: usize,
    pool: Pool<'a>,
    /// For each length from 1 on, where its n-grams stand in the pool.
    parts: Vec<Range<usize>>,
    /// For each n-gram of the pool, in order: its place in the output, and its weight.
    places: Vec<(usize, f64)>,
    n_places: usize,
}

enum Pool<'a> {
    Ints(&'a [i64]),
    Texts(Vec<&'a [u8]>),
}

impl<'a> Setup<'a> {
    fn read(attrs: &'a Attrs) -> Result<Self, Reason> {
        let mode = match attrs.string("mode").unwrap_or_default() {
            "TF" => Mode::Tf,
            "IDF" => Mode::Idf,
            "TFIDF" => Mode::TfIdf,
            other => return Err(Reason(format!("`mode` is `TF`, `IDF` or `TFIDF`, found `{other}`"))),
        };
        let size = |name: &str| {
            let value = attrs.int(name).unwrap_or(-1);
            usize::try_from(value).map_err(|_| Reason(format!("attribute `{name}` is {value}")))
        };
        let (shortest, longest) = (size("min_gram_length")?, size("max_gram_length")?);
        if shortest < 1 || longest < shortest {
            return Err(Reason(format!("n-grams of {shortest} to {longest} elements")));
        }
        let pool = match (attrs.ints("pool_int64s"), attrs.get("pool_strings")) {
            (Some(pool), None) => Pool::Ints(pool),
            (None, Some(Attr::Strings(pool))) => Pool::Texts(pool.iter().map(|text| text.as_bytes()).collect()),
            _ => return Err(Reason::new("exactly one of `pool_int64s` and `pool_strings` is given")),
        };
        let n_items = match &pool {
            Pool::Ints(pool) => pool.len(),
            Pool::Texts(pool) => pool.len(),
        };
        let parts = parts(attrs.ints("ngram_counts").unwrap_or_default(), n_items)?;
        let n_grams: usize = parts.iter().enumerate().map(|(at, part)| part.len() / (at + 1)).sum();
        let place = |&index: &i64| {
            let place = usize::try_from(index).ok().filter(|&place| place < i64::MAX as usize);
            place.ok_or_else(|| Reason(format!("attribute `ngram_indexes` has {index}")))
        };
        let places: Vec<usize> =
            attrs.ints("ngram_indexes").unwrap_or_default().iter().map(place).collect::<Result<_, _>>()?;
        let n_places = places.iter().max().map_or(0, |largest| largest + 1);
        if places.len() < n_grams || n_places == 0 {
            return Err(Reason(format!("{} places for the {n_grams} n-grams of the pool", places.len())));
        }
        let weights = match attrs.get("weights") {
            Some(Attr::Floats(weights)) if weights.len() != places.len() && !weights.is_empty() => {
                return Err(Reason(format!("{} weights for {} n-grams", weights.len(), places.len())));
            }
            Some(Attr::Floats(weights)) if mode != Mode::Tf => &weights[..],
            _ => &[],
        };
        let weight = |at: usize| weights.get(at).map_or(1.0, |&weight| f64::from(weight));
        let places = places.into_iter().enumerate().map(|(at, place)| (place, weight(at))).collect();
        let lengths = shortest..longest.min(parts.len()) + 1;
        Ok(Self { mode, lengths, max_skip: size("max_skip_count")?, pool, parts, places, n_places })
    }
}

/// Where the n-grams of each length stand. Errors: not ascending, beyond the pool, or not whole n-grams.
fn parts(starts: &[i64], n_items: usize) -> Result<Vec<Range<usize>>, Reason> {
    let unsound = || Reason::new("attribute `ngram_counts` does not divide the pool into n-grams");
    let start = |&start: &i64| usize::try_from(start).map_err(|_| unsound());
    let mut bounds: Vec<usize> = starts.iter().map(start).collect::<Result<_, _>>()?;
    bounds.push(n_items);
    let part = |(at, bounds): (usize, &[usize])| {
        let whole = bounds[0] <= bounds[1] && bounds[1] <= n_items && (bounds[1] - bounds[0]) % (at + 1) == 0;
        if whole { Ok(bounds[0]..bounds[1]) } else { Err(unsound()) }
    };
    bounds.windows(2).enumerate().map(part).collect()
}

fn infer_tf_idf(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let setup = Setup::read(call.attrs)?;
    let x = call.ty(0)?;
    if matches!(setup.pool, Pool::Texts(_)) != (x.element == Element::String) {
        return Err(Reason(format!("the pool holds elements of another kind than {}", x.element)));
    }
    let mut shape = match x.shape.as_slice() {
        [] | [_] => Vec::new(),
        [n_rows, _] => vec![n_rows.clone()],
        _ => return Err(Reason(format!("a vector or a matrix is expected, found {x}"))),
    };
    shape.push(setup.n_places.into());
    Ok(vec![Some(Fact::new(Element::Float, shape))])
}

fn tf_idf<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let setup = Setup::read(call.attrs)?;
    let x = call.input(0)?;
    let (n_rows, shape) = match x.shape[..] {
        [] | [_] => (1, vec![setup.n_places]),
        [n_rows, _] => (n_rows, vec![n_rows, setup.n_places]),
        _ => return Err(Reason(format!("a vector or a matrix is expected, found {:?}", x.shape))),
    };
    affordable(&shape, x.count())?;
    let values = match (&setup.pool, &x.contents) {
        (Pool::Ints(pool), Contents::Int(elements)) => {
            let pool: Vec<i128> = pool.iter().map(|&item| item.into()).collect();
            weighted(&setup, &pool, elements, n_rows)
        }
        (Pool::Texts(pool), Contents::Text(elements)) => {
            let elements: Vec<&[u8]> = elements.iter().map(|text| &text[..]).collect();
            weighted(&setup, pool, &elements, n_rows)
        }
        _ => return Err(Reason(format!("the pool holds elements of another kind than {}", x.element))),
    };
    Ok(vec![Datum::of_real(Element::Float, &shape, values.into_iter().map(S::from_f64).collect())])
}

fn weighted<T: Copy + Eq + Hash>(setup: &Setup, pool: &[T], elements: &[T], n_rows: usize) -> Vec<f64> {
    let trie = Trie::new(setup, pool);
    let row_len = elements.len().checked_div(n_rows).unwrap_or(0);
    let mut values = vec![0.0; n_rows * setup.n_places];
    for row in 0..n_rows {
        let mut counts: FxHashMap<usize, f64> = FxHashMap::default();
        trie.count(setup, &elements[row * row_len..(row + 1) * row_len], &mut counts);
        for (gram, count) in counts {
            let (place, weight) = setup.places[gram];
            let count = if setup.mode == Mode::Idf { 1.0 } else { count };
            values[row * setup.n_places + place] += count * weight;
        }
    }
    values
}

/// The n-grams that are counted, by their elements from the first on.
struct Trie<T> {
    next: FxHashMap<(usize, T), usize>,
    /// For each node, which n-gram of the pool ends there.
    gram: Vec<Option<usize>>,
}

impl<T: Copy + Eq + Hash> Trie<T> {
    fn new(setup: &Setup, pool: &[T]) -> Self {
        let mut trie = Self { next: FxHashMap::default(), gram: vec![None] };
        let mut first_gram = 0;
        for (at, part) in setup.parts.iter().enumerate() {
            let grams = pool[part.clone()].chunks(at + 1);
            if setup.lengths.contains(&(at + 1)) {
                for (gram, items) in grams.clone().enumerate() {
                    let mut node = 0;
                    for &item in items {
                        node = *trie.next.entry((node, item)).or_insert_with(|| {
                            trie.gram.push(None);
                            trie.gram.len() - 1
                        });
                    }
                    trie.gram[node] = Some(first_gram + gram);
                }
            }
            first_gram += grams.len();
        }
        trie
    }

    /// Counts the n-grams of one row. Those of one element have no gaps, so they count once.
    fn count(&self, setup: &Setup, row: &[T], counts: &mut FxHashMap<usize, f64>) {
        // A gap as long as the row leaves no second element.
        for gap in 0..=setup.max_skip.min(row.len()) {
            for start in 0..row.len() {
                let mut node = 0;
                for (at, item) in row[start..].iter().step_by(gap + 1).enumerate() {
                    let Some(&next) = self.next.get(&(node, *item)) else { break };
                    node = next;
                    if let Some(gram) = self.gram[node].filter(|_| at > 0 || gap == 0) {
                        *counts.entry(gram).or_default() += 1.0;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::run_tensors;
    use crate::graph::Op;
    use crate::ops::cases::infer;
    use bytes::Bytes;

    fn attrs(mode: &str, counts: &[i64], indexes: &[i64], weights: &[f32]) -> Vec<(&'static str, Attr)> {
        let pool: Vec<crate::attr::Name> = ["a", "b", "a", "b", "b", "a"].map(Into::into).to_vec();
        vec![
            ("max_gram_length", Attr::Int(2)),
            ("max_skip_count", Attr::Int(i64::MAX)),
            ("min_gram_length", Attr::Int(1)),
            ("mode", Attr::String(mode.into())),
            ("ngram_counts", Attr::Ints(counts.into())),
            ("ngram_indexes", Attr::Ints(indexes.into())),
            ("pool_strings", Attr::Strings(pool.into())),
            ("weights", Attr::Floats(weights.into())),
        ]
    }

    fn run(mode: &str) -> Vec<f64> {
        let attrs = attrs(mode, &[0, 2], &[3, 1, 0, 2], &[2.0, 3.0, 5.0, 7.0]).into_iter().collect();
        let text: Vec<Bytes> = ["a", "b", "c", "a"].map(Bytes::from).to_vec();
        let input = Datum { element: Element::String, shape: vec![4], contents: Contents::Text(text.into()) };
        let outputs = run_tensors::<f64>(&Op::Builtin(&TF_IDF_VECTORIZER), &attrs, &[Some(input)], 1);
        outputs.expect("counts")[0].real().expect("real").to_vec()
    }

    #[test]
    fn weights_belong_to_the_n_grams_and_indexes_place_them() {
        // The n-grams are a, b, ab and ba, the last with a gap; their places are 3, 1, 0 and 2.
        assert_eq!(run("TF"), [1.0, 1.0, 1.0, 2.0]);
        assert_eq!(run("IDF"), [5.0, 3.0, 7.0, 2.0]);
        assert_eq!(run("TFIDF"), [5.0, 3.0, 7.0, 4.0]);
    }

    #[test]
    fn unsound_attributes_are_refused() {
        let infer = |counts: &[i64], indexes: &[i64], weights: &[f32]| {
            infer("TfIdfVectorizer", &attrs("TF", counts, indexes, weights), &["string[n,5]"])
        };
        assert_eq!(infer(&[0, 2], &[0, 1, 2, 9], &[]), "float[n,10]");
        assert!(infer(&[0, 3], &[0, 1, 2, 3], &[]).contains("ngram_counts"));
        assert!(infer(&[4, 2], &[0, 1, 2, 3], &[]).contains("ngram_counts"));
        assert!(infer(&[0, -2], &[0, 1, 2, 3], &[]).contains("ngram_counts"));
        assert!(infer(&[0, 2], &[0, 1, 2], &[]).contains("3 places"));
        assert!(infer(&[0, 2], &[0, 1, 2, i64::MAX], &[]).contains("ngram_indexes"));
        assert!(infer(&[0, 2], &[0, 1, 2, 3], &[1.0]).contains("1 weights"));
    }
}
