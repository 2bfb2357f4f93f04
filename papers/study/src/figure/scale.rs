//! From numbers to places, and where ticks stand.

use super::canvas::{Anchor, Canvas, GRID, INK};

/// A linear or logarithmic scale from values to points.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    log: bool,
}

impl Scale {
    /// A scale that shows all `values`, with a little room, between the points `from` and `to`.
    pub fn over(values: impl Iterator<Item = f64>, log: bool, from: f64, to: f64) -> Self {
        let values: Vec<f64> = values.filter(|value| value.is_finite() && (!log || *value > 0.0)).collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (least, greatest) = if least.is_finite() { (least, greatest) } else { (1.0, 2.0) };
        let (low, high) = if log {
            let room = (greatest / least).powf(0.05).max(1.02);
            (least / room, greatest * room)
        } else {
            let room = if greatest > least { (greatest - least) * 0.05 } else { greatest.abs().max(1.0) * 0.05 };
            // Counts and times have a floor that needs no room below it.
            (if least == 0.0 { 0.0 } else { least - room }, greatest + room)
        };
        Self { low, high, from, to, log }
    }

    /// The place of `value`.
    pub fn place(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(f64::MIN_POSITIVE) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share.clamp(-0.01, 1.01) * (self.to - self.from)
    }

    /// Where ticks stand, about `n` of them.
    pub fn ticks(&self, n: usize) -> Vec<f64> {
        if self.log && self.high / self.low > 8.0 {
            let decades = (self.high / self.low).log10();
            let steps: &[f64] = if decades > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
            let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
            let every = ((decades / n as f64).ceil() as usize).max(1);
            let powers = (first..=last).step_by(if decades > 3.0 { every } else { 1 });
            let ticks = powers.flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
            return ticks.filter(|tick| (self.low..=self.high).contains(tick)).collect();
        }
        let rough = (self.high - self.low) / n as f64;
        let power = 10f64.powi(rough.log10().floor() as i32);
        let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= rough * 0.999);
        let step = step.unwrap_or(rough);
        let first = (self.low / step).ceil() as i64;
        let ticks = (first..).map(|at| at as f64 * step).take_while(|tick| *tick <= self.high + step * 1e-9);
        ticks.take(50).collect()
    }

    /// Draws the horizontal axis at `y` with grid lines up to `top`.
    pub fn draw_horizontally(&self, canvas: &mut Canvas, y: f64, top: f64, label: &str) {
        for tick in self.ticks(6) {
            let x = self.place(tick);
            canvas.line((x, y), (x, top), GRID, 0.5, "");
            canvas.line((x, y), (x, y + 3.0), INK, 0.6, "");
            canvas.text((x, y + 13.0), Anchor::Middle, &shown(tick));
        }
        canvas.line((self.from, y), (self.to, y), INK, 0.6, "");
        canvas.text(((self.from + self.to) / 2.0, y + 27.0), Anchor::Middle, label);
    }

    /// Draws the vertical axis at `x` with grid lines up to `right`; the label stands at `label_x`.
    pub fn draw_vertically(&self, canvas: &mut Canvas, x: f64, right: f64, label_x: f64, label: &str) {
        for tick in self.ticks(5) {
            let y = self.place(tick);
            canvas.line((x, y), (right, y), GRID, 0.5, "");
            canvas.line((x - 3.0, y), (x, y), INK, 0.6, "");
            canvas.text((x - 5.0, y + 3.0), Anchor::End, &shown(tick));
        }
        canvas.line((x, self.from), (x, self.to), INK, 0.6, "");
        canvas.upwards((label_x, (self.from + self.to) / 2.0), label);
    }
}

/// A number as people write it on an axis.
pub fn shown(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(1e-3..1e6).contains(&size) {
        let power = size.log10().floor() as i32;
        let mantissa = value / 10f64.powi(power);
        let digits = ["⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"];
        let raised: String =
            power.unsigned_abs().to_string().bytes().map(|digit| digits[usize::from(digit - b'0')]).collect();
        let sign = if power < 0 { "⁻" } else { "" };
        let factor = if (mantissa - 1.0).abs() < 1e-9 {
            String::new()
        } else {
            format!("{}·", trimmed(format!("{mantissa:.2}")))
        };
        return format!("{factor}10{sign}{raised}");
    }
    let digits = (2 - size.log10().floor() as i32).clamp(0, 5) as usize;
    trimmed(format!("{value:.digits$}"))
}

fn trimmed(text: String) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let scale = Scale::over([0.93, 1.47].into_iter(), false, 0.0, 100.0);
        assert_eq!(
            scale.ticks(6).iter().map(|tick| shown(*tick)).collect::<Vec<_>>(),
            ["1", "1.1", "1.2", "1.3", "1.4"]
        );
        let log = Scale::over([1e-4, 1.0].into_iter(), true, 0.0, 100.0);
        assert_eq!(
            log.ticks(6).iter().map(|tick| shown(*tick)).collect::<Vec<_>>(),
            ["10⁻⁴", "0.001", "0.01", "0.1", "1"]
        );
    }

    #[test]
    fn places_grow_with_values_and_stay_inside() {
        for log in [false, true] {
            let scale = Scale::over([1.0, 10.0, 100.0].into_iter(), log, 20.0, 120.0);
            let places = [1.0, 10.0, 100.0].map(|value| scale.place(value));
            assert!(places.windows(2).all(|pair| pair[0] < pair[1]), "{places:?}");
            assert!(places.iter().all(|place| (20.0..=120.0).contains(place)), "{places:?}");
        }
    }
}
