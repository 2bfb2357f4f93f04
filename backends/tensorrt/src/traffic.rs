//! Optimization profiles from traffic: which ranges of shapes to build for, given what was asked for.
//!
//! A profile has one shape for which kernels are chosen, and serves others the worse, the more they differ in size. The distance of
//! two shapes is the difference of the logarithms of their element counts. The requests, sorted by size, are cut into groups so that
//! the sum of the distances to each group's weighted median is smallest, by dynamic programming.

use crate::engine::{Profile, ProfileRange};
use std::collections::BTreeMap;

/// The shape of each input in one kind of request, and how often it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Extents by name of the input.
    pub shapes: BTreeMap<String, Vec<i64>>,
    /// How often.
    pub count: u64,
}

/// A proposed profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Suggestion {
    /// Ranges of every input of the traffic.
    pub profile: Profile,
    /// The part of all requests that it serves.
    pub share: f64,
}

/// The most kinds of requests that are looked at; a histogram of more is better made coarser.
const MOST_KINDS: usize = 4096;

/// Reads a table of comma-separated values: a header of input names, and a row of extents joined by `x` for each request. A column
/// `count` says how often; without it each row counts once. Errors: what is wrong in which line.
pub fn read(text: &str) -> Result<Vec<Request>, String> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let (_, header) = lines.next().ok_or("the table is empty")?;
    let names: Vec<&str> = header.split(',').map(str::trim).collect();
    if names.iter().all(|name| *name == "count") {
        return Err("line 1: expected the names of inputs".into());
    }
    let mut kinds: BTreeMap<BTreeMap<String, Vec<i64>>, u64> = BTreeMap::new();
    for (at, line) in lines {
        let wrong = |problem: String| format!("line {}: {problem}", at + 1);
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        if cells.len() != names.len() {
            return Err(wrong(format!("{} cells, expected {}", cells.len(), names.len())));
        }
        let (mut shapes, mut count) = (BTreeMap::new(), 1u64);
        for (name, cell) in names.iter().zip(cells) {
            if *name == "count" {
                count = cell.parse().map_err(|_| wrong(format!("`{cell}` is no count")))?;
                continue;
            }
            let extents = cell.split('x').map(|extent| extent.trim().parse::<i64>().ok().filter(|&extent| extent > 0));
            let extents = extents.collect::<Option<Vec<i64>>>();
            shapes.insert((*name).to_owned(), extents.ok_or_else(|| wrong(format!("`{cell}` is no shape, as 1x128")))?);
        }
        let known = kinds.entry(shapes).or_default();
        *known = known.saturating_add(count);
    }
    let mut ranks: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, shape) in kinds.keys().flatten() {
        let rank = *ranks.entry(name).or_insert(shape.len());
        if rank != shape.len() {
            return Err(format!("input `{name}` has {rank} axes and {}", shape.len()));
        }
    }
    if kinds.len() > MOST_KINDS {
        return Err(format!("{} different requests; at most {MOST_KINDS}", kinds.len()));
    }
    let requests = kinds.into_iter().map(|(shapes, count)| Request { shapes, count });
    Ok(requests.filter(|request| request.count > 0).collect())
}

/// At most `most` profiles for `requests`; fewer when another one would not help. All requests have the same inputs.
pub fn suggest(requests: &[Request], most: usize) -> Vec<Suggestion> {
    let size =
        |request: &Request| -> f64 { request.shapes.values().flatten().map(|&extent| (extent as f64).ln()).sum() };
    let mut sorted: Vec<(f64, &Request)> = requests.iter().map(|request| (size(request), request)).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: f64 = sorted.iter().map(|(_, request)| request.count as f64).sum();
    let groups = cut(&sorted.iter().map(|(size, request)| (*size, request.count as f64)).collect::<Vec<_>>(), most);
    let suggestion = |group: std::ops::Range<usize>| {
        let members = &sorted[group];
        let opt = members[median(&members.iter().map(|(_, request)| request.count as f64).collect::<Vec<_>>())].1;
        let range = |(input, opt): (&String, &Vec<i64>)| {
            let extreme = |pick: fn(i64, i64) -> i64| -> Vec<i64> {
                let along = |axis: usize| members.iter().map(|(_, request)| request.shapes[input][axis]).reduce(pick);
                (0..opt.len()).filter_map(along).collect()
            };
            let (min, max) = (extreme(i64::min), extreme(i64::max));
            ProfileRange { input: input.clone(), is_values: false, min, opt: opt.clone(), max }
        };
        let share = members.iter().map(|(_, request)| request.count as f64).sum::<f64>() / total;
        Suggestion { profile: Profile { inputs: opt.shapes.iter().map(range).collect() }, share }
    };
    groups.into_iter().map(suggestion).collect()
}

/// The first place at which half of the weight is reached.
fn median(weights: &[f64]) -> usize {
    let half = weights.iter().sum::<f64>() / 2.0;
    let mut sum = 0.0;
    let reached = weights.iter().position(|weight| {
        sum += weight;
        sum >= half
    });
    reached.unwrap_or(0)
}

