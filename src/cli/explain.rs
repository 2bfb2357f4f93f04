//! `eutectic explain`: why the result is equal, why a rule did nothing, what a diagnostic code means.

use super::rewriting::Rewriting;
use super::rules::unknown;
use super::{Global, Outcome, misuse, print_json, render, stages};
use crate::codes;
use crate::ir::diag::{Diagnostic, Escaped};
use crate::ir::{Model, Name};
use crate::passes::optimize::{Engine, Options, optimize};
use crate::passes::rules::Rule;
use crate::passes::saturate::{Explanation, Focus, Step, Stop, WhyNot};
use crate::passes::saturated::Saturated;
use clap::Args;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

#[derive(Args)]
pub(super) struct Explain {
    /// A model; or a diagnostic code, such as L0412, whose long text is printed
    #[arg(value_name = "MODEL|CODE")]
    subject: String,
    /// Explain this node or value alone
    #[arg(long, value_name = "NAME", conflicts_with = "output")]
    node: Option<String>,
    /// Explain what this output depends on alone
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// Print the steps of this rule alone
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
    /// Say why this rule did nothing: where it nearly matches, and what it needs there
    #[arg(long, value_name = "RULE", conflicts_with_all = ["node", "output", "rule"])]
    why_not: Option<String>,
    /// Ask about this node or value
    #[arg(long, value_name = "NODE", requires = "why_not")]
    at: Option<String>,
    #[command(flatten)]
    rewriting: Rewriting,
}

impl Explain {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let path = Path::new(&self.subject);
        if is_code(&self.subject) && !path.exists() {
            let code = codes::lookup(&self.subject.to_uppercase()).ok_or_else(|| {
                misuse(format!("there is no diagnostic code `{}`, and no model of that name", self.subject))
            })?;
            return Ok(explain_code(code, global));
        }
        let mut model = global.load(path)?;
        self.rewriting.expand(&mut model, global)?;
        let options = self.rewriting.options(&model)?;
        if options.engine == Engine::Greedy {
            return Err(misuse("explanations are of an e-graph: leave out `--engine greedy`"));
        }
        match &self.why_not {
            Some(name) => self.why_not(name, model, options, global),
            None => self.chain(model, options, global),
        }
    }

    fn chain(&self, mut model: Model, options: Options, global: &Global) -> Outcome {
        let focus = match (&self.node, &self.output) {
            (Some(name), _) => Focus::Node(name.as_str().into()),
            (None, Some(name)) => Focus::Output(name.as_str().into()),
            (None, None) => Focus::Whole,
        };
        if let Some(name) = &self.rule {
            self.rule(name)?;
        }
        let stage = stages(global);
        stage.set_message("replaying");
        let report = optimize(&mut model, &Options { explain: Some(focus), ..options })?;
        stage.finish_and_clear();
        if report.explanations.is_empty() {
            let name = self.node.as_ref().or(self.output.as_ref()).map_or("", String::as_str);
            let message = format!("neither the prepared nor the optimized graph has `{name}`");
            return Err(Diagnostic::error(crate::ir::diag::Kind::Invalid, "P0205", message)
                .help("`eutectic convert MODEL MODEL.onnxtxt` shows the names; what folding computes has none left")
                .into());
        }
        let is_shown = |step: &&Step| self.rule.as_deref().is_none_or(|name| step.rule == name);
        let gaps: Vec<&String> = report.explanations.iter().filter_map(|found| found.gap.as_ref()).collect();
        if global.json {
            let graphs: Vec<_> = report
                .explanations
                .iter()
                .map(|found| {
                    let steps: Vec<_> = found.steps.iter().filter(is_shown).map(step_json).collect();
                    json!({
                        "graph": found.graph.as_str(),
                        "steps": steps,
                        "applications": found.n_applications,
                        "replayed": found.gap.is_none(),
                        "gap": found.gap,
                    })
                })
                .collect();
            print_json(&json!({ "graphs": graphs }));
        } else {
            for found in &report.explanations {
                print_chain(found, &self.rule);
                for (at, step) in found.steps.iter().enumerate().filter(|(_, step)| is_shown(step)) {
                    print_step(at + 1, step);
                }
            }
            if report.stop.is_some_and(|stop| stop != Stop::Saturated) {
                println!("a limit ended the search; more may follow from the rules");
            }
        }
        for gap in &gaps {
            render::print(
                &Diagnostic::warning(
                    "P0206",
                    format!("the replay of the steps does not give the optimized graph: {gap}"),
                )
                .help("this is an error of the explanation, not of the result, which its certificate vouches for")
                .into(),
            );
        }
        Ok(i32::from(!gaps.is_empty()))
    }

    fn why_not(&self, name: &str, model: Model, mut options: Options, global: &Global) -> Outcome {
        let rule = self.rule(name)?;
        let is_chosen = options.rules.iter().any(|other| other.name == rule.name);
        if !is_chosen {
            options.rules.push(Arc::clone(&rule));
        }
        let mut saturated = Saturated::new(model, options)?;
        let found = saturated.why_not(&rule, self.at.as_deref().map(Name::from).as_ref())?;
        if global.json {
            print_json(&json!({
                "rule": rule.name.as_str(),
                "file": place(&rule),
                "among_the_rules": is_chosen,
                "answer": answer_json(&found),
            }));
            return Ok(0);
        }
        println!("{}   {}   {}", rule.name, rule.contract, place(&rule));
        if !is_chosen {
            println!("`--rules`, `--fusions` or `--numerics` leave this rule out; with it:");
        }
        print_answer(&found);
        if saturated.activity.stop != Stop::Saturated {
            println!("a limit ended the search; more may follow from the rules");
        }
        Ok(0)
    }

    fn rule(&self, name: &str) -> Result<Arc<Rule>, crate::ir::Diagnostics> {
        let library = self.rewriting.library()?;
        library.rule(name).cloned().ok_or_else(|| unknown(name, &library))
    }
}

