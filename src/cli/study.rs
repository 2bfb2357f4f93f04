//! `eutectic study`: from a declared question to a paper.

use super::{Global, Outcome, misuse, print_json, render};
use crate::ir::diag::{Diagnostic, Diagnostics, Kind};
use crate::study::agreement::{Agreement, agreements};
use crate::study::plan::{Plan, Run as PlannedRun};
use crate::study::raw::{Machines, Raw};
use crate::study::run::{Site, Stop, measure};
use crate::study::schema::Study as Declared;
use crate::study::{Generated, Trouble, bundle, generate, index, lint, manifest, template, write};
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(super) struct Study {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Begin a study: papers/NAME, which runs as it is
    New {
        /// Small letters, digits and hyphens
        name: String,
        /// Where studies lie
        #[arg(long, default_value = "papers")]
        papers: PathBuf,
    },
    /// Measure what is missing, then make statistics, figures, tables and the paper
    Run(Run),
    /// Make everything again from the samples, without measuring
    Render(Place),
    /// Say what a reviewer would send back
    Lint(Place),
    /// Say how far two studies or measurements of one study agree
    Compare {
        /// A study, or its stats.json
        a: PathBuf,
        /// Another
        b: PathBuf,
    },
    /// Pack a study for an archive
    Bundle {
        #[command(flatten)]
        place: Place,
        /// The archive; NAME.zip without it
        #[arg(short, long)]
        output: Option<PathBuf>,
    },
}

#[derive(Args)]
struct Place {
    /// The study's directory
    directory: PathBuf,
    /// Let samples of several machines count together
    #[arg(long)]
    mix_machines: bool,
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    place: Place,
    /// Never measure: make everything from the stored samples and compare it with what is committed, byte by byte
    #[arg(long, conflicts_with_all = ["reproduce", "kick_tires"])]
    replay: bool,
    /// Measure here, beside the study, and say how far the result agrees with what is published
    #[arg(long)]
    reproduce: bool,
    /// Measure a small part, beside the study, to see that everything works
    #[arg(long)]
    kick_tires: bool,
    /// Where `--reproduce` and `--kick-tires` write
    #[arg(long, value_name = "DIR", default_value = "target/studies")]
    into: PathBuf,
    /// The name of this machine; without it the host's
    #[arg(long)]
    machine: Option<String>,
    /// The program that is measured; without it this one
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

impl Study {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        match &self.verb {
            Verb::New { name, papers } => {
                let directory = template::create(papers, name)?;
                if global.json {
                    print_json(&json!({ "directory": directory }));
                } else {
                    println!("{0} is there: `eutectic study run {0}` measures and sets it", directory.display());
                }
                Ok(0)
            }
            Verb::Run(run) => run.run(global),
            Verb::Render(place) => {
                let generated = place.generate()?;
                finish(&place.directory, &generated, global)
            }
            Verb::Lint(place) => {
                let generated = place.generate()?;
                let findings = findings(&place.directory, &generated)?;
                let n = findings.0.len();
                if global.json {
                    print_json(&render::json(&findings));
                } else {
                    render::print(&findings);
                    println!("{n} {}", if n == 1 { "finding" } else { "findings" });
                }
                Ok(i32::from(n > 0))
            }
            Verb::Compare { a, b } => agree(&stats(a)?, &stats(b)?, ["first", "second"], global),
            Verb::Bundle { place, output } => {
                let generated = place.generate()?;
                let name =
                    place.directory.file_name().map_or("study".into(), |name| name.to_string_lossy().into_owned());
                let path = output.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.zip")));
                let bytes = bundle::bundle(&place.directory, &generated)?;
                std::fs::write(&path, &bytes).map_err(|error| misuse(format!("{}: {error}", path.display())))?;
                if global.json {
                    print_json(&json!({ "archive": path, "bytes": bytes.len() }));
                } else {
                    println!("{}: {}", path.display(), render::bytes(bytes.len() as f64));
                }
                Ok(0)
            }
        }
    }
}

impl Place {
    fn machines(&self) -> Machines {
        if self.mix_machines { Machines::Mixed } else { Machines::One }
    }

    fn generate(&self) -> Result<Generated, Diagnostics> {
        Ok(generate(&self.directory, &self.directory, self.machines())?)
    }
}

impl Run {
    fn run(&self, global: &Global) -> Outcome {
        let directory = &self.place.directory;
        if self.replay {
            return replay(directory, &self.place.generate()?, global);
        }
        let study = Declared::read(directory)?;
        if self.reproduce || self.kick_tires {
            return self.aside(&study, global);
        }
        let plan = match Plan::read(directory, &study)? {
            Some(plan) => plan,
            None => {
                let plan = Plan::of(&study);
                let path = directory.join("plan.lock");
                std::fs::write(&path, plan.text()).map_err(|error| misuse(format!("{}: {error}", path.display())))?;
                plan
            }
        };
        // Samples of the machine that the study names count; others would only lie beside them.
        let is_measured = study.machine.as_ref().is_some_and(|name| directory.join("raw").join(name).exists());
        if !is_measured || study.machine == self.machine {
            let machine = self.machine.clone().or_else(|| study.machine.clone()).unwrap_or_else(host);
            self.measure(&study, &plan, directory, &machine, global)?;
        }
        finish(directory, &self.place.generate()?, global)
    }