/// Cuts ascending, weighted numbers into at most `most` runs, so that the weighted sum of distances to each run's median is smallest.
fn cut(numbers: &[(f64, f64)], most: usize) -> Vec<std::ops::Range<usize>> {
    let n = numbers.len();
    if n == 0 {
        return Vec::new();
    }
    // Sums of weights, and of weighted numbers, before each place.
    let mut before = vec![(0.0, 0.0)];
    for (number, weight) in numbers {
        let (weights, sum) = before[before.len() - 1];
        before.push((weights + weight, sum + weight * number));
    }
    // costs[end]: the smallest cost of the numbers up to `end` in the runs so far, and where the last of them begins.
    let mut rounds: Vec<Vec<(f64, usize)>> = Vec::new();
    for round in 0..most.clamp(1, n) {
        let mut costs = vec![(f64::INFINITY, 0); n + 1];
        costs[0] = (0.0, 0);
        let starts = if round == 0 { 0..1 } else { 0..n };
        for start in starts {
            let so_far = rounds.last().map_or(0.0, |previous: &Vec<(f64, usize)>| previous[start].0);
            let mut middle = start;
            for end in start + 1..=n {
                let (weight, sum) = (before[end].0 - before[start].0, before[end].1 - before[start].1);
                while before[middle + 1].0 - before[start].0 < weight / 2.0 {
                    middle += 1;
                }
                let left = (before[middle].0 - before[start].0, before[middle].1 - before[start].1);
                let right = (weight - left.0, sum - left.1);
                let center = numbers[middle].0;
                let cost = so_far + (center * left.0 - left.1) + (right.1 - center * right.0);
                if cost < costs[end].0 {
                    costs[end] = (cost, start);
                }
            }
        }
        const WORTH: f64 = 1e-9;
        let helps = rounds.last().is_none_or(|previous| costs[n].0 < previous[n].0 - WORTH);
        if !helps {
            break;
        }
        rounds.push(costs);
    }
    let (mut groups, mut end) = (Vec::new(), n);
    for round in rounds.iter().rev() {
        let start = round[end].1;
        if end > start {
            groups.push(start..end);
        }
        end = start;
    }
    groups.reverse();
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(text: &str, most: usize) -> Vec<(Vec<i64>, Vec<i64>, Vec<i64>, f64)> {
        let suggestions = suggest(&read(text).unwrap(), most);
        let flat = |suggestion: Suggestion| {
            let range = suggestion.profile.inputs.into_iter().next().unwrap();
            (range.min, range.opt, range.max, suggestion.share)
        };
        suggestions.into_iter().map(flat).collect()
    }

    #[test]
    fn short_and_long_requests_get_profiles_of_their_own() {
        let found = ranges("count,ids\n90,1x16\n5,1x20\n4,1x500\n1,1x512\n", 2);
        assert_eq!(found[0], (vec![1, 16], vec![1, 16], vec![1, 20], 0.95));
        assert_eq!(found[1], (vec![1, 500], vec![1, 500], vec![1, 512], 0.05));
    }

    #[test]
    fn a_profile_that_would_not_help_is_not_proposed() {
        assert_eq!(ranges("ids\n1x16\n1x16\n", 4), [(vec![1, 16], vec![1, 16], vec![1, 16], 1.0)]);
    }

    #[test]
    fn a_range_covers_every_axis_of_its_requests() {
        let found = ranges("x\n1x8\n8x1\n2x4\n", 1);
        assert_eq!((&found[0].0, &found[0].2), (&vec![1, 1], &vec![8, 8]));
    }

    #[test]
    fn the_cut_is_the_best_of_all() {
        // Every way to cut eight numbers into three runs.
        let numbers: Vec<(f64, f64)> = [0.0, 0.1, 1.0, 1.1, 1.2, 4.0, 4.5, 9.0]
            .iter()
            .zip([3.0, 1.0, 2.0, 5.0, 1.0, 1.0, 2.0, 1.0])
            .map(|(a, b)| (*a, b))
            .collect();
        let cost = |run: &std::ops::Range<usize>| {
            let run = &numbers[run.clone()];
            let center = run[median(&run.iter().map(|(_, weight)| *weight).collect::<Vec<_>>())].0;
            run.iter().map(|(number, weight)| weight * (number - center).abs()).sum::<f64>()
        };
        let mut best = f64::INFINITY;
        for first in 1..7 {
            for second in first + 1..8 {
                best = best.min([0..first, first..second, second..8].iter().map(cost).sum());
            }
        }
        let found: f64 = cut(&numbers, 3).iter().map(cost).sum();
        assert!((found - best).abs() < 1e-12, "{found} {best}");
    }

    #[test]
    fn a_bad_table_names_its_line() {
        assert_eq!(read("ids\n1x16\n1xlong\n").unwrap_err(), "line 3: `1xlong` is no shape, as 1x128");
        assert_eq!(read("ids,mask\n1x16\n").unwrap_err(), "line 2: 1 cells, expected 2");
    }
}
