//! Attention whose scores and weights go through graphs of the model.

use super::attention::{scores_of, weighed};
use super::call::Arg;
use super::control::{Results, body, refused};
use super::operand::{Typed, data_type};
use super::refusal::Refusal;
use super::walk::{Coded, Site, Walker};
use crate::spec::DataType;
use eutectic_ir::{Attrs, Element};

/// `prob_mod(softmax(score_mod(scale query key'))) value`, the part between the products in the precision that is asked for.
pub(super) fn flex_attention(
    walker: &mut Walker,
    site: &Site,
    args: Vec<Option<Arg>>,
    captures: Vec<Option<Arg>>,
) -> Results {
    begin(walker, site);
    let mut args = args.into_iter();
    let mut operand = |walker: &mut Walker| -> Result<Typed, Coded> {
        let arg = args.next().flatten().ok_or_else(|| refused("an input is missing"))?;
        let tensor = walker.builder.tensor(&arg.value).map_err(refused)?;
        if tensor.rank() == 4 { Ok(tensor) } else { Err(refused("an input of it has not four axes")) }
    };
    let (query, key, value) = (operand(walker)?, operand(walker)?, operand(walker)?);
    let scores = scores_of(&mut walker.builder, site.attrs, &query, &key).map_err(refused)?;
    let precision = match site.attrs.int("softmax_precision") {
        None => DataType::F32,
        Some(code) => {
            let named = i32::try_from(code).ok().and_then(Element::from_code);
            named
                .ok_or_else(|| Refusal::new("its softmax_precision is no type"))
                .and_then(data_type)
                .map_err(refused)?
        }
    };
    let scores = walker.builder.cast(&scores, precision);
    let scores = modified(walker, site, "score_mod", scores, &captures)?;
    let weights = walker.builder.softmax(&scores, 3);
    let weights = modified(walker, site, "prob_mod", weights, &captures)?;
    let weights = walker.builder.cast(&weights, value.data_type);
    Ok(vec![Some(weighed(&mut walker.builder, &weights, &value).map_err(refused)?.into())])
}

fn begin(walker: &mut Walker, site: &Site) {
    walker.builder.begin(site.name, vec![site.name.to_owned()]);
}

/// What graph `name` makes of `scores`, when there is one.
fn modified(
    walker: &mut Walker,
    site: &Site,
    name: &str,
    scores: Typed,
    captures: &[Option<Arg>],
) -> Result<Typed, Coded> {
    if site.attrs.graph(name).is_none() {
        return Ok(scores);
    }
    let given = vec![Some(Arg { value: scores.into(), content: None })];
    let results = walker.body(site, body(site, name)?, &format!("{name}/"), given, captures.to_vec(), &Attrs::new())?;
    begin(walker, site);
    let result = results.into_iter().next().flatten().ok_or_else(|| refused("its body can't be lowered"))?;
    walker.builder.tensor(&result.value).map_err(refused)
}
