use eutectic_passes::rules::Library;
use eutectic_passes::rules::verify::mutate::mutation;
use eutectic_passes::rules::verify::{Effort, verify};
use std::time::Instant;
fn main() {
    let library = Library::built_in().unwrap();
    let names: Vec<String> = std::env::args().skip(1).collect();
    let mut rows = Vec::new();
    for rule in library.rules() {
        if !names.is_empty() && !names.iter().any(|n| *n == *rule.name) { continue; }
        let recognise = rule.name.strip_suffix("_expand").and_then(|name| library.rule(name));
        let s = Instant::now();
        let _ = verify(rule, recognise.map(|r| &**r), Effort::STANDARD);
        let v = s.elapsed().as_secs_f64();
        let m = mutation(rule, recognise.map(|r| &**r), Effort::STANDARD);
        let t = s.elapsed().as_secs_f64();
        rows.push((t, v, rule.name.to_string(), m));
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut k, mut r, mut so, mut e, mut su, mut tt) = (0, 0, 0, 0, 0, 0.0);
    for (i, (t, v, name, m)) in rows.iter().enumerate() {
        k += m.n_killed; r += m.n_refused; so += m.sound.len(); e += m.equivalent.len(); su += m.survivors.len(); tt += t;
        if i < 25 || !m.survivors.is_empty() { println!("{t:.3} verify {v:.3} {name} killed {} refused {} sound {:?} eq {:?} surv {:?}", m.n_killed, m.n_refused, m.sound, m.equivalent, m.survivors); }
    }
    println!("{} rules {tt:.1} s; {k} killed {r} refused {so} sound {e} argued {su} survive", rows.len());
}
