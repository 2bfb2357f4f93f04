//! Lower precision of a small trained network, on samples that neither training nor calibration has seen.
//!
//! `tests/models/gratings.onnxtxt` classifies gratings by their direction under noise; `tests/python/train_gratings.py` trains it and
//! describes the samples.

use eutectic::calibrate::calibrate;
use eutectic::certificate::run_on_cpu;
use eutectic::files;
use eutectic::ir::{Element, Model, Tensor};
use eutectic::onnx::Limits;
use eutectic::passes::cse::cse;
use eutectic::passes::dce::dce;
use eutectic::passes::fold::{FoldBudget, fold};
use eutectic::passes::optimize::{Options, optimize};
use eutectic::passes::pass::{Pass, Pipeline};
use eutectic::passes::pipeline::types;
use eutectic::passes::precision::{Autocast, Calibrator, Format, Quantize, Ranges, autocast, quantize};
use eutectic::passes::target::Target;
use std::f64::consts::TAU;
use std::path::Path;

const CLASSES: usize = 8;
const SIZE: usize = 16;
const NOISE: f64 = 1.6;
/// Samples that are judged.
const HELD_OUT: usize = 2000;

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn within(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Box and Muller, 1958.
    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (TAU * self.unit()).cos()
    }
}

/// `count` gratings and their classes.
fn samples(count: usize, seed: u64) -> (Tensor, Vec<usize>) {
    let mut random = Random(seed);
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let label = (random.unit() * CLASSES as f64) as usize;
        let angle = label as f64 * TAU / 2.0 / CLASSES as f64;
        let (frequency, phase, contrast) = (random.within(0.7, 1.1), random.within(0.0, TAU), random.within(0.6, 1.0));
        for at in 0..SIZE * SIZE {
            let along = (at % SIZE) as f64 * angle.cos() + (at / SIZE) as f64 * angle.sin();
            pixels.push((contrast * (frequency * along + phase).sin() + NOISE * random.normal()) as f32);
        }
        labels.push(label);
    }
    (Tensor::from_vec(&[count, 1, SIZE, SIZE], pixels).expect("a batch"), labels)
}

fn network() -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/gratings.onnxtxt");
    let (mut model, _) = files::load(&path, &Limits::stated(), false).unwrap_or_else(|problems| panic!("{problems}"));
    let options = Options::standard(Target::Onnx).expect("the library loads");
    optimize(&mut model, &options).unwrap_or_else(|problems| panic!("{problems}"));
    model
}

fn ranges(model: &mut Model) -> Ranges {
    let mut batches = (0..8).map(|seed| Ok(vec![Some(samples(32, 1000 + seed).0)]));
    calibrate(model, &mut batches, &mut |_| {}).unwrap_or_else(|problems| panic!("{problems}"))
}

fn lowered(model: &Model, pass: Pass) -> Model {
    let mut lowered = model.clone();
    let passes = vec![pass, fold(FoldBudget::STANDARD, false), cse(), dce(), types()];
    Pipeline(passes).run(&mut lowered).unwrap_or_else(|problems| panic!("{problems}"));
    lowered
}

fn scores(model: &Model, x: &Tensor) -> Vec<f32> {
    let outputs = run_on_cpu(model, &[Some(x.clone())]).unwrap_or_else(|problems| panic!("{problems}"));
    outputs[0].view::<f32>().expect("scores").to_vec()
}

fn classes(scores: &[f32]) -> Vec<usize> {
    let best = |row: &[f32]| (0..CLASSES).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0);
    scores.chunks(CLASSES).map(best).collect()
}

fn agreement(a: &[usize], b: &[usize]) -> f64 {
    a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len() as f64
}

#[test]
fn the_network_has_learnt_what_it_is_judged_on() {
    let (x, labels) = samples(HELD_OUT, 1);
    let accuracy = agreement(&classes(&scores(&network(), &x)), &labels);
    // Not perfect either: samples near a boundary are what lower precision can change.
    assert!((0.85..0.999).contains(&accuracy), "accuracy {accuracy}");
}

#[test]
fn eight_bit_integers_choose_the_same_class_for_all_but_one_in_a_hundred() {
    let mut model = network();
    let ranges = ranges(&mut model);
    let (x, _) = samples(HELD_OUT, 1);
    let exact = classes(&scores(&model, &x));
    let calibrators =
        [Calibrator::Max, Calibrator::Percentile(99.99), Calibrator::Entropy, Calibrator::MeanSquaredError];
    for calibrator in calibrators {
        let how = Quantize { format: Format::Int8, calibrator, ranges: ranges.clone(), keep: Vec::new(), only: None };
        let quantized = lowered(&model, quantize(how));
        let n_quantized = quantized.graph.nodes().filter(|(_, node)| node.op.is("QuantizeLinear")).count();
        assert!(n_quantized >= 3, "{calibrator:?}: {n_quantized} calls are quantized");
        let same = agreement(&classes(&scores(&quantized, &x)), &exact);
        assert!(same >= 0.99, "{calibrator:?}: {same}");
    }
}

#[test]
fn half_precision_stays_within_a_hundredth() {
    let model = network();
    let (x, _) = samples(HELD_OUT, 1);
    let exact = scores(&model, &x);
    let how = Autocast { to: Element::Float16, keep: Vec::new(), ranges: None };
    let half = lowered(&model, autocast(how));
    assert!(half.graph.nodes().any(|(_, node)| node.op.is("Cast")), "nothing is in half precision");
    let largest = exact.iter().fold(0f32, |largest, score| largest.max(score.abs()));
    let found = scores(&half, &x);
    let worst = exact.iter().zip(&found).fold(0f32, |worst, (a, b)| worst.max((a - b).abs())) / largest;
    assert!(worst <= 1e-2 && worst > 0.0, "{worst}");
    assert!(agreement(&classes(&found), &classes(&exact)) >= 0.99);
}
