//! Images as compressed files.

use crate::op::{AttrDef, Fact, OpDef, Param, Reason};
use crate::types::Element;

#[cfg(feature = "images")]
mod decode;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&IMAGE_DECODER];

const UINT8: &[Element] = &[Element::Uint8];

static IMAGE_DECODER: OpDef = OpDef {
    name: "ImageDecoder",
    doc: "The pixels of an image file as height, width, channels",
    versions: &[20],
    inputs: &[Param::required("encoded_stream", "T1")],
    outputs: &[Param::required("image", "T2")],
    attrs: &[AttrDef::string("pixel_format", "RGB")],
    types: &[("T1", UINT8), ("T2", UINT8)],
    infer: |call| {
        let stream = call.ty(0)?;
        if stream.rank() != 1 {
            return Err(Reason(format!("a file is a vector of bytes, found {stream}")));
        }
        let format = call.attrs.string("pixel_format").unwrap_or_default();
        if !["RGB", "BGR", "Grayscale"].contains(&format) {
            return Err(Reason(format!("`pixel_format` is `RGB`, `BGR` or `Grayscale`, found `{format}`")));
        }
        // A stream that does not decode gives an empty result, so not even the number of channels is certain.
        Ok(vec![Some(Fact::new(Element::Uint8, [0, 1, 2].map(|axis| call.fresh(axis))))])
    },
    #[cfg(feature = "images")]
    eval: crate::eval!(decode::decoded),
    work: |_, _| None,
    ..OpDef::BASE
};
