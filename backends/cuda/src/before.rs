//! A convolution in front of another one that only that one reads, whose kernel may compute both.

use crate::convolution::Convolution;
use crate::flat::Refusal;
use crate::images;
use crate::plan::{Place, Step, Work};
use crate::planner::Planner;
use crate::product::Activation;
use crate::tile::{Chain, Joined, Shortcut};
use crate::units::{Joining, Unit};
use crate::view::{Scalar, View, channels_last};

/// What is before a convolution.
pub(crate) struct Before {
    /// What computes it alone.
    pub step: Step,
    pub joining: Joining,
    pub convolution: Convolution,
    pub image: View,
    pub filters: View,
    pub bias: Option<View>,
}

impl Before {
    /// Plans `unit`: a step of its own, which is not yet among those of the plan. `None` when it is, since it is not as it must be for
    /// a convolution in `scalar`, or lies where nothing reads it without a copy.
    pub fn planned(
        planner: &mut Planner,
        (unit, joining): &(Unit, Joining),
        scalar: Scalar,
    ) -> Result<Option<Self>, Refusal> {
        images::convolution(planner, unit)?;
        let lies = planner.view(unit.result(planner.flat))?;
        let fits = lies.scalar == scalar && lies.is_dense_in(&channels_last(4)) && lies.offset == 0;
        let Some(step) = planner.plan.steps.pop_if(|step| fits && matches!(step.work, Work::Contraction(..))) else {
            return Ok(None);
        };
        let found = match &step.work {
            Work::Contraction(ways, places) if ways.sums.is_none() && step.writes == [lies.buffer] => {
                ways.convolution.clone().zip(Some(*places))
            }
            _ => None,
        };
        let is_plain = |convolution: &Convolution| {
            !convolution.has_residual && matches!(convolution.activation, Activation::None | Activation::Relu)
        };
        let Some((convolution, places)) = found.filter(|(convolution, _)| is_plain(convolution)) else {
            planner.plan.steps.push(step);
            return Ok(None);
        };
        let view = |place: Place, shape: &[usize], order: &[usize]| View {
            offset: place.offset / scalar.bytes(),
            ..View::dense(place.buffer, scalar, shape, order)
        };
        Ok(Some(Self {
            joining: *joining,
            image: view(places.left, &convolution.input, &channels_last(4)),
            filters: view(places.right, &convolution.filter, &channels_last(4)),
            bias: places.bias.map(|place| view(place, &[convolution.output[1]], &[0])),
            convolution,
            step,
        }))
    }

