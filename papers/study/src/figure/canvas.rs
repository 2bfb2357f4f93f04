//! A drawing in SVG: lines, marks and text, the same bytes on every machine.

use std::fmt::Write;

/// Points from edge to edge: the width of a column of text.
pub const WIDTH: f64 = 460.0;
/// Size of text, in points.
pub const TEXT: f64 = 9.0;
/// The colour of axes and text.
pub const INK: &str = "#222222";
/// The colour of grid lines.
pub const GRID: &str = "#d9d9d9";

/// How a series is told apart: by colour, by lightness when the colour is lost, by dash and by mark.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Colour of lines and marks.
    pub color: &'static str,
    /// Dash pattern of lines.
    pub dash: &'static str,
    /// Shape of marks.
    pub mark: Mark,
}

/// A shape.
#[derive(Clone, Copy, Debug)]
pub enum Mark {
    /// Filled circle.
    Circle,
    /// Filled square.
    Square,
    /// Triangle that points up.
    Triangle,
    /// Square on its corner.
    Diamond,
    /// Two strokes.
    Cross,
    /// Circle with a white inside.
    Ring,
}

/// Styles in the order of series. The colours are of the palette of Okabe and Ito (2008), which people with any common
/// deficiency of colour vision tell apart, ordered so that each is lighter than the one before.
const STYLES: [Style; 6] = [
    Style { color: "#000000", dash: "", mark: Mark::Circle },
    Style { color: "#0072b2", dash: "6 2", mark: Mark::Square },
    Style { color: "#d55e00", dash: "2 2", mark: Mark::Triangle },
    Style { color: "#009e73", dash: "8 2 2 2", mark: Mark::Diamond },
    Style { color: "#56b4e9", dash: "4 1", mark: Mark::Cross },
    Style { color: "#f0e442", dash: "1 2", mark: Mark::Ring },
];

/// Series that styles tell apart.
pub const N_STYLES: usize = STYLES.len();

/// The style of series `at`.
pub fn style(at: usize) -> Style {
    STYLES[at % STYLES.len()]
}

/// Fills of stacked parts: from dark to light, and back in another hue, so that neighbours differ in lightness.
const FILLS: [&str; 9] =
    ["#08306b", "#2171b5", "#6baed6", "#c6dbef", "#fdae6b", "#e6550d", "#7f2704", "#969696", "#252525"];

/// Lines over the fill of each part: how many run along it and how far apart others cross it, and their colour. There are more
/// parts than greys that people tell apart, so those from the fifth on carry lines.
const LINES: [(usize, f64, &str); 9] = [
    (0, 0.0, ""),
    (0, 0.0, ""),
    (0, 0.0, ""),
    (0, 0.0, ""),
    (1, 0.0, INK),
    (2, 0.0, "#ffffff"),
    (1, 0.0, "#ffffff"),
    (0, 4.0, "#ffffff"),
    (0, 2.5, "#ffffff"),
];

/// The fill of part `at`.
pub fn fill(at: usize) -> &'static str {
    FILLS[at % FILLS.len()]
}

/// Where text stands relative to its point.
#[derive(Clone, Copy, Debug)]
pub enum Anchor {
    /// To the right of it.
    Start,
    /// Around it.
    Middle,
    /// To the left of it.
    End,
}

/// The drawing.
pub struct Canvas {
    body: String,
    height: f64,
}

impl Canvas {
    /// An empty drawing of `height` points.
    pub fn new(height: f64) -> Self {
        Self { body: String::new(), height }
    }

