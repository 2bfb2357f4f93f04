//! Strings.

use super::pointwise::{affordable, broadcast, broadcast_all};
use super::re2::full_match;
use crate::attr::{Attr, AttrKind, Attrs};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Broadcast, Contents, Datum, EvalCall, Scalar};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work, sets};
use crate::types::Element;
use bytes::Bytes;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&STRING_CONCAT, &STRING_SPLIT, &STRING_NORMALIZER, &REGEX_FULL_MATCH];

/// Bytes that the strings of one result may take.
const MOST_BYTES: usize = 1 << 30;

const TEXT: &[Element] = &[Element::String];

fn texts<S>(datum: &Datum<S>) -> Result<&[Bytes], Reason> {
    match &datum.contents {
        Contents::Text(elements) => Ok(elements),
        _ => Err(Reason(format!("strings are expected, found {}", datum.element))),
    }
}

fn of_texts<S>(shape: &[usize], elements: Vec<Bytes>) -> Datum<S> {
    Datum { element: Element::String, shape: shape.to_vec(), contents: Contents::Text(elements.into()) }
}

fn utf8(text: &Bytes) -> Result<&str, Reason> {
    std::str::from_utf8(text).map_err(|_| Reason::new("a string is not UTF-8"))
}

static STRING_CONCAT: OpDef = OpDef {
    name: "StringConcat",
    doc: "z = x followed by y",
    versions: &[20],
    inputs: &[Param::required("X", "T"), Param::required("Y", "T")],
    outputs: &[Param::required("Z", "T")],
    types: &[("T", TEXT)],
    infer: broadcast_all,
    eval: eval!(string_concat),
    laws: &[crate::op::Law::Pointwise],
    ..OpDef::BASE
};

fn string_concat<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (x, y) = (call.input(0)?, call.input(1)?);
    let shape = broadcast(&[x, y])?;
    let (left, right) = (texts(x)?, texts(y)?);
    let (from_x, from_y) = (Broadcast::new(&x.shape, &shape), Broadcast::new(&y.shape, &shape));
    // Long strings that broadcast could ask for far more memory than they take themselves.
    let mut room = MOST_BYTES;
    let join = |(i, j): (usize, usize)| {
        let len = left[i].len() + right[j].len();
        room = room.checked_sub(len).ok_or_else(|| Reason::new("the strings are too long to evaluate"))?;
        Ok(Bytes::from([&left[i][..], &right[j][..]].concat()))
    };
    Ok(vec![of_texts(&shape, from_x.offsets().zip(from_y.offsets()).map(join).collect::<Result<_, _>>()?)])
}

static STRING_SPLIT: OpDef = OpDef {
    name: "StringSplit",
    doc: "The parts of each string between delimiters (or white space), filled up with empty ones, and their number",
    versions: &[20],
    inputs: &[Param::required("X", "T1")],
    outputs: &[Param::required("Y", "T2"), Param::required("Z", "T3")],
    attrs: &[AttrDef::optional("delimiter", AttrKind::String), AttrDef::optional("maxsplit", AttrKind::Int)],
    types: &[("T1", TEXT), ("T2", TEXT), ("T3", sets::INT64)],
    infer: |call| {
        most_splits(call.attrs)?;
        let shape = &call.ty(0)?.shape;
        let parts = Fact::new(Element::String, shape.iter().cloned().chain([call.fresh(0)]));
        Ok(vec![Some(parts), Some(Fact::new(Element::Int64, shape.iter().cloned()))])
    },
    eval: eval!(string_split),
    ..OpDef::BASE
};

fn most_splits(attrs: &Attrs) -> Result<usize, Reason> {
    let Some(most) = attrs.int("maxsplit") else { return Ok(usize::MAX) };
    usize::try_from(most).map_err(|_| Reason(format!("attribute `maxsplit` is {most}")))
}

fn string_split<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    let most = most_splits(call.attrs)?;
    let delimiter = match call.attrs.get("delimiter") {
        None => "",
        Some(Attr::String(delimiter)) => delimiter.as_str(),
        Some(_) => return Err(Reason::new("the delimiter is not UTF-8")),
    };
    let split = |text: &Bytes| -> Result<Vec<Bytes>, Reason> {
        let parts: Vec<&str> = match delimiter {
            "" => words(utf8(text)?, most),
            _ => utf8(text)?.splitn(most.saturating_add(1), delimiter).collect(),
        };
        // Parts share the memory of the whole.
        Ok(parts.into_iter().map(|part| text.slice_ref(part.as_bytes())).collect())
    };
    let rows: Vec<Vec<Bytes>> = texts(x)?.iter().map(split).collect::<Result<_, _>>()?;
    let n_parts = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut shape = x.shape.clone();
    shape.push(n_parts);
    affordable(&shape, rows.iter().map(Vec::len).sum())?;
    let counts: Vec<i64> = rows.iter().map(|row| row.len() as i64).collect();
    let filled = |row: Vec<Bytes>| row.into_iter().chain(std::iter::repeat(Bytes::new())).take(n_parts);
    let parts = rows.into_iter().flat_map(filled).collect();
    Ok(vec![of_texts(&shape, parts), Datum::of_i64s(&x.shape, &counts)])
}

