//! One call: which treatment its operator gets.

use crate::prime::{LANES, random_of, scramble};
use crate::run::Evaluator;
use crate::value::{Drawn, Value};
use eutectic_ir::eval::{Contents, Datum, EvalError, Scalar, run_call};
use eutectic_ir::graph::Op;
use eutectic_ir::op::{Law, OpDef};
use eutectic_ir::{Attr, Attrs, Reason, ops};
use rustc_hash::FxHasher;
use std::hash::{Hash, Hasher};

/// Operators that move elements and compute nothing: the reference semantics moves residues as it moves numbers.
const MOVES: &[&str] = &[
    "CenterCropPad",
    "Compress",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "DepthToSpace",
    "Dropout",
    "Expand",
    "EyeLike",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Identity",
    "OneHot",
    "Pad",
    "Reshape",
    "ReverseSequence",
    "ScatterElements",
    "ScatterND",
    "Shape",
    "Size",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "TensorScatter",
    "Tile",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Where",
];

/// Constants with more elements than this are not also kept in single precision once they are drawn.
const MOST_NUMBERS: usize = 1 << 22;

/// The operands of a call.
pub(crate) struct Arguments<'a>(pub(crate) &'a [Option<Value>]);

impl Arguments<'_> {
    /// Operand `index`. Errors: left out.
    pub(crate) fn value(&self, index: usize) -> Result<&Value, Reason> {
        self.0.get(index).and_then(Option::as_ref).ok_or_else(|| Reason(format!("input {index} is missing")))
    }

    /// Operand `index`, drawn. Errors: left out.
    pub(crate) fn drawn(&self, index: usize) -> Result<Drawn, Reason> {
        self.value(index).map(Value::drawn)
    }

    /// Operand `index`, drawn, when it is given.
    pub(crate) fn given(&self, index: usize) -> Option<Drawn> {
        self.0.get(index)?.as_ref().map(Value::drawn)
    }

    pub(crate) fn all_drawn(&self) -> Vec<Drawn> {
        self.0.iter().flatten().map(Value::drawn).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().flatten().count()
    }

    fn degree(&self) -> u64 {
        let degree = |value: &Value| match value {
            Value::Numbers(_) => 1,
            Value::Drawn(drawn) => drawn.degree,
        };
        self.0.iter().flatten().map(degree).max().unwrap_or(0)
    }
}

/// A call of `op` in the carrier `S` of the reference semantics. Errors: it does not run, or a result is no tensor.
pub(crate) fn reference<S: Scalar>(
    op: &Op,
    attrs: &Attrs,
    inputs: &[Option<Datum<S>>],
    n_outputs: usize,
    round: bool,
) -> Result<Vec<Datum<S>>, Reason> {
    use eutectic_ir::value::Value as Any;
    let inputs: Vec<Option<Any<Datum<S>>>> = inputs.iter().map(|input| input.clone().map(Any::Tensor)).collect();
    let results = run_call(op, attrs, &inputs, &[], n_outputs, round).map_err(|error| error.reason)?;
    let tensor = |value: Any<Datum<S>>| value.into_tensor().ok_or_else(|| Reason::new("a result is no tensor"));
    results.into_iter().take(n_outputs.max(1)).map(tensor).collect()
}

