//! Models without their weights: each large weight becomes a recipe of the same mean and spread.
//!
//! A real-sized model is then a page of text that anybody may share, and that runs and rewrites like the original.

use crate::ir::Model;
use crate::ir::graph::{Def, Graph, ValueId};
use crate::ir::tensor::{Data, Seed, Tensor};

/// Weights with more elements than this are replaced; smaller ones may be shapes, axes and scales, and stay.
const LARGEST_KEPT: usize = 16;

/// Replaces every large real weight of the main graph by seeded contents in the range mean ± sqrt(3) deviations, cut to
/// the range that the weight had, or by one repeated element when it has no spread. The number of weights replaced.
pub fn seed_weights(graph: &mut Graph) -> usize {
    let large: Vec<(ValueId, Tensor)> = graph
        .values()
        .filter_map(|(id, value)| match value.def() {
            Def::Weight(tensor) if tensor.count() > LARGEST_KEPT && is_written_out(tensor) => {
                Some((id, tensor.clone()))
            }
            _ => None,
        })
        .collect();
    let mut n_replaced = 0;
    for (at, (id, tensor)) in large.into_iter().enumerate() {
        let Some(seeded) = recipe(&tensor, at as u64 + 1) else { continue };
        // Refused for results and captures only, and this is a weight.
        if graph.set_weight(id, seeded).is_ok() {
            n_replaced += 1;
        }
    }
    n_replaced
}

fn is_written_out(tensor: &Tensor) -> bool {
    matches!(tensor.data(), Data::Bytes(_) | Data::Stored(_))
}

/// A copy of `model` without what identifies where it was made: documentation and metadata.
pub fn anonymous(model: &Model) -> Model {
    let mut copy = model.clone();
    copy.doc = Default::default();
    copy.metadata.clear();
    copy.graph.doc = Default::default();
    copy.graph.metadata.clear();
    let ids: Vec<_> = copy.graph.nodes().map(|(id, _)| id).collect();
    for id in ids {
        copy.graph.node_mut(id).metadata.clear();
    }
    copy
}

fn recipe(tensor: &Tensor, seed: u64) -> Option<Tensor> {
    if !tensor.element().is_real() {
        return None;
    }
    let values = tensor.to_f64s()?;
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !(mean.is_finite() && deviation.is_finite()) {
        return None;
    }
    if low == high {
        return Tensor::full(tensor.element(), tensor.shape(), low).ok();
    }
    let spread = 3f64.sqrt() * deviation;
    // Few digits keep the text short; the range is a recipe, not a measurement.
    let short = |value: f64| format!("{value:.3e}").parse::<f64>().unwrap_or(value);
    let seed = Seed { seed, low: short((mean - spread).max(low)), high: short((mean + spread).min(high)) };
    Tensor::seeded(tensor.element(), tensor.shape(), seed).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Element;

    #[test]
    fn a_recipe_keeps_mean_spread_and_sign() {
        let values: Vec<f32> = (0..1000).map(|i| 0.5 + (i as f32) / 1000.0).collect();
        let seeded = recipe(&Tensor::vector(&values), 3).expect("real");
        let drawn = seeded.to_f64s().expect("real");
        let mean = drawn.iter().sum::<f64>() / 1000.0;
        assert!((mean - 1.0).abs() < 0.05, "{mean}");
        assert!(drawn.iter().all(|value| (0.5..1.5).contains(value)));
    }

    #[test]
    fn a_weight_without_spread_stays_one_number() {
        let ones = Tensor::from_vec(&[100], vec![1.0f32; 100]).expect("small");
        let seeded = recipe(&ones, 1).expect("real");
        assert_eq!(seeded, Tensor::full(Element::Float, &[100], 1.0).expect("small"));
        assert!(matches!(seeded.data(), Data::Splat(_)));
    }
}