    /// The convolution, its image and its filters that a tile of both, of which `second`, `image` and `filters` are the other one, begins
    /// with, and what joins it.
    pub fn tiled<'a>(
        &'a self,
        second: &'a Convolution,
        [image, filters]: [&'a View; 2],
    ) -> (&'a Convolution, [&'a View; 2], Joined<'a>) {
        let own = [&self.image, &self.filters];
        match self.joining {
            Joining::Shortcut => {
                let [image_of_other, filters_of_other] = own;
                let shortcut =
                    Shortcut { convolution: &self.convolution, image: image_of_other, filters: filters_of_other };
                (second, [image, filters], Joined::Shortcut(shortcut))
            }
            Joining::Chain => {
                let chain = Chain {
                    convolution: second,
                    filters,
                    bias: self.bias.as_ref(),
                    is_relu: self.convolution.activation == Activation::Relu,
                };
                (&self.convolution, own, Joined::Chain(chain))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{Content, Step, Work};
    use crate::tile::tests::{drawn, emulated, numbers};
    use crate::view::Scalar;
    use crate::ways::tests::steps;
    use eutectic_ir::eval::run_model;
    use eutectic_ir::tensor::Tensor;
    use eutectic_ir::text::parse_model;
    use eutectic_ir::types::Element;

    /// The end of a block that halves an image, as ResNet has it; `shortcut` is what its residual is.
    fn block(shortcut: &str) -> String {
        format!(
            r#"<ir_version: 11, opset_import: ["": 24, "local": 1]>
        g (float16[1,16,4,3] h, float16[1,24,8,6] x) => (float16[1,32,4,3] y) <
            float16[32,16,1,1] w = ["location": "seed:1", "low": "-1", "high": "1"],
            float16[32] b = ["location": "seed:2", "low": "-1", "high": "1"],
            float16[32,24,1,1] v = ["location": "seed:3", "low": "-1", "high": "1"],
            float16[32,24,3,3] u = ["location": "seed:4", "low": "-1", "high": "1"],
            float16[32] c = ["location": "seed:5", "low": "-1", "high": "1"]
        > {{ {shortcut} }}
        <domain: "local", opset_import: ["": 24]> Block (h, w, b, z) => (y) {{
            p = Conv (h, w, b)
            s = Add (p, z)
            y = Relu (s)
        }}"#
        )
    }

    const SHORTCUT: &str = "z = Conv <strides: ints = [2, 2]> (x, v, c)  y = local.Block (h, w, b, z)";

    #[test]
    fn the_shortcut_of_a_block_is_added_in_the_sums_of_its_convolution() {
        let text = block(SHORTCUT);
        let (steps, buffers) = steps(&text);
        let of = |step: &Step| match &step.work {
            Work::Contraction(ways, places) => Some((step.name.clone(), (**ways).clone(), *places)),
            Work::Kernel(_) => None,
        };
        let found: Vec<_> = steps.iter().filter_map(of).collect();
        let [(name, ways, places)] = found.as_slice() else { panic!("one step is expected: {}", found.len()) };
        assert_eq!(name, "Conv+Conv+Add+Relu");
        let before = ways.before.as_ref().expect("libraries read what the shortcut gives");
        assert_eq!(Some(before.writes[0]), places.residual.map(|place| place.buffer));
        assert!(
            ways.product.as_ref().is_some_and(|product| product.has_residual),
            "the one without steps is the product"
        );
        assert!(ways.ours.iter().any(|ours| !ours.includes_before), "tiles may also follow the shortcut");

        let ours = ways.ours.iter().find(|ours| ours.includes_before).expect("channels of two bytes are aligned");
        assert!(ours.name.ends_with("+shortcut"));
        let (kernel, Work::Contraction(_, beside)) = (&ours.kernel, &before.work) else { panic!("a convolution") };
        let (h, h_numbers) = drawn(Scalar::F16, 16 * 12, 1);
        let (x, x_numbers) = drawn(Scalar::F16, 24 * 48, 2);
        let operand = |&buffer: &usize| match &buffers[buffer] {
            Content::Constant(constant) => constant.bytes().expect("numbers").into_owned(),
            _ if buffer == places.left.buffer => h.clone(),
            _ if buffer == beside.left.buffer => x.clone(),
            _ => panic!("another operand"),
        };
        let operands: Vec<Vec<u8>> = kernel.parameters[..kernel.parameters.len() - 1].iter().map(operand).collect();
        assert_eq!(operands.len(), 6);
        let Some(found) = emulated(kernel, &operands, 32 * 12 * 2) else {
            println!("skipped: no C++ compiler");
            return;
        };
        let tensor = |[channels, rows, columns]: [usize; 3], numbers: &[f64]| {
            let n = rows * columns;
            let at = |at: usize| half::f16::from_f64(numbers[at % n * channels + at / n]).to_le_bytes();
            let bytes: Vec<u8> = (0..n * channels).flat_map(at).collect();
            Tensor::new(Element::Float16, &[1, channels, rows, columns], bytes.into()).ok()
        };
        let inputs = [tensor([16, 4, 3], &h_numbers), tensor([24, 8, 6], &x_numbers)];
        let (model, _) = parse_model(&text).expect("it parses");
        let expected = run_model::<f64>(&model, &inputs).expect("it runs")[0].to_tensor().expect("a tensor");
        let expected = expected.to_f64s().expect("numbers");
        for (at, found) in numbers(Scalar::F16, &found).into_iter().enumerate() {
            let expected = expected[at % 32 * 12 + at / 32];
            assert!((expected - found).abs() <= 3e-3 * expected.abs().max(1.0), "{at}: {expected} {found}");
        }
    }

    /// The same with a window of neighbours in front of the sum.
    fn block_of_windows(shortcut: &str) -> String {
        let window = block(shortcut).replace("[32,16,1,1]", "[32,16,3,3]");
        window.replace("Conv (h", "Conv <pads: ints = [1, 1, 1, 1]> (h")
    }

    #[test]
    fn either_convolution_of_a_sum_may_be_the_shortcut() {
        let padded = SHORTCUT.replace("[2, 2]>", "[2, 2], pads: ints = [1, 1, 1, 1]>").replace("v, c", "u, c");
        for (text, own, other) in [(block_of_windows(SHORTCUT), 16, 24), (block(&padded), 24, 16)] {
            let (steps, _) = steps(&text);
            let found =
                steps.iter().map(|step| step.work.ways()).find(|ways| ways.len() == 2).expect("one step has both");
            let filters = [0, 1].map(|at: usize| found[at].convolution.as_ref().map(|convolution| convolution.filter));
            assert_eq!(filters, [Some([32, own, 3, 3]), Some([32, other, 1, 1])]);
        }
    }

    #[test]
    fn a_shortcut_that_cannot_join_stays_a_step() {
        let padded = |pads: &str| SHORTCUT.replace("[2, 2]>", &format!("[2, 2], pads: ints = {pads}>"));
        let apart = [
            // It is read twice; a window; padding.
            SHORTCUT.replace("y = local", "a = Neg (z)  d = local") + "  y = Mul (a, d)",
            padded("[1, 1, 1, 1]").replace("v, c", "u, c"),
            padded("[1, 1, 0, 0]").replace("(x,", "(t,").replace("z = Conv", "t = Slice (x, s0, s1, s2)  z = Conv"),
        ];
        let slice = "int64[2] s0 = {0, 0}, int64[2] s1 = {7, 5}, int64[2] s2 = {2, 3},\n            float16[32] c =";
        for shortcut in apart {
            let (steps, _) = steps(&block_of_windows(&shortcut).replace("float16[32] c =", slice));
            let n = steps.iter().filter(|step| matches!(step.work, Work::Contraction(..))).count();
            assert_eq!(n, 2, "{shortcut}");
            assert!(steps.iter().all(|step| step.work.ways().len() < 2), "{shortcut}");
        }
    }

    #[test]
    fn a_shortcut_behind_another_sum_stays_a_step() {
        let text = block(SHORTCUT).replace("float16[1,24,8,6] x)", "float16[1,24,8,6] x, float16[1,32,1,1] r)");
        let text = text.replace("(h, w, b, z)", "(h, w, r, z)").replace("Conv (h, w, b)", "Conv (h, w)");
        let text = text.replace("s = Add (p, z)", "q = Add (p, r)  s = Add (q, z)");
        let (steps, _) = steps(&text);
        let n = steps.iter().filter(|step| matches!(step.work, Work::Contraction(..))).count();
        assert_eq!(n, 2);
    }

    #[test]
    fn a_shortcut_that_no_tile_has_is_a_step_before() {
        // Channels that are whole chunks in single precision only.
        let narrow =
            block(SHORTCUT).replace("float16[1,24,8,6]", "float16[1,20,8,6]").replace("[32,24,1,1]", "[32,20,1,1]");
        let (steps, _) = steps(&narrow);
        let found: Vec<&str> = steps
            .iter()
            .filter(|step| matches!(step.work, Work::Contraction(..)))
            .map(|step| step.name.as_str())
            .collect();
        assert_eq!(found, ["Conv", "Conv+Add+Relu"]);
        assert!(steps.iter().all(|step| step.work.ways().len() < 2));
    }

    /// The end of a bottleneck: a window, and the convolution of single pixels that widens what it gives.
    fn bottleneck(filters: usize, end: &str) -> String {
        format!(
            r#"<ir_version: 11, opset_import: ["": 24, "local": 1]>
        g (float16[1,64,16,9] h, float16[1,96,16,9] z) => (float16[1,96,16,9] y) <
            float16[{filters},64,3,3] w = ["location": "seed:1", "low": "-1", "high": "1"],
            float16[{filters}] b = ["location": "seed:2", "low": "-1", "high": "1"],
            float16[96,{filters},1,1] v = ["location": "seed:3", "low": "-1", "high": "1"],
            float16[96] c = ["location": "seed:4", "low": "-1", "high": "1"]
        > {{ r = local.First (h, w, b)  {end} }}
        <domain: "local", opset_import: ["": 24]> First (h, w, b) => (r) {{
            p = Conv <pads: ints = [1, 1, 1, 1]> (h, w, b)
            r = Relu (p)
        }}
        <domain: "local", opset_import: ["": 24]> Last (r, v, c, z) => (y) {{
            p = Conv (r, v, c)
            s = Add (p, z)
            y = Relu (s)
        }}"#
        )
    }

    #[test]
    fn a_convolution_that_only_the_next_one_reads_is_computed_in_its_kernel() {
        let (steps, _) = steps(&bottleneck(64, "y = local.Last (r, v, c, z)"));
        let found: Vec<&Step> = steps.iter().filter(|step| matches!(step.work, Work::Contraction(..))).collect();
        let [step] = found.as_slice() else { panic!("one step is expected: {}", found.len()) };
        assert_eq!(step.name, "Conv+Relu+Conv+Add+Relu");
        let Work::Contraction(ways, places) = &step.work else { panic!("a convolution") };
        let before = ways.before.as_ref().expect("libraries read what the first one gives");
        assert_eq!(before.writes, [places.left.buffer]);
        let chained: Vec<&str> =
            ways.ours.iter().filter(|ours| ours.includes_before).map(|ours| ours.name.as_str()).collect();
        assert!(!chained.is_empty() && chained.iter().all(|name| name.ends_with("+chain")), "{chained:?}");
        assert!(ways.ours.iter().any(|ours| !ours.includes_before), "tiles may also follow the first one");
        let of_chain = ways.ours.iter().find(|ours| ours.includes_before).expect("it was found");
        assert_eq!(of_chain.needs, crate::plan::Needs::Groups);
        assert!(!of_chain.kernel.parameters.contains(&places.left.buffer), "what lies between is not kept");
    }

    #[test]
    fn convolutions_that_no_tile_chains_stay_apart() {
        // More filters than a tile has; a result that is read twice.
        let wide = bottleneck(192, "y = local.Last (r, v, c, z)");
        let twice =
            bottleneck(64, "q = local.Last (r, v, c, z)  n = ReduceMax <keepdims: int = 1> (r)  y = Add (q, n)");
        for text in [wide, twice] {
            let (steps, _) = steps(&text);
            let n = steps.iter().filter(|step| matches!(step.work, Work::Contraction(..))).count();
            assert_eq!(n, 2, "{text}");
        }
    }
}
