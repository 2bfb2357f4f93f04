//! What people and their scripts meet: pipes, help, completions, exit codes, and what is said of mistakes.

use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const RELU: &str = "<ir_version: 8, opset_import: [\"\" : 17]>\nagraph (float[2] x) => (float[2] y) { y = Relu (x) }\n";
const WRONG: &str = "/// wrong: relu(x) == x\nrule wrong : exact { y = Relu (x) => y = x }\n";

/// A directory with files in it, in which the program runs.
struct Desk(tempfile::TempDir);

impl Desk {
    fn with(files: &[(&str, &str)]) -> Self {
        let desk = Self(tempfile::tempdir().expect("a directory"));
        files.iter().for_each(|(name, text)| std::fs::write(desk.0.path().join(name), text).expect("written"));
        desk
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eutectic"));
        command.args(arguments).current_dir(self.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program runs")
    }

    /// What the program says when it refuses, with its exit code.
    fn refused(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.run(arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn said(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {output:?}"))
    }

    /// The same with `input` on standard input.
    fn piped(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        // It may end before it reads all.
        let _ = child.stdin.take().expect("a pipe").write_all(input);
        child.wait_with_output().expect("it ends")
    }
}

#[test]
fn a_model_comes_and_goes_through_pipes() {
    let desk = Desk::with(&[]);
    let optimized = desk.piped(&["optimize", "-", "-o", "-"], RELU.as_bytes());
    assert!(optimized.status.success(), "{optimized:?}");
    let shown = desk.piped(&["inspect", "-", "--json"], &optimized.stdout);
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(shown["ops"], serde_json::json!({ "Relu": 1 }));
    let again = desk.piped(&["convert", "-", "-"], &optimized.stdout);
    assert_eq!(again.stdout, optimized.stdout);
    assert_eq!(std::fs::read_dir(desk.path()).expect("it is there").count(), 0, "no file named `-`");
}

#[test]
fn a_reader_that_wants_no_model_is_no_error() {
    let desk = Desk::with(&[("m.onnxtxt", RELU)]);
    let mut child = desk
        .command(&["convert", "m.onnxtxt", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn standard_output_is_not_shared_by_a_model_and_a_report() {
    let desk = Desk::with(&[("m.onnxtxt", RELU)]);
    let (code, said) = desk.refused(&["optimize", "m.onnxtxt", "-o", "-", "--json"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("not both"), "{said}");
}

#[test]
fn bytes_on_standard_input_that_are_no_model_are_bad_input() {
    let desk = Desk::with(&[]);
    for (input, wanted) in [(&b""[..], "L0100"), (b"\xff\xff\xff", "L0102"), (b"<ir_version: 8>", "T0")] {
        let output = desk.piped(&["inspect", "-"], input);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(wanted) && said.contains("<standard input>"), "{said}");
    }
}

#[test]
fn an_output_that_cannot_be_written_is_told_before_the_work() {
    let desk = Desk::with(&[]);
    // The model is not there either, which would be told first if it were read.
    for arguments in [
        &["optimize", "no.onnx", "-o", "no/out.onnx"][..],
        &["quantize", "no.onnx", "--fp16", "-o", "no/out.onnx"],
        &["convert", "no.onnx", "no/out.onnx"],
    ] {
        let (code, said) = desk.refused(arguments);
        assert_eq!(code, Some(2));
        assert!(said.contains("L0160") && said.contains("no directory `no`"), "{said}");
    }
}

#[test]
fn a_flood_of_one_mistake_is_cut_short_for_people_and_whole_for_scripts() {
    let calls: String = (0..50).map(|at| format!("v{at} = Reluu (x)\n")).collect();
    let rules = format!("/// a law\nrule many : exact {{ y = Relu (x)\n=>\n{calls} y = x }}\n");
    let desk = Desk::with(&[("many.rules", &rules)]);
    let (_, said) = desk.refused(&["rules", "check", "many.rules"]);
    assert_eq!(said.matches("there is no operator").count(), 20, "{said}");
    assert!(said.contains("... and 30 more of R0004"), "{said}");
    let found = desk.json(&["rules", "check", "many.rules"]);
    let all = found["problems"].as_array().expect("a list");
    assert_eq!(all.iter().filter(|problem| problem["code"] == "R0004").count(), 50);
}

#[test]
fn a_form_is_not_guessed_from_an_ending_that_says_none() {
    let desk = Desk::with(&[("m.onnxtxt", RELU)]);
    let (code, said) = desk.refused(&["convert", "m.onnxtxt", "m.txt"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("neither .onnx nor .onnxtxt"), "{said}");
    assert!(!desk.path().join("m.txt").exists());
}

#[test]
fn a_result_that_is_refused_is_told_as_json_too() {
    let desk = Desk::with(&[("m.onnxtxt", RELU), ("wrong.rules", WRONG)]);
    let arguments = ["optimize", "m.onnxtxt", "--rule-file", "wrong.rules", "--rules", "wrong", "-o", "out.onnx"];
    let found = desk.json(&arguments);
    assert_eq!(found["certificate"]["equal"], false, "{found}");
    assert_eq!(found["rules"][0]["name"], "wrong", "{found}");
    let (code, said) = desk.refused(&arguments);
    assert_eq!(code, Some(1));
    assert!(said.contains("P0203") && said.contains("compare m.onnxtxt --bisect"), "{said}");
    assert!(!desk.path().join("out.onnx").exists());
}

#[test]
fn a_model_whose_inputs_cannot_be_drawn_is_written_when_nothing_is_compared() {
    let text =
        "<ir_version: 8, opset_import: [\"\" : 17]>\nagraph (string[2] x) => (string[2] y) { y = Identity (x) }\n";
    let desk = Desk::with(&[("m.onnxtxt", text)]);
    let (code, said) = desk.refused(&["optimize", "m.onnxtxt", "-o", "out.onnx"]);
    assert_eq!(code, Some(3));
    assert!(said.contains("--certify none"), "{said}");
    desk.said(&["optimize", "m.onnxtxt", "-o", "out.onnx", "--certify", "none"]);
}

#[test]
fn a_slip_in_a_name_is_answered_by_the_name_that_was_meant() {
    let desk = Desk::with(&[
        ("m.onnxtxt", RELU),
        ("slips.rules", "/// a law\nrule a : exact { y = Reluu (x) where ranks (z) == 1 => y = Relu (x) }\n"),
    ]);
    let expected = [
        (&["optimize", "m.onnxtxt", "--rules", "relu_of_mx"][..], "did you mean `relu_of_max`?"),
        (&["optimize", "m.onnxtxt", "--fusions", "ConvRel"], "did you mean `ConvRelu`?"),
        (&["optimize", "m.onnxtxt", "--rules", "slips.rules"], "`--rule-file slips.rules`"),
        (&["explain", "m.onnxtxt", "--why-not", "convRelu"], "did you mean `ConvRelu`?"),
        (&["rules", "list", "activations"], "did you mean `activation`?"),
        (&["rules", "show", "mishh"], "did you mean `mish`?"),
        (&["rules", "check", "slips.rules"], "did you mean `Relu`?"),
        (&["rules", "check", "slips.rules"], "did you mean `rank`?"),
        (&["explain", "X9999"], "no diagnostic code `X9999`"),
        (&["run", "m.onnxtxt", "--input", "z=z.npy"], "it has `x`"),
    ];
    for (arguments, wanted) in expected {
        let (code, said) = desk.refused(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(wanted), "{arguments:?}: {said}");
    }
}

#[test]
fn help_after_a_mistake_is_that_of_the_verb() {
    let desk = Desk::with(&[("m.onnxtxt", RELU)]);
    let (_, said) = desk.refused(&["quantize", "m.onnxtxt"]);
    assert!(said.contains("see `eutectic quantize --help`"), "{said}");
}

#[test]
fn numbers_that_are_no_bounds_or_counts_are_refused() {
    let desk = Desk::with(&[("m.onnxtxt", RELU)]);
    for arguments in [
        &["optimize", "m.onnxtxt", "--tolerance", "nan"][..],
        &["compare", "m.onnxtxt", "m.onnxtxt", "--tolerance", "-1"],
        &["optimize", "m.onnxtxt", "--seconds", "-1"],
        &["bench", "m.onnxtxt", "--backend", "cpu", "--batch", "0"],
        &["bench", "m.onnxtxt", "--backend", "cpu", "--samples", "0"],
    ] {
        let (code, said) = desk.refused(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains("it is"), "{arguments:?}: {said}");
    }
}

#[test]
fn the_vocabulary_of_rules_is_listed() {
    let desk = Desk::with(&[]);
    let listed = desk.said(&["rules", "list", "--vocabulary"]);
    for function in eutectic::passes::rules::vocabulary::VOCABULARY {
        assert!(listed.contains(&format!("{} (", function.name)) && listed.contains(function.doc), "{}", function.name);
    }
}

#[test]
fn rules_and_fusions_are_shown_as_they_are_written() {
    let desk = Desk::with(&[]);
    let shown = desk.said(&["rules", "show", "mish", "ConvRelu"]);
    assert!(shown.contains("rule mish : reassociates {") && shown.contains("y = Mish (x)"), "{shown}");
    assert!(shown.contains("domain: \"eutectic\"") && shown.contains("passes/fusions/conv_relu.onnxtxt"), "{shown}");
}

#[test]
fn a_fused_operator_that_cannot_be_what_was_meant_is_refused() {
    let fusion = |domain: &str, activation: &str| {
        format!(
            "<domain: \"{domain}\", opset_import: [\"\": 26]>\nMine (x) => (y) {{ s = Abs (x) y = {activation} (s) }}\n"
        )
    };
    let desk = Desk::with(&[
        ("right.onnxtxt", &fusion("eutectic", "HardSwish")),
        ("slip.onnxtxt", &fusion("eutectic", "HardSwich")),
        ("elsewhere.onnxtxt", &fusion("mine", "HardSwish")),
    ]);
    assert_eq!(desk.said(&["rules", "check", "right.onnxtxt"]), "2 rules load\n");
    let (code, said) = desk.refused(&["rules", "check", "slip.onnxtxt"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("R0004") && said.contains("did you mean `HardSwish`?"), "{said}");
    let (code, said) = desk.refused(&["rules", "verify", "elsewhere.onnxtxt"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("R0017") && said.contains("domain: \"eutectic\""), "{said}");
}

#[test]
fn models_are_compared_by_the_names_of_their_inputs() {
    let model = |inputs: &str| {
        format!("<ir_version: 8, opset_import: [\"\" : 17]>\nagraph ({inputs}) => (float[2] z) {{ z = Sub (x, y) }}\n")
    };
    let desk = Desk::with(&[
        ("a.onnxtxt", &model("float[2] x, float[2] y")),
        ("b.onnxtxt", &model("float[2] y, float[2] x")),
        ("c.onnxtxt", &model("float[2] x, float[2,1] y").replace("float[2] z", "float[2,2] z")),
        ("d.onnxtxt", &model("float[2] x, float[2] w").replace("(x, y)", "(x, w)")),
    ]);
    assert_eq!(desk.json(&["compare", "a.onnxtxt", "b.onnxtxt"])["equal"], true);
    let (code, said) = desk.refused(&["compare", "a.onnxtxt", "c.onnxtxt"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("`y` is float[2] in the first model and float[2,1] in the second"), "{said}");
    let (code, said) = desk.refused(&["compare", "a.onnxtxt", "d.onnxtxt"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("C0132") && said.contains("`w`"), "{said}");
}

#[test]
fn codes_are_explained_however_they_are_typed() {
    let desk = Desk::with(&[]);
    assert_eq!(desk.said(&["explain", "r0009"]), desk.said(&["explain", "R0009"]));
}

#[test]
fn a_benchmark_without_a_gpu_has_the_fields_that_scripts_read() {
    let desk = Desk::with(&[("m.onnxtxt", RELU)]);
    let found = desk.json(&["bench", "m.onnxtxt", "--backend", "cpu", "--samples", "3"]);
    for program in ["fused", "unfused"] {
        let median = found[program]["median_ms"].as_f64().expect("a time");
        assert!(found[program]["min_ms"].as_f64().is_some_and(|least| 0.0 < least && least <= median), "{found}");
        assert_eq!(found[program]["samples"], 3, "{found}");
        assert_eq!(found[program]["ci95"].as_array().map(Vec::len), Some(2), "{found}");
    }
    assert!(found["ratio"]["value"].as_f64().is_some_and(|ratio| ratio > 0.0), "{found}");
    assert_eq!(found["kernels"].as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!((&found["backend"], &found["precision"]), (&"cpu".into(), &"f32".into()), "{found}");
    let explained = desk.json(&["bench", "m.onnxtxt", "--backend", "cpu", "--explain"]);
    assert_eq!(explained["kernels"], found["kernels"]);
}

#[test]
fn what_only_a_gpu_has_is_not_asked_of_the_cpu() {
    let desk = Desk::with(&[("m.onnxtxt", RELU)]);
    for more in [
        &["--precision", "f16"][..],
        &["--kernels"],
        &["--in-cache"],
        &["--streams", "2"],
        &["--ablate"],
        &["--by-libraries"],
    ] {
        let (code, said) = desk.refused(&[&["bench", "m.onnxtxt", "--backend", "cpu"], more].concat());
        assert_eq!(code, Some(2), "{more:?}: {said}");
        assert!(said.contains("of the GPU"), "{more:?}: {said}");
    }
}

/// The verbs that `--help` lists.
fn verbs(desk: &Desk) -> Vec<String> {
    let help = desk.said(&["--help"]);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn the_help_of_a_verb_tells_its_own_options_first() {
    let desk = Desk::with(&[]);
    let verbs = verbs(&desk);
    assert!(verbs.len() >= 20, "{verbs:?}");
    for verb in verbs {
        let help = desk.said(&[&verb, "--help"]);
        let (own, common) = help.split_once("Options of every verb:").unwrap_or_else(|| panic!("{verb}: {help}"));
        assert!(common.contains("--untrusted") && !own.contains("--untrusted"), "{verb}: {help}");
    }
}

#[test]
fn completions_and_manual_pages_know_every_verb() {
    let desk = Desk::with(&[]);
    let completions = desk.said(&["completions", "bash"]);
    desk.said(&["manual", "pages"]);
    for verb in verbs(&desk) {
        assert!(completions.contains(&format!("eutectic__subcmd__{verb})")), "{verb}");
        let page = std::fs::read_to_string(desk.path().join(format!("pages/eutectic-{verb}.1"))).expect("a page");
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
    assert!(desk.path().join("pages/eutectic.1").exists());
}
