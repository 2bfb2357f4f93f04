//! Calibration: a model runs on samples, and what each of its values was is counted.

use crate::backend::Error;
use crate::certificate::prepare_on_cpu;
use crate::files::{load_npy, load_npz};
use crate::ir::diag::{Diagnostic, Diagnostics, Kind};
use crate::ir::{Model, Tensor, infer};
use crate::onnx::{Form, Limits, read_value};
use crate::passes::precision::{Histogram, N_BINS, Ranges, name_values, observed};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One sample: a tensor for each input, by position.
pub type Sample = Vec<Option<Tensor>>;

/// Runs `model` on each sample and counts every value of single precision that changes with them. Values get names first,
/// under which they are counted. `progress` is told after each sample how many are done.
///
/// Errors: a model that the CPU backend cannot run, or a sample that does not fit.
pub fn calibrate(
    model: &mut Model,
    samples: &mut dyn Iterator<Item = Result<Sample, Diagnostics>>,
    progress: &mut dyn FnMut(usize),
) -> Result<Ranges, Diagnostics> {
    infer::infer(model);
    name_values(&mut model.graph);
    let watched = observed(&model.graph);
    let mut seen = model.clone();
    let n_outputs = seen.graph.outputs().len();
    for &id in &watched {
        let name = format!("calibration of {}", seen.graph.value(id).name);
        seen.graph.add_output(name, id);
    }
    let mut histograms: Vec<Histogram> = vec![Histogram::default(); watched.len()];
    let mut program = prepare_on_cpu(&seen)?;
    for (at, sample) in samples.enumerate() {
        let inputs: Vec<Tensor> = sample?.into_iter().map_while(|input| input).collect();
        let outputs = program.run(&inputs).map_err(|Error(problems)| problems)?;
        for (histogram, tensor) in histograms.iter_mut().zip(&outputs[n_outputs..]) {
            if let Some(values) = tensor.view::<f32>() {
                histogram.observe(&values);
            }
        }
        progress(at + 1);
    }
    model.intact()?;
    let name = |id| model.graph.value(id).name.clone();
    Ok(Ranges(watched.into_iter().map(name).zip(histograms).collect()))
}

/// The samples in a directory: one a file (`.npy` for a model with one input; `.npz` with an array for each input, by
/// name), or one a subdirectory (`INPUT.npy`, or `input_0.pb` as ONNX's test data has them). In the order of their names.
///
/// Errors: nothing that could be a sample.
pub fn samples_in(directory: &Path) -> Result<Vec<PathBuf>, Diagnostics> {
    let unreadable = |error: std::io::Error| Diagnostic::error(Kind::Io, "C0140", error.to_string()).in_file(directory);
    let mut found: Vec<PathBuf> = std::fs::read_dir(directory)
        .map_err(unreadable)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            path.is_dir() || matches!(extension, Some("npy" | "npz" | "pb"))
        })
        .collect();
    found.sort();
    if found.is_empty() {
        let problem = Diagnostic::error(Kind::Invalid, "C0141", "there are no samples in it").in_file(directory);
        return Err(problem
            .help("put one .npy, .npz or .pb file there for each sample, or a folder of INPUT.npy")
            .into());
    }
    Ok(found)
}

/// Reads one sample of [`samples_in`]. Errors: unreadable, or an input without an array.
pub fn read_sample(model: &Model, path: &Path) -> Result<Sample, Diagnostics> {
    let graph = &model.graph;
    let names: Vec<&str> = graph.inputs().iter().map(|&id| graph.value(id).name.as_str()).collect();
    let missing = |name: &str| {
        let message = format!("the sample has no array for input `{name}`");
        Diagnostic::error(Kind::Invalid, "C0142", message).in_file(path)
    };
    if path.is_dir() {
        let mut sample = Vec::new();
        for (at, name) in names.iter().enumerate() {
            // Names come from the file and may be paths: only those that are one part of a path are looked for.
            let is_plain = Path::new(name).components().count() == 1 && !name.contains("..");
            let array = path.join(format!("{name}.npy"));
            let message = path.join(format!("input_{at}.pb"));
            sample.push(Some(match (is_plain && array.exists(), message.exists()) {
                (true, _) => load_npy(&array)?,
                (false, true) => read_message(model, at, &message)?,
                (false, false) => return Err(missing(name).into()),
            }));
        }
        return Ok(sample);
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("npz") => {
            let mut arrays = load_npz(path)?;
            names.iter().map(|&name| Ok(Some(arrays.remove(name).ok_or_else(|| missing(name))?))).collect()
        }
        extension => {
            let [_] = names[..] else {
                let message = format!("one file holds one array, but the model has {} inputs", names.len());
                let problem = Diagnostic::error(Kind::Invalid, "C0143", message).in_file(path);
                return Err(problem.help("give a .npz, or a folder with a file for each input").into());
            };
            let tensor = if extension == Some("pb") { read_message(model, 0, path)? } else { load_npy(path)? };
            Ok(vec![Some(tensor)])
        }
    }
}

fn read_message(model: &Model, at: usize, path: &Path) -> Result<Tensor, Diagnostics> {
    let value = read_value(path, Form::Tensor, &Limits::stated())?;
    value.into_tensor().ok_or_else(|| {
        let name = &model.graph.value(model.graph.inputs()[at]).name;
        Diagnostic::error(Kind::Invalid, "C0144", format!("what it holds for input `{name}` is no tensor"))
            .in_file(path)
            .into()
    })
}