/// The words of `text`; after `most` splits the rest stays whole, white space at its end apart.
fn words(text: &str, most: usize) -> Vec<&str> {
    // The separators of files, groups, records and units count as white space for Python, but not for Rust.
    let is_space = |c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
    let (mut rest, mut words) = (text.trim_matches(is_space), Vec::new());
    while !rest.is_empty() {
        let end = if words.len() < most { rest.find(is_space).unwrap_or(rest.len()) } else { rest.len() };
        words.push(&rest[..end]);
        rest = rest[end..].trim_start_matches(is_space);
    }
    words
}

static STRING_NORMALIZER: OpDef = OpDef {
    name: "StringNormalizer",
    doc: "The strings that are no stop words, in lower or upper case when asked for; one empty string when none is left",
    versions: &[10],
    inputs: &[Param::required("X", "tensor(string)")],
    outputs: &[Param::required("Y", "tensor(string)")],
    attrs: &[
        AttrDef::string("case_change_action", "NONE"),
        AttrDef::int("is_case_sensitive", 0),
        AttrDef::optional("locale", AttrKind::String),
        AttrDef::optional("stopwords", AttrKind::Strings),
    ],
    types: &[("tensor(string)", TEXT)],
    infer: infer_normalizer,
    eval: eval!(string_normalizer),
    ..OpDef::BASE
};

#[derive(Clone, Copy, PartialEq)]
enum Case {
    Lower,
    Upper,
    Kept,
}

/// Errors: another action, or a locale whose letters change case in their own way.
fn case_change(attrs: &Attrs) -> Result<Case, Reason> {
    let case = match attrs.string("case_change_action").unwrap_or("NONE") {
        "LOWER" => Case::Lower,
        "UPPER" => Case::Upper,
        "NONE" => Case::Kept,
        other => return Err(Reason(format!("`case_change_action` is `LOWER`, `UPPER` or `NONE`, found `{other}`"))),
    };
    Ok(case)
}

fn stop_words(attrs: &Attrs) -> &[crate::attr::Name] {
    match attrs.get("stopwords") {
        Some(Attr::Strings(words)) => words,
        _ => &[],
    }
}

fn infer_normalizer(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    case_change(call.attrs)?;
    let x = call.ty(0)?;
    let (rows, len) = match x.shape.as_slice() {
        [len] => (None, len),
        [rows, len] if rows.as_known().is_none_or(|rows| rows == 1) => (Some(Dim::known(1)), len),
        _ => return Err(Reason(format!("a vector or a matrix of one row is expected, found {x}"))),
    };
    // What is left is known when nothing is taken away, and something is there.
    let kept = stop_words(call.attrs).is_empty() && len.as_known().is_some_and(|len| len > 0);
    let len = if kept { len.clone() } else { call.fresh(0) };
    Ok(vec![Some(Fact::new(Element::String, rows.into_iter().chain([len])))])
}

fn string_normalizer<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    if !matches!(x.shape[..], [_] | [1, _]) {
        return Err(Reason(format!("a vector or a matrix of one row is expected, found {:?}", x.shape)));
    }
    let case = case_change(call.attrs)?;
    let sensitive = call.attrs.flag("is_case_sensitive");
    let language = call.attrs.string("locale").map(|locale| locale.split(['_', '-', '.']).next().unwrap_or_default());
    // These have a dotless i or letters that keep their dots; all others change case as Unicode says.
    let peculiar = matches!(language, Some("az" | "lt" | "tr"));
    if peculiar && (case != Case::Kept || !sensitive) {
        return Err(Reason(format!("the case rules of `{}` are not evaluated", language.unwrap_or_default())));
    }
    let compared = |text: &str| if sensitive { text.to_owned() } else { text.to_lowercase() };
    let stops: rustc_hash::FxHashSet<String> = stop_words(call.attrs).iter().map(|word| compared(word)).collect();
    let mut kept = Vec::new();
    for text in texts(x)? {
        let word = utf8(text)?;
        if stops.is_empty() || !stops.contains(&compared(word)) {
            kept.push(match case {
                Case::Lower => word.to_lowercase().into(),
                Case::Upper => word.to_uppercase().into(),
                Case::Kept => text.clone(),
            });
        }
    }
    if kept.is_empty() {
        kept.push(Bytes::new());
    }
    let mut shape = x.shape.clone();
    *shape.last_mut().ok_or_else(|| Reason::new("a vector is expected"))? = kept.len();
    Ok(vec![of_texts(&shape, kept)])
}

