//! Pixels out of compressed files, whoever made them: nothing is allocated for what a header claims beyond the limit.

use crate::eval::{Datum, EvalCall, Scalar};
use crate::op::Reason;
use crate::types::Element;

/// A decoded image: height, width, and the red, green and blue of each pixel, row by row.
struct Pixels {
    height: usize,
    width: usize,
    rgb: Vec<u8>,
}

/// The reference semantics. A file that is no image gives an empty result, as ONNX has it.
pub fn decoded<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    // Every element of the input is in the range of its type.
    let file: Vec<u8> = call.input(0)?.int()?.iter().map(|&byte| byte as u8).collect();
    // The decoder of JPEG 2000 takes some contradictions of a file for impossible and panics; such a file holds no image.
    let pixels = std::panic::catch_unwind(|| decode(&file)).unwrap_or(Ok(None))?;
    let pixels = pixels.unwrap_or(Pixels { height: 0, width: 0, rgb: Vec::new() });
    let pixel = |pixel: &[u8]| [pixel[0], pixel[1], pixel[2]];
    let values: Vec<u8> = match call.attrs.string("pixel_format") {
        Some("RGB") => pixels.rgb,
        Some("BGR") => pixels.rgb.chunks_exact(3).flat_map(|rgb| pixel(rgb).into_iter().rev()).collect(),
        Some("Grayscale") => pixels.rgb.chunks_exact(3).map(|rgb| luma(pixel(rgb))).collect(),
        format => return Err(Reason(format!("attribute `pixel_format` is `{}`", format.unwrap_or_default()))),
    };
    let n_pixels = pixels.height * pixels.width;
    let n_channels = values.len().checked_div(n_pixels).unwrap_or(0);
    let shape = [pixels.height, pixels.width, n_channels];
    Ok(vec![Datum::of_int(Element::Uint8, &shape, values.into_iter().map(i128::from).collect())])
}

/// Brightness after ITU-R BT.601, in the fixed point of 16 bits that libraries agree on.
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    let weighted = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue);
    ((weighted + (1 << 15)) >> 16) as u8
}

