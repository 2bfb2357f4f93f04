//! Time of ResNet-50's convolutions, batch 1, 224 x 224, by group of layers: best of several passes.
//!
//! `cargo bench -p eutectic-cpu --bench resnet50_layers`

use eutectic_cpu::conv::{ConvPlan, ConvWeights, convolve};
use eutectic_cpu::epilogue::Epilogue;
use eutectic_cpu::simd::AlignedBuffer;
use eutectic_cpu::unary::Unary;
use eutectic_cpu::window::Window;
use std::time::Instant;

/// One convolution shape and how often it occurs.
struct Layer {
    group: &'static str,
    extent: usize,
    channels: usize,
    out_channels: usize,
    kernel: usize,
    stride: usize,
    count: usize,
}

fn layers() -> Vec<Layer> {
    let stem = Layer { group: "stem", extent: 224, channels: 3, out_channels: 64, kernel: 7, stride: 2, count: 1 };
    let mut layers = vec![stem];
    let stages = [
        ("stage 1", 56, 64, 64, 3),
        ("stage 2", 28, 128, 256, 4),
        ("stage 3", 14, 256, 512, 6),
        ("stage 4", 7, 512, 1024, 3),
    ];
    for (group, extent, width, channels, blocks) in stages {
        let stride = if group == "stage 1" { 1 } else { 2 };
        let mut add = |extent, channels, out_channels, kernel, stride, count| {
            layers.push(Layer { group, extent, channels, out_channels, kernel, stride, count });
        };
        // The first block changes the number of channels, and the extent from the second stage on.
        add(extent * stride, channels, width, 1, 1, 1);
        add(extent * stride, width, width, 3, stride, 1);
        add(extent * stride, channels, 4 * width, 1, stride, 1);
        add(extent, 4 * width, width, 1, 1, blocks - 1);
        add(extent, width, width, 3, 1, blocks - 1);
        add(extent, width, 4 * width, 1, 1, blocks);
    }
    layers
}

fn main() {
    let (mut total_time, mut total_flops, mut group) = (0.0, 0.0, (String::new(), 0.0, 0.0));
    let report = |(name, time, flops): &(String, f64, f64)| {
        println!("{name:8} {:7.2} ms  {:6.1} GFLOP/s", time * 1e3, flops / time / 1e9);
    };
    for layer in layers() {
        let Layer { extent, channels, out_channels, kernel, stride, .. } = layer;
        let pad = kernel / 2;
        let window = Window {
            strides: vec![stride; 2],
            pads_begin: vec![pad; 2],
            pads_end: vec![pad; 2],
            ..Window::of(&[kernel; 2])
        };
        let filler = |n: usize| (0..n).map(|i| (i % 31) as f32 * 0.01 - 0.15).collect::<Vec<f32>>();
        let weights = ConvWeights::new(
            &filler(out_channels * channels * kernel * kernel),
            out_channels,
            channels,
            &[kernel; 2],
            1,
        );
        let plan = ConvPlan::new(&weights, 1, &[extent, extent], window);
        let positions: usize = plan.output().iter().product();
        let (input, bias) = (filler(extent * extent * channels), filler(out_channels));
        let (mut out, mut scratch) =
            (AlignedBuffer::zeroed(positions * out_channels), AlignedBuffer::zeroed(plan.scratch_len(&weights)));
        let epilogue = Epilogue { bias: Some(&bias), residual: None, activation: Some(Unary::Relu), chain: None };
        let mut best = f64::INFINITY;
        for _ in 0..20 {
            let start = Instant::now();
            convolve(&plan, &weights, &input, &epilogue, &mut scratch, &mut out);
            best = best.min(start.elapsed().as_secs_f64());
        }
        let flops = 2.0 * (positions * out_channels * channels * kernel * kernel) as f64;
        if std::env::args().any(|argument| argument == "--layers") {
            println!(
                "  {extent}x{extent} {channels}->{out_channels} {kernel}x{kernel}/{stride} x{}: {:.3} ms {:.0} GFLOP/s",
                layer.count,
                best * 1e3,
                flops / best / 1e9
            );
        }
        let (time, flops) = (best * layer.count as f64, flops * layer.count as f64);
        if group.0 != layer.group {
            if !group.0.is_empty() {
                report(&group);
            }
            group = (layer.group.to_string(), 0.0, 0.0);
        }
        group = (group.0, group.1 + time, group.2 + flops);
        total_time += time;
        total_flops += flops;
    }
    report(&group);
    report(&("total".to_string(), total_time, total_flops));
}
