//! Values of attributes that stand for themselves, and the classes that the values of each attribute fall into.

use eutectic_ir::Attr;

/// One value to draw.
#[derive(Clone, Copy, Debug)]
pub(in crate::rules::verify) enum Choice {
    Int(i64),
    Float(f32),
    Text(&'static str),
}

impl Choice {
    pub(super) fn to_attr(self) -> Attr {
        match self {
            Choice::Int(value) => Attr::Int(value),
            Choice::Float(value) => Attr::Float(value),
            Choice::Text(value) => Attr::String(value.into()),
        }
    }
}

const FLAG: &[Choice] = &[Choice::Int(0), Choice::Int(1)];

/// What is drawn for attribute `name` of operator `op`; nothing when its default stands, or its family draws it.
pub(super) fn choices(op: &str, name: &str) -> &'static [Choice] {
    use Choice::{Float, Int, Text};
    match (op, name) {
        (_, "keepdims" | "ceil_mode" | "count_include_pad" | "noop_with_empty_axes" | "select_last_index") => FLAG,
        (_, "exclusive" | "reverse" | "storage_order") => FLAG,
        ("Attention", "is_causal") => FLAG,
        ("Attention", "left_window_size" | "right_window_size") => &[Int(-1), Int(-1), Int(1)],
        (_, "p") => &[Int(2), Int(1), Int(3)],
        ("Gelu", "approximate") => &[Text("none"), Text("tanh")],
        ("Pad", "mode") => &[Text("constant"), Text("constant"), Text("edge"), Text("reflect"), Text("wrap")],
        ("BatchNormalization", "momentum") => &[Float(0.5), Float(0.75)],
        ("BatchNormalization", "training_mode") => &[Int(0), Int(0), Int(0), Int(1)],
        (_, "stash_type") => &[Int(1), Int(1), Int(11)],
        (_, "alpha") => &[Float(0.5), Float(1.0), Float(0.25), Float(2.0)],
        (_, "beta") => &[Float(0.5), Float(1.0), Float(0.25)],
        (_, "gamma") => &[Float(2.0), Float(1.5)],
        (_, "lambd") => &[Float(0.5), Float(1.0)],
        (_, "softcap") => &[Float(0.0), Float(0.0), Float(4.0)],
        _ => &[],
    }
}

/// The classes that the values of attribute `name` fall into; empty when its values are not told apart.
pub(in crate::rules::verify) fn classes(op: &str, name: &str) -> Vec<&'static str> {
    match name {
        "axis" => vec!["from the start", "from the end"],
        "group" => vec!["1", "several channels each", "one channel each"],
        "strides" | "dilations" => vec!["all 1", "larger"],
        "pads" => vec!["none", "symmetric", "asymmetric"],
        "kernel_shape" => vec!["all 1", "larger"],
        "auto_pad" => vec!["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"],
        "perm" => vec!["identity", "its own inverse", "another"],
        _ => {
            let mut texts = Vec::new();
            for choice in choices(op, name) {
                let text = match choice {
                    Choice::Int(0) => "0",
                    Choice::Int(1) => "1",
                    Choice::Text(text) => text,
                    Choice::Int(_) | Choice::Float(_) => "a number",
                };
                if !texts.contains(&text) {
                    texts.push(text);
                }
            }
            texts
        }
    }
}

/// The class that `value` of attribute `name` falls into; `n_channels` is the number of channels of the first input.
pub(in crate::rules::verify) fn class(
    op: &str,
    name: &str,
    value: &Attr,
    n_channels: Option<i64>,
) -> Option<&'static str> {
    let ones = |values: &[i64]| if values.iter().all(|&value| value == 1) { "all 1" } else { "larger" };
    Some(match (name, value) {
        ("axis", Attr::Int(axis)) => ["from the start", "from the end"][usize::from(*axis < 0)],
        ("group", Attr::Int(1)) => "1",
        ("group", Attr::Int(group)) if n_channels == Some(*group) => "one channel each",
        ("group", _) => "several channels each",
        ("strides" | "dilations" | "kernel_shape", Attr::Ints(values)) => ones(values),
        ("pads", Attr::Ints(pads)) if pads.iter().all(|&pad| pad == 0) => "none",
        ("pads", Attr::Ints(pads)) if pads[..pads.len() / 2] == pads[pads.len() / 2..] => "symmetric",
        ("pads", _) => "asymmetric",
        ("perm", Attr::Ints(perm)) => {
            let image = |axis: i64| usize::try_from(axis).ok().and_then(|at| perm.get(at)).copied();
            let axes = || 0..perm.len() as i64;
            if axes().all(|axis| image(axis) == Some(axis)) {
                "identity"
            } else if axes().all(|axis| image(axis).and_then(image) == Some(axis)) {
                "its own inverse"
            } else {
                "another"
            }
        }
        _ => {
            let text = match value {
                Attr::Int(0) => "0",
                Attr::Int(1) => "1",
                Attr::Int(_) | Attr::Float(_) => "a number",
                Attr::String(text) => classes(op, name).into_iter().find(|class| class == text)?,
                _ => return None,
            };
            classes(op, name).into_iter().find(|class| *class == text)?
        }
    })
}