/// The pixels of `file`, its format told by its first bytes; `None` for what is no image that can be read.
///
/// Errors: the image is beyond what is decoded. That is found out from its header, before its pixels have memory.
fn decode(file: &[u8]) -> Result<Option<Pixels>, Reason> {
    use image::{DynamicImage, ImageDecoder, ImageReader};
    const STARTS_OF_JPEG_2000: [&[u8]; 2] = [b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51"];
    if STARTS_OF_JPEG_2000.iter().any(|start| file.starts_with(start)) {
        return decode_jpeg_2000(file);
    }
    let Ok(mut reader) = ImageReader::new(std::io::Cursor::new(file)).with_guessed_format() else { return Ok(None) };
    let mut limits = image::Limits::no_limits();
    limits.max_alloc = Some(2 * MOST_BYTES);
    reader.limits(limits);
    let Ok(decoder) = reader.into_decoder() else { return Ok(None) };
    let (width, height) = decoder.dimensions();
    check_size(width, height, decoder.total_bytes())?;
    let Ok(image) = DynamicImage::from_decoder(decoder) else { return Ok(None) };
    Ok(Some(Pixels { height: height as usize, width: width as usize, rgb: image.into_rgb8().into_raw() }))
}

fn decode_jpeg_2000(file: &[u8]) -> Result<Option<Pixels>, Reason> {
    use hayro_jpeg2000::{DecodeSettings, DecoderContext, Image};
    let Ok(image) = Image::new(file, &DecodeSettings::default()) else { return Ok(None) };
    let (width, height) = (image.width(), image.height());
    let n_colors = usize::from(image.color_space().num_channels());
    let n_channels = n_colors + usize::from(image.has_alpha());
    // Samples are computed as floats.
    let bytes = u64::from(width) * u64::from(height);
    check_size(width, height, bytes.saturating_mul(4 * n_channels as u64))?;
    let mut context = DecoderContext::default();
    let Ok(samples) = image.decode(&mut context).map(|decoded| decoded.data_u8()) else { return Ok(None) };
    let n_pixels = width as usize * height as usize;
    let rgb = match n_colors {
        _ if samples.len() != n_pixels * n_channels => return Ok(None),
        1 => samples.chunks_exact(n_channels).flat_map(|pixel| [pixel[0]; 3]).collect(),
        3 => samples.chunks_exact(n_channels).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
        _ => return Ok(None),
    };
    Ok(Some(Pixels { height: height as usize, width: width as usize, rgb }))
}

/// The most memory that the samples of one image may take.
const MOST_BYTES: u64 = 1 << 28;

fn check_size(width: u32, height: u32, bytes: u64) -> Result<(), Reason> {
    match bytes {
        ..=MOST_BYTES => Ok(()),
        _ => Err(Reason(format!("an image of {width} by {height} pixels is too large to decode"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::IMAGE_DECODER;
    use super::*;
    use crate::attr::{Attr, Attrs};
    use crate::eval::run_tensors;
    use crate::graph::Op;
    use image::{DynamicImage, ImageFormat, RgbImage};
    use std::io::Cursor;

    const LOSSLESS: [ImageFormat; 5] =
        [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP, ImageFormat::Pnm];

    fn picture() -> RgbImage {
        RgbImage::from_fn(7, 5, |x, y| image::Rgb([(x * 36) as u8, (y * 60) as u8, ((x + y) * 20) as u8]))
    }

    fn written(format: ImageFormat) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        DynamicImage::from(picture()).write_to(&mut file, format).expect("a format that is written");
        file.into_inner()
    }

    fn run(file: &[u8], pixel_format: &str) -> Result<(Vec<usize>, Vec<i128>), String> {
        let given: Attrs = [("pixel_format", Attr::String(pixel_format.into()))].into_iter().collect();
        let attrs = IMAGE_DECODER.complete(given).expect("attributes fit");
        let bytes = file.iter().map(|&byte| byte.into()).collect();
        let input = Datum::<f32>::of_int(Element::Uint8, &[file.len()], bytes);
        let found = run_tensors(&Op::Builtin(&IMAGE_DECODER), &attrs, &[Some(input)], 1);
        let found = found.map_err(|error| error.reason.to_string())?;
        Ok((found[0].shape.clone(), found[0].int().expect("integers").to_vec()))
    }

    #[test]
    fn lossless_formats_give_every_pixel_back_in_every_order() {
        let picture = picture();
        for format in LOSSLESS {
            let file = written(format);
            let all: Vec<i128> = picture.as_raw().iter().map(|&value| value.into()).collect();
            let swapped: Vec<i128> = all.chunks(3).flat_map(|rgb| [rgb[2], rgb[1], rgb[0]]).collect();
            let gray = |rgb: &[i128]| (rgb[0] as f64 * 0.299 + rgb[1] as f64 * 0.587 + rgb[2] as f64 * 0.114).round();
            let gray: Vec<i128> = all.chunks(3).map(|rgb| gray(rgb) as i128).collect();
            assert_eq!(run(&file, "Grayscale"), Ok((vec![5, 7, 1], gray)), "{format:?}");
            assert_eq!(run(&file, "BGR"), Ok((vec![5, 7, 3], swapped)), "{format:?}");
            assert_eq!(run(&file, "RGB"), Ok((vec![5, 7, 3], all)), "{format:?}");
        }
    }

    #[test]
    fn what_is_no_image_is_empty_and_no_damage_panics() {
        assert_eq!(run(b"no image", "RGB"), Ok((vec![0, 0, 0], vec![])));
        for format in LOSSLESS.into_iter().chain([ImageFormat::Jpeg]) {
            let file = written(format);
            for at in 0..file.len() {
                // Only that it returns is asked: a damaged file may still be an image, or one that is too large.
                let _ = run(&file[..at], "RGB");
                let mut flipped = file.clone();
                flipped[at] ^= 1 << (at % 8);
                let _ = run(&flipped, "RGB");
            }
        }
    }

    #[test]
    fn an_image_that_claims_to_be_enormous_is_refused_before_it_has_memory() {
        let claimed = run(b"P6 60000 60000 255\n", "RGB");
        assert_eq!(claimed, Err("an image of 60000 by 60000 pixels is too large to decode".to_owned()));
    }
}