/// A calibration, as a cache file keeps it.
#[derive(Serialize, Deserialize)]
struct Cache {
    format: u32,
    /// Hash of the model that was calibrated.
    model: String,
    n_samples: usize,
    values: BTreeMap<String, CachedHistogram>,
}

#[derive(Serialize, Deserialize)]
struct CachedHistogram {
    /// Smallest and largest element; absent when none was seen.
    extremes: Option<(f64, f64)>,
    n_not_finite: u64,
    limit: f64,
    /// The bins that hold anything: number of the bin, elements.
    counts: Vec<(u32, u64)>,
}

const CACHE_FORMAT: u32 = 1;

/// Writes `ranges`, seen on `n_samples` samples of the model whose hash is `model`, to `path`.
pub fn save_cache(path: &Path, ranges: &Ranges, model: &str, n_samples: usize) -> Result<(), Diagnostics> {
    let kept = |histogram: &Histogram| CachedHistogram {
        extremes: (histogram.min() <= histogram.max()).then(|| (histogram.min(), histogram.max())),
        n_not_finite: histogram.n_not_finite(),
        limit: histogram.limit(),
        counts: histogram
            .counts()
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(bin, &count)| (bin as u32, count))
            .collect(),
    };
    let values = ranges.0.iter().map(|(name, histogram)| (name.to_string(), kept(histogram))).collect();
    let cache = Cache { format: CACHE_FORMAT, model: model.to_owned(), n_samples, values };
    let write = || std::fs::write(path, serde_json::to_vec(&cache)?);
    write().map_err(|error| Diagnostic::error(Kind::Io, "C0145", error.to_string()).in_file(path).into())
}

/// Reads what [`save_cache`] wrote: the ranges, and how many samples they come from.
///
/// Errors: unreadable, of another model, or not such a file.
pub fn load_cache(path: &Path, model: &str) -> Result<(Ranges, usize), Diagnostics> {
    let refused = |kind: Kind, why: String| {
        let problem = Diagnostic::error(kind, "C0146", why).in_file(path);
        Diagnostics::from(problem.help("calibrate again: remove the file, and give `--calib`"))
    };
    let text = std::fs::read(path).map_err(|error| refused(Kind::Io, error.to_string()))?;
    let cache: Cache = serde_json::from_slice(&text)
        .map_err(|error| refused(Kind::Malformed, format!("it is no calibration cache: {error}")))?;
    if cache.format != CACHE_FORMAT || cache.model != model {
        return Err(refused(Kind::Invalid, "it is the calibration of another model, or of another version".into()));
    }
    let mut ranges = Ranges::default();
    for (name, kept) in cache.values {
        let mut counts = vec![0; N_BINS];
        for (bin, count) in kept.counts {
            if let Some(place) = counts.get_mut(bin as usize) {
                *place = count;
            }
        }
        let (min, max) = kept.extremes.unwrap_or((f64::INFINITY, f64::NEG_INFINITY));
        let histogram = Histogram::from_parts(min, max, kept.n_not_finite, kept.limit, counts);
        let histogram =
            histogram.ok_or_else(|| refused(Kind::Malformed, format!("the range of `{name}` contradicts itself")))?;
        ranges.0.insert(name.into(), histogram);
    }
    Ok((ranges, cache.n_samples))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{load, save_npy};
    use crate::ir::Element;

    const MODEL: &str = "<ir_version: 10, opset_import: [\"\" : 21]>
agraph (float[1, 4] x) => (float[1, 3] y) <float[4, 3] w = [\"location\": \"seed:3\"]> {
    t = MatMul (x, w)
    y = Relu (t)
}";

    fn model(directory: &Path) -> Model {
        let path = directory.join("model.onnxtxt");
        std::fs::write(&path, MODEL).expect("it writes");
        load(&path, &Limits::stated(), false).map_err(|problems| problems.to_string()).expect("it reads").0
    }

    #[test]
    fn every_value_that_changes_is_counted_over_all_samples_and_kept_in_a_cache() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut model = model(directory.path());
        let samples = directory.path().join("samples");
        std::fs::create_dir(&samples).expect("a directory");
        for at in 0..3 {
            let tensor = Tensor::full(Element::Float, &[1, 4], f64::from(at)).expect("small");
            save_npy(&samples.join(format!("{at}.npy")), &tensor).expect("it writes");
        }
        let paths = samples_in(&samples).expect("samples");
        let source = model.clone();
        let mut read = paths.iter().map(|path| read_sample(&source, path));
        let mut done = 0;
        let ranges = calibrate(&mut model, &mut read, &mut |n| done = n).expect("it runs");
        assert_eq!((done, ranges.0.len()), (3, 3));
        let x = &ranges.0["x"];
        assert_eq!((x.n(), x.min(), x.max()), (12, 0.0, 2.0));
        assert!(ranges.0["y"].min() >= 0.0 && ranges.0["t"].min() <= ranges.0["y"].min());
        let cache = directory.path().join("calibration.json");
        save_cache(&cache, &ranges, "hash", 3).expect("it writes");
        assert_eq!(load_cache(&cache, "hash").expect("it reads"), (ranges, 3));
        assert!(load_cache(&cache, "other").is_err());
    }

    #[test]
    fn a_directory_without_samples_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let problems = samples_in(directory.path()).expect_err("no samples");
        assert_eq!(problems.0[0].code, "C0141");
    }
}