    /// Measures and shows the result of a whole or a small study in a directory of its own.
    fn aside(&self, study: &Declared, global: &Global) -> Outcome {
        let directory = &self.place.directory;
        let name = directory.file_name().map_or("study".into(), |name| name.to_string_lossy().into_owned());
        let into = self.into.join(format!("{name}-{}", if self.kick_tires { "kick-tires" } else { "reproduced" }));
        std::fs::create_dir_all(&into).map_err(|error| misuse(format!("{}: {error}", into.display())))?;
        let plan = if self.kick_tires { Plan::kick_tires(study) } else { Plan::of(study) };
        let machine = self.machine.clone().unwrap_or_else(host);
        self.measure(study, &plan, &into, &machine, global)?;
        let made = generate(directory, &into, self.place.machines());
        let generated = match made {
            Ok(generated) => Some(generated),
            Err(trouble) if self.kick_tires && needs_all_samples(&trouble) => None,
            Err(trouble) => return Err(trouble.into()),
        };
        for (file, bytes) in generated.iter().flat_map(|generated| &generated.files) {
            let path = into.join("out").join(file);
            let written =
                path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, bytes));
            written.map_err(|error| misuse(format!("{}: {error}", path.display())))?;
        }
        // What is said beside the result leaves standard output to JSON.
        match generated {
            Some(_) => eprintln!("results are in {}", into.join("out").display()),
            None => eprintln!("the paper needs more samples than a part; those are in {}", into.join("raw").display()),
        }
        // Of another machine than the study's.
        let raw = Raw::read(&into, &Declared { machine: None, ..study.clone() }, self.place.machines())?;
        let n_failed = raw.records.iter().filter(|record| record.failure().is_some()).count();
        if n_failed > 0 {
            eprintln!("{n_failed} runs failed; their reasons are in {}", into.join("raw").display());
        }
        let Some(generated) = generated.filter(|_| !self.kick_tires) else {
            let n = plan.runs.len();
            if global.json {
                print_json(&json!({ "directory": into, "runs": n, "failures": n_failed }));
            } else if n_failed == 0 {
                println!("all of {n} runs worked");
            }
            return Ok(i32::from(n_failed > 0));
        };
        agree(&stats(directory)?, &generated.results.stats, ["published", "here"], global)
    }

    fn measure(
        &self,
        study: &Declared,
        plan: &Plan,
        into: &Path,
        machine: &str,
        global: &Global,
    ) -> Result<(), Diagnostics> {
        // Commands start elsewhere, so a relative path would miss.
        let program = self.program.as_ref().map_or_else(std::env::current_exe, |path| path.canonicalize());
        let program = program.map_err(|error| misuse(format!("the program is not found: {error}")))?;
        let site = Site { directory: &self.place.directory, into, machine, program: &program };
        let is_kept = |run: &&PlannedRun| into.join("raw").join(machine).join(format!("{}.jsonl", run.name)).exists();
        match plan.runs.iter().filter(is_kept).count() {
            0 => {}
            n => eprintln!("{n} runs are there and kept; without {} they are made again", into.join("raw").display()),
        }
        let bar = if global.quiet { ProgressBar::hidden() } else { ProgressBar::new(plan.runs.len() as u64) };
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of {len} runs, {eta} left  {msg}") {
            bar.set_style(style);
        }
        let stop = measure(study, plan, &site, &mut |at, run| {
            bar.set_position(at as u64);
            bar.set_message(run.name.clone());
        });
        bar.finish_and_clear();
        match stop? {
            Stop::Planned => {}
            Stop::Precise => eprintln!("every interval is as narrow as declared; no more processes are needed"),
            Stop::Budget => eprintln!("the budget is spent; run again to go on"),
        }
        Ok(())
    }
}

/// Whether what is wrong is only that a figure or the prose shows what a part of the runs does not give.
fn needs_all_samples(trouble: &Trouble) -> bool {
    trouble.0.0.iter().all(|problem| ["S0141", "S0142", "S0150"].contains(&problem.code))
}

/// The host's name as a plain word.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain: String = name.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    if plain.is_empty() { "here".to_owned() } else { plain }
}