static REGEX_FULL_MATCH: OpDef = OpDef {
    name: "RegexFullMatch",
    doc: "y = whether the whole string matches a pattern in the syntax of RE2",
    versions: &[20],
    inputs: &[Param::required("X", "T1")],
    outputs: &[Param::required("Y", "T2")],
    attrs: &[AttrDef::optional("pattern", AttrKind::String)],
    types: &[("T1", TEXT), ("T2", sets::BOOL)],
    infer: |call| {
        pattern(call.attrs)?;
        Ok(vec![Some(Fact::new(Element::Bool, call.ty(0)?.shape.iter().cloned()))])
    },
    eval: eval!(regex_full_match),
    work: |call, outputs| Work::pointwise(call, outputs, 0),
    laws: &[crate::op::Law::Pointwise],
    ..OpDef::BASE
};

fn pattern(attrs: &Attrs) -> Result<&str, Reason> {
    attrs.string("pattern").ok_or_else(|| Reason::new("attribute `pattern` is missing, or not UTF-8"))
}

fn regex_full_match<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    let pattern = full_match(pattern(call.attrs)?)?;
    let matches = texts(x)?.iter().map(|text| Ok(pattern.is_match(utf8(text)?.as_bytes())));
    Ok(vec![Datum::of_bool(&x.shape, matches.collect::<Result<_, Reason>>()?)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{EvalError, run_tensors};
    use crate::graph::Op;
    use crate::ops::cases::{infer, infer_outputs};

    fn run(def: &'static OpDef, attrs: &[(&'static str, Attr)], input: &[&str]) -> Result<Datum<f64>, EvalError> {
        let attrs = def.complete(attrs.iter().cloned().collect()).expect("attributes fit");
        let text: Vec<Bytes> = input.iter().map(|text| Bytes::from(text.to_string())).collect();
        let input = of_texts(&[input.len()], text);
        run_tensors(&Op::Builtin(def), &attrs, &[Some(input)], 1).map(|mut outputs| outputs.remove(0))
    }

    fn text(value: &str) -> Attr {
        Attr::String(value.into())
    }

    #[test]
    fn words_are_split_as_often_as_asked() {
        assert_eq!(words(" a  b\u{1f}c ", usize::MAX), ["a", "b", "c"]);
        assert_eq!(words(" a  b  c ", 1), ["a", "b  c"]);
        assert_eq!(words("a  ", 1), ["a"]);
        assert_eq!(words(" a b", 0), ["a b"]);
        assert!(words(" \t", 3).is_empty());
    }

    #[test]
    fn whole_elements_are_stop_words_and_empty_ones_stay() {
        let stop = |word: &str| ("stopwords", Attr::Strings([crate::attr::Name::from(word)].into()));
        let left = |attrs: &[(&'static str, Attr)], input: &[&str]| {
            let found = run(&STRING_NORMALIZER, attrs, input).expect("strings");
            texts(&found).expect("strings").iter().map(|text| utf8(text).expect("UTF-8").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(left(&[stop("MON")], &["mon", "mon day", "", "Tue"]), ["mon day", "", "Tue"]);
        let upper = [stop("MON"), ("is_case_sensitive", Attr::Int(1)), ("case_change_action", text("UPPER"))];
        assert_eq!(left(&upper, &["mon", "MON", "é"]), ["MON", "É"]);
        assert_eq!(left(&[stop("a")], &["a"]), [""]);
        assert_eq!(left(&[], &[]), [""]);
        let turkish = [("locale", text("tr_TR")), ("case_change_action", text("LOWER"))];
        assert!(run(&STRING_NORMALIZER, &turkish, &["I"]).is_err());
    }

    #[test]
    fn long_strings_that_broadcast_are_refused() {
        let long: Bytes = "x".repeat(1 << 20).into();
        let column: Datum<f64> = of_texts(&[2000, 1], vec![long.clone(); 2000]);
        let row = of_texts(&[1, 2000], vec![long; 2000]);
        let inputs = [Some(column), Some(row)];
        assert!(run_tensors(&Op::Builtin(&STRING_CONCAT), &Attrs::new(), &inputs, 1).is_err());
    }

    #[test]
    fn what_depends_on_the_strings_is_not_guessed() {
        assert_eq!(infer_outputs("StringSplit", &[], &["string[n,2]"], 2), "string[n,2,?t.0]; int64[n,2]");
        assert!(infer("StringSplit", &[("maxsplit", Attr::Int(-1))], &["string[2]"]).contains("maxsplit"));
        assert_eq!(infer("StringNormalizer", &[], &["string[1,4]"]), "string[1,4]");
        assert_eq!(infer("StringNormalizer", &[], &["string[n]"]), "string[?t.0]");
        assert!(infer("StringNormalizer", &[], &["string[2,4]"]).contains("one row"));
        assert_eq!(infer("StringConcat", &[], &["string[n,1]", "string[3]"]), "string[n,3]");
        assert!(infer("RegexFullMatch", &[], &["string[2]"]).contains("pattern"));
    }
}
