//! Programs on a GPU in which calls share kernels: the backend says what is possible, the passes decide, the backend compiles.

use crate::backend::Error;
use crate::cuda::{Contenders, Cuda, CudaProgram, Expanded, Whole};
use crate::ir::diag::{Diagnostic, Diagnostics, Kind};
use crate::ir::{Model, Tensor};
use crate::passes::cost::{CostModel, Device};
use crate::passes::optimize::{self, optimize};
use crate::passes::regions::{Formed, Fusions, PATTERNS, form};
use crate::passes::rules::{Library, Rule};
use crate::passes::target::{FUSION_DOMAIN, Target};
use std::sync::Arc;

/// What a program may take and which fusions it has.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Which calls may share a kernel.
    pub fusions: &'a Fusions,
    /// Bytes that the program may take on the device.
    pub memory: usize,
}

/// What calls cost on a GPU, whose kernels read parts of rows where they lie.
pub fn cost() -> CostModel {
    CostModel { splits_rows_freely: true, ..CostModel::new(Device::h200()) }
}

/// Rewrites `model` for a program with `fusions`, its calls priced by `cost`: by every standard rule of `library`, those of fused
/// functions only where they are asked for. Errors: as of [`optimize`].
pub fn optimized(model: &mut Model, library: &Library, fusions: &Fusions, cost: CostModel) -> Result<(), Diagnostics> {
    let is_wanted = |rule: &&Arc<Rule>| {
        let mut fused = rule.builds().filter(|op| op.domain() == FUSION_DOMAIN);
        fused.all(|op| fusions.has_function(op.name()))
    };
    let standard = optimize::Options::standard(if fusions.is_none() { Target::Onnx } else { Target::Cpu })?;
    let rules = library.standard().filter(is_wanted).cloned().collect();
    let options = optimize::Options { rules, cost, ..standard.admitting(model) };
    optimize(model, &options)?;
    Ok(())
}

/// `model` divided into kernels as `fusions` asks, and its regions. Inputs in `bound` have these contents. Errors: what the
/// backend cannot expand.
pub fn divided(
    cuda: &Cuda,
    model: &Model,
    fusions: &Fusions,
    bound: &[Option<Tensor>],
) -> Result<(Expanded, Vec<Formed>), Diagnostics> {
    // A bias is what follows a product, too.
    let whole = Whole { attention: fusions.has_pattern("attention"), biases: fusions.has_pattern("epilogues") };
    let expanded = cuda.expand(model, whole, bound);
    let mut expanded = expanded.map_err(|Error(problems)| problems)?;
    let formed = form(&mut expanded.model, &expanded.abilities, fusions, &Device::h200());
    Ok((expanded, formed))
}

/// The program of `model` on the device. Errors: what there is no kernel for, an absent library, a refusal of the device,
/// memory beyond the limit.
pub fn prepare(cuda: &Cuda, model: &Model, wanted: Wanted) -> Result<CudaProgram, Diagnostics> {
    let (expanded, _) = divided(cuda, model, wanted.fusions, &[])?;
    cuda.prepare(&expanded, Contenders::All, wanted.memory).map_err(|Error(problems)| problems)
}

/// Like [`prepare`]; where that is refused, for those contents of `inputs` on which sizes of results may depend. Such a program
/// refuses to run on others.
pub fn prepare_for(cuda: &Cuda, model: &Model, wanted: Wanted, inputs: &[Tensor]) -> Result<CudaProgram, Diagnostics> {
    let problems = match prepare(cuda, model, wanted) {
        Ok(program) => return Ok(program),
        Err(problems) => problems,
    };
    let Some(bound) = Cuda::deciding(model, inputs) else { return Err(problems) };
    let (expanded, _) = divided(cuda, model, wanted.fusions, &bound)?;
    cuda.prepare(&expanded, Contenders::All, wanted.memory).map_err(|Error(problems)| problems)
}