/// Writes what was generated and the page of all studies, and says what a reviewer would.
fn finish(directory: &Path, generated: &Generated, global: &Global) -> Outcome {
    let changed = write(directory, generated)?;
    // The page of studies is kept where one is, not made in somebody's home directory.
    let papers = directory.canonicalize().ok().and_then(|path| path.parent().map(Path::to_path_buf));
    if let Some(papers) = papers.filter(|papers| papers.join("README.md").exists() && papers.join("_template").exists())
    {
        let path = papers.join("README.md");
        std::fs::write(&path, index::page(&papers)?).map_err(|error| misuse(format!("{}: {error}", path.display())))?;
    }
    let findings = findings(directory, generated)?;
    if global.json {
        let outcomes: Vec<_> =
            generated.outcomes.iter().map(|one| json!({ "name": one.name, "outcome": one.verdict })).collect();
        print_json(&json!({ "changed": changed, "hypotheses": outcomes, "findings": render::json(&findings) }));
        return Ok(i32::from(findings.has_errors()));
    }
    println!("{} of {} files changed in {}", changed.len(), generated.files.len() + 1, directory.join("out").display());
    if !generated.files.contains_key("paper.pdf") {
        println!("paper.pdf is not made by this build: `cargo build --release --features studies`");
    }
    for outcome in &generated.outcomes {
        println!("{}: {}", outcome.name, outcome.verdict.unwrap_or("open"));
    }
    render::print(&findings);
    Ok(i32::from(findings.has_errors()))
}

/// Compares what the samples give with what lies in `out/`.
fn replay(directory: &Path, generated: &Generated, global: &Global) -> Outcome {
    let mut files = generated.files.clone();
    files.insert("MANIFEST.sha256".to_owned(), manifest(directory, generated)?.into_bytes());
    let is_other =
        |name: &str, bytes: &[u8]| !std::fs::read(directory.join("out").join(name)).is_ok_and(|found| found == bytes);
    let differ: Vec<&String> =
        files.iter().filter(|(name, bytes)| is_other(name, bytes)).map(|(name, _)| name).collect();
    if global.json {
        print_json(
            &json!({ "files": files.len(), "differ": differ, "typeset": generated.files.contains_key("paper.pdf") }),
        );
    } else {
        println!("{} of {} files follow from the samples byte by byte", files.len() - differ.len(), files.len());
        differ.iter().for_each(|name| println!("  out/{name} differs"));
        if !generated.files.contains_key("paper.pdf") {
            println!("paper.pdf was not checked: this build has no typesetter");
        }
    }
    Ok(i32::from(!differ.is_empty()))
}

fn findings(directory: &Path, generated: &Generated) -> Result<Diagnostics, Diagnostics> {
    let found = lint::lint(directory, generated)?;
    Ok(Diagnostics(found.iter().map(|finding| finding.diagnostic(directory)).collect()))
}

/// `stats.json` of a study, or the file itself.
fn stats(path: &Path) -> Result<Value, Diagnostics> {
    let path = if path.is_dir() { path.join("out/stats.json") } else { path.to_path_buf() };
    let text = std::fs::read_to_string(&path).map_err(|error| {
        let found = Diagnostic::error(Kind::Io, "S0001", error.to_string()).in_file(&path);
        found.help("`eutectic study run` and `eutectic study render` make it")
    })?;
    serde_json::from_str(&text).map_err(|error| misuse(format!("{}: no JSON: {error}", path.display())))
}

/// Prints how far `found` agrees with `published`, which `names` call; exit code 1 when one lies on another side.
fn agree(published: &Value, found: &Value, names: [&str; 2], global: &Global) -> Outcome {
    let rows = agreements(published, found);
    let differs = |row: &Agreement| row.found.is_some() && !row.same_sign;
    let code = i32::from(rows.iter().any(differs));
    if global.json {
        let one = |row: &Agreement| {
            json!({
                "what": row.what, "published": row.published, "found": row.found,
                "inside": row.inside, "same_sign": row.same_sign, "same_rank": row.same_rank,
            })
        };
        print_json(&rows.iter().map(one).collect::<Vec<_>>());
        return Ok(code);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["", names[0], "interval", names[1], "inside", "same side", "same rank"]);
    // Values that agree are as many as a study has cells: they are counted.
    let is_shown = |row: &&Agreement| !(row.is_value && row.inside);
    for row in rows.iter().filter(is_shown) {
        let [value, low, high] = row.published;
        let word = |holds: bool| match (row.found, holds) {
            (None, _) => "-".to_owned(),
            (_, true) => "yes".to_owned(),
            (_, false) => "no".to_owned(),
        };
        let found = row.found.map_or("not measured".to_owned(), |found| format!("{found:.3}"));
        let [inside, sign, rank] = [row.inside, row.same_sign, row.same_rank].map(word);
        let interval = format!("{low:.3} to {high:.3}");
        table.add_row([row.what.clone(), format!("{value:.3}"), interval, found, inside, sign, rank]);
    }
    if rows.iter().any(|row| is_shown(&row)) {
        println!("{table}");
    }
    let n = |holds: &dyn Fn(&Agreement) -> bool| rows.iter().filter(|row| holds(row)).count();
    println!(
        "{} compared, {} not measured; {} inside of the interval, {} on the same side",
        n(&|row| row.found.is_some()),
        n(&|row| row.found.is_none()),
        n(&|row| row.inside),
        n(&|row| row.same_sign)
    );
    Ok(code)
}