    /// A line from one point to another.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), color: &str, width: f64, dash: &str) {
        let dash = dashes(dash);
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(number);
        self.add(format_args!(
            r#"<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{color}" stroke-width="{}"{dash}/>"#,
            number(width)
        ));
    }

    /// A line through points.
    pub fn path(&mut self, points: &[(f64, f64)], color: &str, width: f64, dash: &str) {
        let dash = dashes(dash);
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{},{}", number(*x), number(*y))).collect();
        self.add(format_args!(
            r#"<polyline points="{}" fill="none" stroke="{color}" stroke-width="{}"{dash}/>"#,
            points.join(" "),
            number(width)
        ));
    }

    /// A filled rectangle.
    pub fn rectangle(&mut self, (x, y): (f64, f64), width: f64, height: f64, fill: &str) {
        let [x, y, width, height] = [x, y, width, height].map(number);
        self.add(format_args!(r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}"/>"#));
    }

    /// Part `at` of a stack.
    pub fn part(&mut self, (x, y): (f64, f64), width: f64, height: f64, at: usize) {
        self.rectangle((x, y), width, height, fill(at));
        let (n_along, apart, color) = LINES[at % LINES.len()];
        for line in 1..=n_along {
            let y = y + height * line as f64 / (n_along + 1) as f64;
            self.line((x, y), (x + width, y), color, 0.9, "");
        }
        let n_across = if apart > 0.0 { (width / apart) as usize } else { 0 };
        for line in 1..=n_across {
            let x = x + apart * (line as f64 - 0.5);
            self.line((x, y), (x, y + height), color, 0.7, "");
        }
    }

    /// A mark at a point.
    pub fn mark(&mut self, (x, y): (f64, f64), style: Style, radius: f64) {
        let color = style.color;
        let corners = |corners: &[(f64, f64)]| {
            let points =
                corners.iter().map(|(dx, dy)| format!("{},{}", number(x + dx * radius), number(y + dy * radius)));
            points.collect::<Vec<_>>().join(" ")
        };
        let polygon = |points: String| format!(r#"<polygon points="{points}" fill="{color}"/>"#);
        let circle = |fill: &str| {
            let [x, y, r] = [x, y, radius].map(number);
            format!(r#"<circle cx="{x}" cy="{y}" r="{r}" fill="{fill}" stroke="{color}" stroke-width="1"/>"#)
        };
        let shape = match style.mark {
            Mark::Circle => circle(color),
            Mark::Ring => circle("#ffffff"),
            Mark::Square => polygon(corners(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)])),
            Mark::Triangle => polygon(corners(&[(0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)])),
            Mark::Diamond => polygon(corners(&[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)])),
            Mark::Cross => {
                let a = corners(&[(-1.0, -1.0), (1.0, 1.0)]);
                let b = corners(&[(-1.0, 1.0), (1.0, -1.0)]);
                let stroke =
                    |points: &str| format!(r#"<polyline points="{points}" stroke="{color}" stroke-width="1.5"/>"#);
                stroke(&a) + &stroke(&b)
            }
        };
        self.add(format_args!("{shape}"));
    }

    /// Text beside a point on its base line.
    pub fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let [x, y] = [x, y].map(number);
        let anchor = anchored(anchor);
        self.add(format_args!(r#"<text x="{x}" y="{y}" text-anchor="{anchor}">{}</text>"#, escaped(text)));
    }

    /// Text that runs upwards, around a point.
    pub fn upwards(&mut self, (x, y): (f64, f64), text: &str) {
        let [x, y] = [x, y].map(number);
        let text = escaped(text);
        self.add(format_args!(
            r#"<text x="{x}" y="{y}" text-anchor="middle" transform="rotate(-90 {x} {y})">{text}</text>"#
        ));
    }

    /// Names of series in rows from the left, above what is drawn; the height that they take.
    pub fn legend(&mut self, names: &[String], draw: &mut dyn FnMut(&mut Self, usize, (f64, f64))) -> f64 {
        let (mut x, mut y) = (4.0, 10.0);
        for (at, name) in names.iter().enumerate() {
            let width = 24.0 + width_of(name) + 14.0;
            if x + width > WIDTH && x > 4.0 {
                (x, y) = (4.0, y + 13.0);
            }
            draw(self, at, (x + 8.0, y - 3.0));
            self.text((x + 22.0, y), Anchor::Start, name);
            x += width;
        }
        y + 8.0
    }

    /// The file; `title` is what a screen reader says.
    pub fn finish(self, title: &str) -> String {
        let (width, height) = (number(WIDTH), number(self.height));
        format!(
            concat!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img" "#,
                r#"font-family="Libertinus Serif, Georgia, serif" font-size="{size}" fill="{ink}">"#,
                "\n<title>{title}</title>\n{body}</svg>\n"
            ),
            w = width,
            h = height,
            size = TEXT,
            ink = INK,
            title = escaped(title),
            body = self.body
        )
    }

    fn add(&mut self, shape: std::fmt::Arguments<'_>) {
        // Writing into a string cannot fail.
        let _ = writeln!(self.body, "{shape}");
    }
}

fn dashes(dash: &str) -> String {
    if dash.is_empty() { String::new() } else { format!(r#" stroke-dasharray="{dash}""#) }
}

fn anchored(anchor: Anchor) -> &'static str {
    match anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    }
}

/// A coordinate: two digits after the point at most, which is less than a printer shows.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// About the width of `text`, in points.
pub fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * TEXT * 0.5
}

/// `text` in XML.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CIE 1976 lightness, 0 to 100.
    fn lightness(color: &str) -> f64 {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&color[at..at + 2], 16).expect("hexadecimal")) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        let luminance = 0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5);
        if luminance > 0.008856 { 116.0 * luminance.cbrt() - 16.0 } else { 903.3 * luminance }
    }

    #[test]
    fn series_grow_lighter_so_that_greyscale_keeps_their_order() {
        let found: Vec<f64> = STYLES.iter().map(|style| lightness(style.color)).collect();
        assert!(found.windows(2).all(|pair| pair[1] > pair[0] + 3.0), "{found:?}");
    }

    #[test]
    fn neighbouring_parts_of_a_stack_differ_in_lightness() {
        let found: Vec<f64> = FILLS.iter().map(|fill| lightness(fill)).collect();
        assert!(found.windows(2).all(|pair| (pair[1] - pair[0]).abs() > 8.0), "{found:?}");
    }

    #[test]
    fn parts_that_are_alike_in_grey_differ_in_their_lines() {
        for (a, b) in (0..FILLS.len()).flat_map(|a| (0..a).map(move |b| (a, b))) {
            let apart = (lightness(FILLS[a]) - lightness(FILLS[b])).abs();
            assert!(apart > 12.0 || LINES[a] != LINES[b], "{a} and {b}");
        }
    }

    #[test]
    fn coordinates_are_short_and_have_no_negative_zero() {
        assert_eq!([1.0, 0.255, -0.001, 12.5].map(number), ["1", "0.26", "0", "12.5"]);
    }
}