/// A letter and four digits, as all diagnostic codes are.
fn is_code(text: &str) -> bool {
    text.len() == 5
        && text.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && text[1..].bytes().all(|digit| digit.is_ascii_digit())
}

fn place(rule: &Rule) -> String {
    format!("{}:{}", rule.file, rule.line)
}

fn explain_code(code: codes::Code, global: &Global) -> i32 {
    if global.json {
        print_json(&json!({ "code": code.code, "stage": codes::stage(code.code), "text": code.text }));
    } else {
        println!("{} ({})\n\n{}", code.code, codes::stage(code.code), code.text);
    }
    0
}

fn print_chain(found: &Explanation, rule: &Option<String>) {
    let proof = if found.gap.is_none() { "replayed" } else { "NOT replayed" };
    println!(
        "graph `{}`: {} of {}, {proof}{}",
        Escaped(&found.graph),
        render::counted(found.steps.len(), "step"),
        render::counted(found.n_applications, "application"),
        rule.as_ref().map_or(String::new(), |rule| format!("; those of `{rule}`:"))
    );
}

fn print_step(number: usize, step: &Step) {
    println!("\n{number:4}  {}   {}   {}", step.rule, step.contract, step.place);
    step.before.iter().for_each(|line| println!("      - {}", Escaped(line)));
    step.after.iter().for_each(|line| println!("      + {}", Escaped(line)));
}

fn step_json(step: &Step) -> serde_json::Value {
    json!({
        "rule": step.rule.as_str(),
        "file": step.place,
        "contract": step.contract.to_string(),
        "before": step.before,
        "after": step.after,
    })
}

fn answer_json(found: &WhyNot) -> serde_json::Value {
    match found {
        WhyNot::Barred { operator } => json!({ "kind": "barred", "operator": operator }),
        WhyNot::Nowhere { operators } => json!({ "kind": "nowhere", "operators": operators }),
        WhyNot::Misses { calls, n_pattern, reasons } => {
            json!({ "kind": "misses", "calls": calls, "pattern_calls": n_pattern, "reasons": reasons })
        }
        WhyNot::Refused { calls, reason } => json!({ "kind": "refused", "calls": calls, "reason": reason }),
        WhyNot::Dearer { calls, with, without } => {
            json!({ "kind": "dearer", "calls": calls, "cost_with": with, "cost_without": without })
        }
        WhyNot::Applied { calls } => json!({ "kind": "applied", "calls": calls }),
    }
}

fn print_answer(found: &WhyNot) {
    let print_calls = |calls: &[String]| calls.iter().for_each(|line| println!("      {}", Escaped(line)));
    match found {
        WhyNot::Barred { operator } => println!("it builds {operator}, which the target does not run"),
        WhyNot::Nowhere { operators } => println!("it needs a call of {}; there is none", operators.join(" or ")),
        WhyNot::Misses { calls, n_pattern, reasons } => {
            println!("it comes nearest here, with {} of its {n_pattern} calls:", calls.len());
            print_calls(calls);
            reasons.iter().for_each(|reason| println!("  {}", Escaped(reason)));
        }
        WhyNot::Refused { calls, reason } => {
            println!("it matches here, but what it builds does not fit: {}", Escaped(reason));
            print_calls(calls);
        }
        WhyNot::Dearer { calls, with, without } => {
            println!("it was applied here, but other forms are cheaper: {with:.6e} with it, {without:.6e} without");
            print_calls(calls);
        }
        WhyNot::Applied { calls } => {
            println!("it was applied here, and the result is among the cheapest:");
            print_calls(calls);
        }
    }
}