/// The fusions that `names` list: `all`, `none`, patterns and fused functions of `library`, those after a `-` left out. Errors: a
/// name that is neither; the message lists the patterns.
pub fn named(names: &[String], library: &Library) -> Result<Fusions, Diagnostics> {
    let fusions = Fusions::of(names);
    let is_known = |name: &str| {
        name == "Gemm" || PATTERNS.iter().any(|pattern| pattern.name == name) || library.function(name).is_some()
    };
    if let Some(name) = fusions.names().find(|name| !is_known(name)) {
        let patterns: Vec<&str> = PATTERNS.iter().map(|pattern| pattern.name).collect();
        let message = format!("there is no fusion `{name}`; patterns are {}", patterns.join(", "));
        let problem = Diagnostic::error(Kind::Invalid, "C0100", message);
        return Err(problem.help("`eutectic fusions` lists them and the fused functions").into());
    }
    Ok(fusions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::Precision;
    use crate::ir::text::parse_model;

    const MODEL: &str = r#"<ir_version: 11, opset_import: ["": 24]>
        g (float[1,8,6,6] x) => (float[1,8,6,6] y) <
            float[8,8,3,3] w = ["location": "seed:1", "low": "-1", "high": "1"],
            float[8] b = ["location": "seed:2", "low": "-1", "high": "1"]
        > {
            c = Conv <pads: ints = [1,1,1,1]> (x, w, b)
            s = Add (c, x)
            r = Relu (s)
            m = Softmax <axis: int = -1> (r)
            e = Exp (m)
            y = Neg (e)
        }"#;

    /// The names of the kernels with these fusions, copies of layouts left out.
    fn kernels(fusions: &str) -> Vec<String> {
        let names: Vec<String> = fusions.split(',').map(str::to_owned).collect();
        let library = Library::built_in().expect("it loads");
        let fusions = named(&names, &library).expect("known names");
        let (mut model, _) = parse_model(MODEL).expect("it parses");
        optimized(&mut model, &library, &fusions, cost()).expect("it optimizes");
        let cuda = Cuda { precision: Precision::F32, cache: None };
        let (expanded, _) = divided(&cuda, &model, &fusions, &[]).expect("it expands");
        let listing = cuda.listing(&expanded).expect("every call has a kernel");
        listing.into_iter().map(|launch| launch.name).filter(|name| name != "copy").collect()
    }

    #[test]
    fn each_fusion_is_had_alone_and_left_out_alone() {
        assert_eq!(kernels("all"), ["Conv+Add+Relu", "Softmax+Exp+Neg"]);
        assert_eq!(kernels("none"), ["Conv", "Add", "Add", "Relu", "Softmax", "Exp", "Neg"]);
        assert_eq!(kernels("ConvAddRelu"), ["Conv+Add+Relu", "Softmax", "Exp", "Neg"]);
        assert_eq!(kernels("epilogues"), ["Conv+Add+Relu", "Softmax", "Exp", "Neg"]);
        assert_eq!(kernels("all,-epilogues"), ["Conv", "Add+Relu+Softmax+Exp+Neg"]);
        assert_eq!(kernels("all,-rows"), ["Conv+Add+Relu", "Softmax", "Exp+Neg"]);
        assert_eq!(kernels("pointwise"), ["Conv", "Add+Add+Relu", "Softmax", "Exp+Neg"]);
    }

    #[test]
    fn an_unknown_fusion_is_refused_with_those_that_there_are() {
        let library = Library::built_in().expect("it loads");
        let refused = named(&["row".into()], &library).expect_err("it is called rows").to_string();
        assert!(refused.contains("`row`") && refused.contains("rows"), "{refused}");
    }

    #[test]
    fn linear_layers_on_one_input_are_one_product_at_every_batch() {
        for batch in [1, 8, 32] {
            let layer = |at: usize| {
                let weight = |name: &str, shape: &str, seed: usize| {
                    format!(
                        "float[{shape}] {name}{at} = [\"location\": \"seed:{seed}\", \"low\": \"-1\", \"high\": \"1\"]"
                    )
                };
                let calls = format!("p{at} = MatMul (x, w{at}) s{at} = Add (p{at}, b{at}) y{at} = Exp (s{at})");
                (format!("{}, {}", weight("w", "64,64", 2 * at), weight("b", "64", 2 * at + 1)), calls)
            };
            let (weights, calls): (Vec<String>, Vec<String>) = (0..3).map(layer).unzip();
            let ty = format!("float[{batch},128,64]");
            let text = format!(
                "<ir_version: 11, opset_import: [\"\": 24]>\ng ({ty} x) => ({ty} y0, {ty} y1, {ty} y2) <{}> {{ {} }}",
                weights.join(", "),
                calls.join(" ")
            );
            let (mut model, _) = parse_model(&text).unwrap_or_else(|problems| panic!("{text}: {problems}"));
            let (library, fusions) = (Library::built_in().expect("it loads"), Fusions::all());
            optimized(&mut model, &library, &fusions, cost()).expect("it optimizes");
            let cuda = Cuda { precision: Precision::F32, cache: None };
            let (expanded, _) = divided(&cuda, &model, &fusions, &[]).expect("it expands");
            let listing = cuda.listing(&expanded).expect("every call has a kernel");
            let names: Vec<&str> = listing.iter().map(|launch| launch.name.as_str()).collect();
            assert_eq!(names, ["MatMul+Add", "Exp", "Exp", "Exp"], "batch {batch}");
        }
    }
}