/// The declaration of the standard operator `name`.
pub(crate) fn standard(name: &'static str) -> Result<&'static OpDef, Reason> {
    ops::lookup("", name).ok_or_else(|| Reason(format!("there is no operator {name}")))
}

/// Complete attributes of `def` from those given.
pub(crate) fn attributes(def: &OpDef, given: &[(&str, Attr)]) -> Result<Attrs, Reason> {
    let given: Attrs = given.iter().map(|(name, value)| (*name, value.clone())).collect();
    def.complete(given).map_err(|errors| Reason(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")))
}

pub(crate) fn name_key(name: &str) -> u64 {
    name.bytes().fold(0x6A09_E667_F3BC_C908, |key, byte| scramble(key ^ u64::from(byte)))
}

pub(crate) fn attributes_key(attrs: &Attrs) -> u64 {
    let mut hasher = FxHasher::default();
    attrs.hash(&mut hasher);
    scramble(hasher.finish())
}

impl Evaluator<'_> {
    /// The results of a call. Errors: the operator has no treatment, and why.
    pub(crate) fn call(
        &mut self,
        op: &Op,
        attrs: &Attrs,
        inputs: &[Option<Value>],
        n_outputs: usize,
    ) -> Result<Vec<Value>, Reason> {
        match op {
            Op::Builtin(def) => self.builtin(def, attrs, inputs, n_outputs),
            Op::Function(function) => {
                let given: Option<Vec<Value>> = inputs.iter().cloned().collect();
                let given = given.ok_or_else(|| Reason::new("a function is called with an input left out"))?;
                let inside = |error: EvalError| Reason(format!("in `{}`: {error}", function.name));
                self.graph(&function.body, &given, attrs).map_err(inside)
            }
            Op::Opaque(_) => Err(Reason::new("the operator is not known")),
        }
    }

    fn builtin(
        &mut self,
        def: &'static OpDef,
        attrs: &Attrs,
        inputs: &[Option<Value>],
        n_outputs: usize,
    ) -> Result<Vec<Value>, Reason> {
        if def.has(Law::Impure) {
            return Err(Reason::new("the operator is random"));
        }
        if def.attrs.iter().any(|attr| attr.kind == eutectic_ir::attr::AttrKind::Graph) {
            return Err(Reason::new("control flow is not evaluated in a field"));
        }
        let given = || inputs.iter().flatten();
        let is_untouched = given().all(|value| matches!(value, Value::Numbers(_)));
        let has_reals = given().any(|value| match value {
            Value::Numbers(numbers) => numbers.element.is_real(),
            Value::Drawn(drawn) => drawn.is_real(),
        });
        let in_numbers = || {
            let numbers: Vec<Option<Datum<f32>>> =
                inputs.iter().map(|input| input.as_ref().and_then(|value| value.numbers().cloned())).collect();
            reference::<f32>(&Op::Builtin(def), attrs, &numbers, n_outputs, true)
        };
        if is_untouched && (!has_reals || moves(def, attrs)) {
            return Ok(in_numbers()?.into_iter().map(Value::Numbers).collect());
        }
        let count = |value: &Value| value.numbers().map(Datum::count);
        let are_numbers = given().all(|value| count(value).is_some_and(|count| count <= MOST_NUMBERS));
        // The products of large matrices are slow here, and nothing is chosen by them.
        let numbers = if are_numbers && !is_product(def) { in_numbers().ok() } else { None };
        if let Some(numbers) = numbers.as_ref().filter(|numbers| numbers.iter().all(|result| !result.element.is_real()))
        {
            return Ok(numbers.iter().cloned().map(Value::Numbers).collect());
        }
        let mut results = self.treat(def, attrs, &Arguments(inputs), n_outputs)?;
        for (result, numbers) in results.iter_mut().zip(numbers.into_iter().flatten()) {
            match result {
                Value::Drawn(drawn) if numbers.element.is_real() => drawn.numbers = Some(numbers),
                other => *other = Value::Numbers(numbers),
            }
        }
        Ok(results)
    }

    fn treat(
        &mut self,
        def: &'static OpDef,
        attrs: &Attrs,
        arguments: &Arguments,
        n_outputs: usize,
    ) -> Result<Vec<Value>, Reason> {
        let one = |drawn: Drawn| Ok(vec![drawn.into()]);
        let is_wanted = |at: usize| n_outputs > at;
        if moves(def, attrs) || !arguments.0.iter().flatten().any(|value| value.drawn_is_real()) {
            return moved(
                def,
                attrs,
                &arguments.0.iter().map(|input| input.as_ref().map(Value::drawn)).collect::<Vec<_>>(),
                n_outputs,
                arguments.degree(),
            );
        }
        match def.name {
            "MatMul" => return one(crate::windows::matmul(arguments.value(0)?, arguments.value(1)?)?),
            "Gemm" => return one(crate::windows::gemm(attrs, arguments)?),
            "Conv" => return one(crate::windows::convolution(attrs, arguments)?),
            "AveragePool" => return one(crate::windows::average_pool(attrs, &arguments.drawn(0)?)?),
            "MaxPool" if !is_wanted(1) => return one(crate::windows::max_pool(attrs, &arguments.drawn(0)?)?),
            "GlobalAveragePool" => return one(crate::windows::global(&arguments.drawn(0)?, crate::reduce::mean)?),
            "GlobalMaxPool" => return one(crate::windows::global(&arguments.drawn(0)?, crate::reduce::largest)?),
            "ConvTranspose" | "Einsum" | "RotaryEmbedding" | "CumSum" => {
                return linear(def, attrs, arguments, n_outputs);
            }
            "Attention" => return self.attention(attrs, arguments, n_outputs),
            _ => {}
        }
        if let Some(result) = self.reduction(def, attrs, arguments)? {
            return one(result);
        }
        if let Some(results) = self.normalization(def, attrs, arguments, n_outputs)? {
            return Ok(results);
        }
        match self.pointwise(def, attrs, arguments)? {
            Some(result) => Ok(vec![result]),
            None => self.unknown(def, attrs, arguments, n_outputs),
        }
    }

    /// A pseudo-random function of all operands together.
    fn unknown(
        &mut self,
        def: &'static OpDef,
        attrs: &Attrs,
        arguments: &Arguments,
        n_outputs: usize,
    ) -> Result<Vec<Value>, Reason> {
        let drawn: Vec<Option<Drawn>> = arguments.0.iter().map(|input| input.as_ref().map(Value::drawn)).collect();
        // The reference semantics of residues means nothing, but gives the shapes, and whole numbers that are in range.
        let first: Vec<Option<Datum<f64>>> =
            drawn.iter().map(|drawn| drawn.as_ref().map(|drawn| drawn.lanes[0].clone())).collect();
        let shown = reference::<f64>(&Op::Builtin(def), attrs, &first, n_outputs, false)?;
        self.functions.insert(def.name);
        let mut key = name_key(def.name) ^ attributes_key(attrs);
        for operand in &drawn {
            key = scramble(key ^ operand.as_ref().map_or(1, key_of));
        }
        let mut results = Vec::with_capacity(shown.len());
        for (at, result) in shown.into_iter().enumerate() {
            if !result.element.is_real() {
                results.push(Value::Numbers(known(&result)?));
                continue;
            }
            let mut lanes: [Vec<f64>; LANES] = std::array::from_fn(|_| Vec::with_capacity(result.count()));
            for element in 0..result.count() {
                let key = scramble(key ^ scramble((at as u64) << 48 | element as u64));
                lanes.iter_mut().zip(random_of(key, std::iter::empty())).for_each(|(lane, drawn)| lane.push(drawn));
            }
            let lanes = lanes.map(|lane| Datum::of_real(result.element, &result.shape, lane));
            results.push(Drawn { lanes, degree: 1, numbers: None }.into());
        }
        Ok(results)
    }
}

impl Value {
    pub(crate) fn drawn_is_real(&self) -> bool {
        match self {
            Value::Numbers(numbers) => numbers.element.is_real(),
            Value::Drawn(drawn) => drawn.is_real(),
        }
    }
}

fn moves(def: &OpDef, attrs: &Attrs) -> bool {
    MOVES.contains(&def.name)
        && def.domain.is_empty()
        && attrs.string("reduction").is_none_or(|reduction| reduction == "none")
        || def.name == "Resize" && attrs.string("mode") == Some("nearest")
}

fn is_product(def: &OpDef) -> bool {
    ["MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum", "Attention"].contains(&def.name)
}

/// Whatever the operand holds, as one word.
fn key_of(operand: &Drawn) -> u64 {
    let mut key = operand.shape().iter().fold(2, |key, &size| scramble(key ^ size as u64));
    for lane in &operand.lanes {
        key = match &lane.contents {
            Contents::Real(all) => all.iter().fold(key, |key, &x| scramble(key ^ (x + 0.0).to_bits())),
            Contents::Int(all) => all.iter().fold(key, |key, &x| scramble(key ^ x as u64)),
            Contents::Bool(all) => all.iter().fold(key, |key, &x| scramble(key ^ u64::from(x))),
            Contents::Text(all) => all.iter().fold(key, |key, x| scramble(key ^ name_key(&String::from_utf8_lossy(x)))),
            Contents::Complex(all) => all.iter().flatten().fold(key, |key, x| scramble(key ^ x.to_bits())),
        };
    }
    key
}

/// Integers, truth values and texts, which are the same in every carrier.
fn known(datum: &Datum<f64>) -> Result<Datum<f32>, Reason> {
    let contents = match &datum.contents {
        Contents::Int(all) => Contents::Int(all.clone()),
        Contents::Bool(all) => Contents::Bool(all.clone()),
        Contents::Text(all) => Contents::Text(all.clone()),
        _ => return Err(Reason::new("residues are no numbers")),
    };
    Ok(Datum { element: datum.element, shape: datum.shape.clone(), contents })
}

/// The reference semantics in every lane, residues taken as numbers.
pub(crate) fn moved(
    def: &'static OpDef,
    attrs: &Attrs,
    inputs: &[Option<Drawn>],
    n_outputs: usize,
    degree: u64,
) -> Result<Vec<Value>, Reason> {
    let mut lanes = Vec::with_capacity(LANES);
    for lane in 0..LANES {
        let inputs: Vec<Option<Datum<f64>>> =
            inputs.iter().map(|input| input.as_ref().map(|drawn| drawn.lanes[lane].clone())).collect();
        lanes.push(reference::<f64>(&Op::Builtin(def), attrs, &inputs, n_outputs, false)?.into_iter());
    }
    let mut results = Vec::new();
    while let Some(first) = lanes[0].next() {
        let mut all = vec![first];
        all.extend(lanes[1..].iter_mut().filter_map(Iterator::next));
        let all: [Datum<f64>; LANES] = all.try_into().map_err(|_| Reason::new("lanes have different results"))?;
        let same = |a: &Contents<f64>, b: &Contents<f64>| match (a, b) {
            (Contents::Int(a), Contents::Int(b)) => a[..] == b[..],
            (Contents::Bool(a), Contents::Bool(b)) => a[..] == b[..],
            (Contents::Text(a), Contents::Text(b)) => a[..] == b[..],
            _ => false,
        };
        let are_same = all.iter().all(|lane| same(&lane.contents, &all[0].contents));
        results.push(match are_same {
            true => Value::Numbers(known(&all[0])?),
            false => Drawn { lanes: all, degree, numbers: None }.into(),
        });
    }
    Ok(results)
}

/// The same for an operator whose results are sums of products of two residues: exact in doubles, and reduced here. Errors: a sum
/// that a double does not hold.
fn linear(def: &'static OpDef, attrs: &Attrs, arguments: &Arguments, n_outputs: usize) -> Result<Vec<Value>, Reason> {
    let inputs: Vec<Option<Drawn>> = arguments.0.iter().map(|input| input.as_ref().map(Value::drawn)).collect();
    let degree = inputs.iter().flatten().fold(0u64, |degree, input| degree.saturating_add(input.degree));
    moved(def, attrs, &inputs, n_outputs, degree)?.iter().map(|value| reduced(value, degree)).collect()
}

/// Sums in place of residues, reduced. Errors: a sum that a double does not hold.
pub(crate) fn reduced(value: &Value, degree: u64) -> Result<Value, Reason> {
    const MOST: f64 = (1u64 << 52) as f64;
    match value {
        Value::Drawn(drawn) if drawn.is_real() => {
            if drawn.residues()?.iter().any(|lane| lane.iter().any(|x| x.is_finite() && x.abs() >= MOST)) {
                return Err(Reason::new("a sum is too long for exact arithmetic"));
            }
            drawn.map(degree, |prime, x| prime.reduce(x)).map(Value::Drawn)
        }
        other => Ok(other.clone()),
    }
}

/// The operator `name` on residues as the reference semantics moves or adds them, reduced.
pub(crate) fn apply(name: &'static str, given: &[(&str, Attr)], inputs: &[Option<Drawn>]) -> Result<Drawn, Reason> {
    let def = standard(name)?;
    let degree = inputs.iter().flatten().map(|input| input.degree).max().unwrap_or(0);
    let results = moved(def, &attributes(def, given)?, inputs, 1, degree)?;
    match results.first().map(|value| reduced(value, degree)).transpose()? {
        Some(Value::Drawn(drawn)) => Ok(drawn),
        _ => Err(Reason(format!("{name} gives no residues"))),
    }
}

/// Whole numbers as an operand.
pub(crate) fn ints(values: &[i64]) -> Drawn {
    let lanes = std::array::from_fn(|_| Datum::of_i64s(&[values.len()], values));
    Drawn { lanes, degree: 0, numbers: None }
}
