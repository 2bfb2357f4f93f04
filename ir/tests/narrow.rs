//! Narrow floating-point types agree with `ml_dtypes` and ONNX, as `data/narrow.py` writes them down: every code, and the
//! conversion of every float32 and float16 (up to NaN), since conversions are monotone between the starts listed.

use eutectic_ir::Element;
use eutectic_ir::narrow::{RoundMode, Rounding, decode, encode};
use half::f16;

fn rounding(what: &str) -> Rounding {
    let mode = match what {
        "up" => RoundMode::Up,
        "down" => RoundMode::Down,
        _ => RoundMode::Nearest,
    };
    Rounding { saturate: !matches!(what, "encode" | "half"), mode }
}

fn bits(text: &str) -> u32 {
    u32::from_str_radix(text, 16).expect(text)
}

fn code_of(element: Element, bits: u32, rounding: Rounding) -> u8 {
    encode(element, f64::from(f32::from_bits(bits)), rounding).expect("a narrow type")
}

fn check_starts(element: Element, numbers: &str, rounding: Rounding) {
    let pairs: Vec<(u32, u8)> = numbers
        .split(' ')
        .map(|pair| pair.split_once(':').expect(pair))
        .map(|(start, code)| (bits(start), bits(code) as u8))
        .collect();
    for (at, &(start, code)) in pairs.iter().enumerate() {
        // The last range of either sign ends where it starts, at infinity or at the largest number compared.
        let next = pairs.get(at + 1).filter(|(next, _)| next >> 31 == start >> 31);
        let end = next.map_or(start, |(next, _)| next - 1);
        for bits in [start, start + (end - start) / 2, end] {
            let found = code_of(element, bits, rounding);
            assert_eq!(found, code, "{element} {rounding:?}: {bits:08x} became {found:02x}, expected {code:02x}");
        }
    }
}

fn fnv(codes: impl Iterator<Item = u8>) -> u64 {
    codes.fold(0xCBF2_9CE4_8422_2325, |state, code| (state ^ u64::from(code)).wrapping_mul(0x0100_0000_01B3))
}

#[test]
fn codes_and_conversions_are_those_of_ml_dtypes() {
    let mut n_lines = 0;
    for line in include_str!("data/narrow.tsv").lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, what, numbers] = fields[..] else { panic!("{line}") };
        let element = Element::from_text(name).expect(name);
        match what {
            "decode" => {
                for (code, wanted) in numbers.split(' ').enumerate() {
                    let found = decode(element, code as u8).expect(name);
                    let found = if found.is_nan() { 0x7FC0_0000 } else { (found as f32).to_bits() };
                    assert_eq!(found, bits(wanted), "{element}: code {code:02x}");
                }
            }
            "half" | "half saturate" => {
                let halves = (0..=u16::MAX).map(f16::from_bits).filter(|number| !number.is_nan());
                let codes = halves.map(|number| encode(element, number.to_f64(), rounding(what)).expect(name));
                assert_eq!(format!("{:016x}", fnv(codes)), numbers, "{element} {what}");
            }
            _ => check_starts(element, numbers, rounding(what)),
        }
        n_lines += 1;
    }
    assert_eq!(n_lines, 7 * 5 + 5);
}

/// The two tables of ONNX's Cast: `x`, then the code of E4M3FN, E4M3FNUZ, E5M2 and E5M2FNUZ.
#[test]
fn special_values_become_what_cast_specifies() {
    let elements = [Element::Float8E4M3FN, Element::Float8E4M3FNUZ, Element::Float8E5M2, Element::Float8E5M2FNUZ];
    let check = |saturate: bool, rows: &[(f64, [u8; 4])]| {
        for (x, codes) in rows {
            for (element, code) in elements.iter().zip(codes) {
                let found = encode(*element, *x, Rounding { saturate, mode: RoundMode::Up });
                assert_eq!(found, Some(*code), "{element}: {x}, saturate {saturate}");
            }
        }
    };
    let (nan, infinity) = (f64::NAN.copysign(1.0), f64::INFINITY);
    let common = [(0.0, [0; 4]), (-0.0, [0x80, 0, 0x80, 0]), (nan, [0x7F, 0x80, 0x7E, 0x80])];
    check(true, &common);
    check(true, &[(infinity, [0x7E, 0x7F, 0x7B, 0x7F]), (-infinity, [0xFE, 0xFF, 0xFB, 0xFF])]);
    check(true, &[(1e300, [0x7E, 0x7F, 0x7B, 0x7F]), (-1e300, [0xFE, 0xFF, 0xFB, 0xFF])]);
    check(false, &common);
    check(false, &[(-nan, [0xFF, 0x80, 0xFE, 0x80])]);
    check(false, &[(infinity, [0x7F, 0x80, 0x7C, 0x80]), (-infinity, [0xFF, 0x80, 0xFC, 0x80])]);
    check(false, &[(1e300, [0x7F, 0x80, 0x7C, 0x80]), (-1e300, [0xFF, 0x80, 0xFC, 0x80])]);
}

/// The table of ONNX's Cast for float8e8m0, and the powers of two below the normal numbers of float32.
#[test]
fn powers_of_two_are_rounded_as_cast_specifies() {
    let code = |x: f64, saturate, mode| encode(Element::Float8E8M0, x, Rounding { saturate, mode }).expect("narrow");
    let (most, least) = (2f64.powi(127), 2f64.powi(-127));
    for (x, saturated_up, nearest) in [
        (0.0, 0, 0xFF),
        (f64::NAN, 0xFF, 0xFF),
        (f64::INFINITY, 0xFE, 0xFF),
        (2.0 * most, 0xFE, 0xFF),
        (1.5 * most, 0xFE, 0xFF),
        (most, 0xFE, 0xFE),
        (least / 4.0, 0, 0xFF),
        (least, 0, 0),
        (1.4 * least, 1, 0),
        (1.5 * least, 1, 1),
        (f64::MIN_POSITIVE / 2.0, 0, 0xFF),
        (f64::MAX, 0xFE, 0xFF),
    ] {
        assert_eq!(code(x, true, RoundMode::Up), saturated_up, "{x}");
        assert_eq!(code(x, false, RoundMode::Nearest), nearest, "{x}");
    }
    assert_eq!([1.0, 1.01, 1.99].map(|x| code(x, true, RoundMode::Down)), [127; 3]);
    assert_eq!(code(-1.0, true, RoundMode::Up), 0xFF);
}
