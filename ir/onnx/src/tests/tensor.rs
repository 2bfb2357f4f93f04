//! Tensors whose fields, shape and data do not fit, and those that do.

use super::*;
use eutectic_ir::codec::unpack;
use eutectic_ir::{Element, Tensor};

#[track_caller]
fn refused(tensor: TensorProto, kind: Kind, words: &str) {
    let mut main = graph([node("Mystery", "x w", "y")]);
    main.initializer.push(TensorProto { name: "w".into(), ..tensor });
    let errors = read(&model(17, main)).expect_err("the tensor must be refused");
    let error = errors.0.iter().find(|d| d.severity == Severity::Error).expect("an error");
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.to_string().contains(words) && error.to_string().contains("`w`"), "{error}");
}

/// The bytes of the tensor once read.
#[track_caller]
fn read_as(tensor: TensorProto) -> Vec<u8> {
    let mut main = graph([node("Mystery", "x w", "y")]);
    main.initializer.push(TensorProto { name: "w".into(), ..tensor });
    let model = accepted(&model(17, main));
    let weight = model.graph.values().find_map(|(_, value)| value.weight().cloned());
    weight.expect("the weight").bytes().into_owned()
}

fn raw(data_type: i32, dims: &[i64], n_bytes: usize) -> TensorProto {
    let raw_data = Some(vec![1; n_bytes].into());
    TensorProto { dims: dims.to_vec(), data_type: Some(data_type), raw_data, ..Default::default() }
}

// C1, C2, C14
#[test]
fn dims_that_overflow_or_are_negative_are_refused() {
    for dims in
        [&[1 << 32, 1 << 32][..], &[4194305, 4194305, 211106198978564], &[i64::MAX, 2], &[0, i64::MAX, i64::MAX]]
    {
        refused(raw(1, dims, 4), Kind::Invalid, "overflow");
    }
    for dims in [&[-1][..], &[2, i64::MIN]] {
        refused(raw(1, dims, 4), Kind::Invalid, "negative dim");
    }
    refused(raw(1, &[1; 65], 4), Kind::Limit, "`rank` is 64");
    refused(raw(1, &vec![1; 10_000], 4), Kind::Limit, "`rank` is 64");
}

// C3, C4, C5, C10
#[test]
fn data_has_exactly_the_size_of_the_shape() {
    refused(raw(1, &[3], 11), Kind::Invalid, "= 12 bytes, the data has 11");
    refused(raw(1, &[3], 8), Kind::Invalid, "= 12 bytes, the data has 8");
    refused(raw(1, &[3], 16), Kind::Invalid, "= 12 bytes, the data has 16");
    refused(raw(1, &[0, 3], 4), Kind::Invalid, "= 0 bytes, the data has 4");
    refused(TensorProto { raw_data: None, ..raw(1, &[], 0) }, Kind::Invalid, "ask for 4 bytes, but there are none");
    refused(raw(22, &[700_000_000], 1), Kind::Invalid, "= 350000000 bytes, the data has 1");
    let short = TensorProto { raw_data: None, int64_data: vec![1, 2], ..raw(7, &[3], 0) };
    refused(short, Kind::Invalid, "3 entries of `int64_data`, found 2");
    assert_eq!(read_as(TensorProto { raw_data: None, ..raw(1, &[0], 0) }), []);
    assert_eq!(read_as(raw(1, &[3, 0], 0)), []);
}

// C10
#[test]
fn narrow_elements_are_packed_and_odd_counts_rounded_up() {
    for (data_type, n_elements, n_bytes) in [(21, 3, 2), (22, 1, 1), (23, 5, 3), (25, 5, 2), (26, 3, 1)] {
        assert_eq!(read_as(raw(data_type, &[n_elements], n_bytes)).len(), n_bytes);
        let typed = TensorProto { raw_data: None, int32_data: vec![1; n_bytes], ..raw(data_type, &[n_elements], 0) };
        assert_eq!(read_as(typed), vec![1; n_bytes]);
        refused(raw(data_type, &[n_elements], n_bytes + 1), Kind::Invalid, "does not match its shape");
    }
}

// C6, C7, C8, C16, D27
#[test]
fn data_stands_in_one_field_of_the_right_kind() {
    let two = TensorProto { int32_data: vec![1], ..raw(6, &[1], 4) };
    refused(two, Kind::Invalid, "in `raw_data` and in `int32_data`");
    let wrong = TensorProto { raw_data: None, float_data: vec![Bytes::from_static(&[0; 4])], ..raw(10, &[1], 0) };
    refused(wrong, Kind::Invalid, "in `float_data`, not in `int32_data`");
    refused(raw(8, &[1], 4), Kind::Invalid, "a tensor of strings holds its data in `raw_data`");
    let external = TensorProto { data_location: Some(7), ..raw(1, &[1], 4) };
    refused(external, Kind::Invalid, "location 7");
    refused(TensorProto { segment: Some(SegmentProto::default()), ..raw(1, &[1], 4) }, Kind::Unsupported, "segments");
}

// C9
#[test]
fn element_types_that_do_not_exist_are_refused() {
    refused(raw(0, &[1], 4), Kind::Invalid, "missing");
    refused(TensorProto { data_type: None, ..raw(0, &[1], 4) }, Kind::Invalid, "missing");
    refused(raw(99, &[1], 4), Kind::Invalid, "99 does not exist");
    refused(raw(-1, &[1], 4), Kind::Invalid, "-1 does not exist");
}

// C11
#[test]
fn typed_fields_are_narrowed_and_checked() {
    let typed = |data_type, values: &[i32]| TensorProto {
        raw_data: None,
        int32_data: values.to_vec(),
        ..raw(data_type, &[values.len() as i64], 0)
    };
    assert_eq!(read_as(typed(3, &[-1, 127])), [0xff, 0x7f]);
    assert_eq!(read_as(typed(10, &[0x3c00, 0xfe01])), [0x00, 0x3c, 0x01, 0xfe]);
    assert_eq!(read_as(typed(9, &[0, 1])), [0, 1]);
    for (data_type, value) in [(3, 128), (2, -1), (2, 256), (9, 2), (10, 65536), (10, -1), (5, 40000), (4, -1)] {
        refused(typed(data_type, &[value]), Kind::Invalid, &format!("the value {value} is no"));
    }
    let wide = TensorProto { raw_data: None, uint64_data: vec![1 << 32], ..raw(12, &[1], 0) };
    refused(wide, Kind::Invalid, "4294967296 is no uint32");
}

// C12
#[test]
fn odd_truth_values_count_as_one_with_a_warning() {
    let mut main = graph([node("Mystery", "x w", "y")]);
    let raw_data = Some(Bytes::from_static(&[0, 1, 2, 255]));
    main.initializer.push(TensorProto { name: "w".into(), raw_data, ..raw(9, &[4], 0) });
    let (model, warnings) = read(&model(17, main)).expect("they are mended");
    assert!(warnings.to_string().contains("count as 1"), "{warnings}");
    let weight = model.graph.values().find_map(|(_, value)| value.weight().cloned()).expect("a weight");
    assert_eq!(*weight.bytes(), [0, 1, 1, 1]);
}

// C15, C17
#[test]
fn sparse_and_unnamed_initializers_are_refused() {
    let mut main = graph([node("Relu", "x", "y")]);
    main.sparse_initializer.push(SparseTensorProto::default());
    refuses(&model(17, main), &[(Kind::Unsupported, "sparse initializers")]);
    let mut main = graph([node("Relu", "x", "y")]);
    main.initializer.push(floats("", &[1], &[0.0]));
    refuses(&model(17, main), &[(Kind::Invalid, "an initializer has no name")]);
}

/// Elements of every type with every byte in every place: all codes of narrow types, NaN of all payloads, both zeros.
#[test]
fn every_element_type_is_read_from_its_fields_and_written_bit_by_bit() {
    for &element in Element::ALL.iter().filter(|element| element.bits() > 0) {
        let bytes: Vec<u8> = match element {
            // As many bytes as hold whole elements.
            Element::Float6E2M3 | Element::Float6E3M2 => (0..=255).chain(0..=127).collect(),
            Element::Bool => (0..=255).map(|byte| byte & 1).collect(),
            _ => (0..=255).flat_map(|byte: u8| [byte, byte.wrapping_mul(29), !byte, byte ^ 0x80]).collect(),
        };
        // One element short of whole bytes leaves the last bits of a packed type unused.
        let (n_short, last) = if element.bits() < 8 { (1, bytes.len() - 1) } else { (0, bytes.len()) };
        let dims = [(bytes.len() * 8 / element.bits()) as i64 - n_short];
        let mut bytes = bytes;
        bytes.get_mut(last).into_iter().for_each(|last| *last &= (1u8 << (8 - element.bits())) - 1);
        let raw = TensorProto { raw_data: Some(bytes.clone().into()), ..raw(element.code(), &dims, 0) };
        assert_eq!(read_as(raw.clone()), bytes, "{element}");
        let typed = TensorProto { raw_data: None, ..raw.clone() };
        fn words<T, const WIDTH: usize>(bytes: &[u8], word: impl Fn([u8; WIDTH]) -> T) -> Vec<T> {
            bytes.chunks_exact(WIDTH).map(|chunk| word(chunk.try_into().expect("a chunk"))).collect()
        }
        let data = || bytes.clone().into();
        let typed = match element {
            Element::Float | Element::Complex64 => TensorProto { float_data: vec![data()], ..typed },
            Element::Double | Element::Complex128 => TensorProto { double_data: vec![data()], ..typed },
            Element::Int64 => TensorProto { int64_data: words(&bytes, i64::from_le_bytes), ..typed },
            Element::Uint64 => TensorProto { uint64_data: words(&bytes, u64::from_le_bytes), ..typed },
            Element::Uint32 => {
                TensorProto { uint64_data: words(&bytes, |word| u32::from_le_bytes(word).into()), ..typed }
            }
            Element::Int32 => TensorProto { int32_data: words(&bytes, i32::from_le_bytes), ..typed },
            Element::Int16 => {
                TensorProto { int32_data: words(&bytes, |word| i16::from_le_bytes(word).into()), ..typed }
            }
            Element::Int8 => TensorProto { int32_data: words(&bytes, |word| i8::from_le_bytes(word).into()), ..typed },
            _ if element.bits() == 16 => {
                TensorProto { int32_data: words(&bytes, |word| u16::from_le_bytes(word).into()), ..typed }
            }
            Element::Float6E2M3 | Element::Float6E3M2 => {
                let code = |at| unpack(6, &bytes, at as usize).expect("a code").into();
                TensorProto { int32_data: (0..dims[0]).map(code).collect(), ..typed }
            }
            _ => TensorProto { int32_data: words(&bytes, |word| u8::from_le_bytes(word).into()), ..typed },
        };
        assert_eq!(read_as(typed), bytes, "{element}");
        let shape = [dims[0] as usize];
        let written =
            crate::tensor::export("w", &Tensor::new(element, &shape, bytes.clone().into()).expect("complete"));
        assert_eq!((written.dims, written.data_type, written.raw_data), (raw.dims, raw.data_type, raw.raw_data));
    }
}

// C13
#[test]
fn every_bit_of_odd_numbers_survives() {
    let patterns: Vec<u8> = [0x7fc0_1234u32, 0x8000_0000, 0x0000_0001, 0xff80_0000].map(u32::to_le_bytes).concat();
    let tensor = TensorProto { raw_data: Some(patterns.clone().into()), ..raw(1, &[4], 0) };
    assert_eq!(read_as(tensor), patterns);
    let typed = TensorProto { raw_data: None, float_data: vec![patterns.clone().into()], ..raw(1, &[4], 0) };
    assert_eq!(read_as(typed), patterns);
}

// C13
#[test]
fn narrow_floats_survive_bit_by_bit() {
    for (data_type, width) in
        [(10, 2), (16, 2), (17, 1), (18, 1), (19, 1), (20, 1), (24, 1), (11, 8), (14, 8), (15, 16)]
    {
        let patterns: Vec<u8> = (0..=255u8).collect();
        let dims = [256 / width];
        let tensor = TensorProto { raw_data: Some(patterns.clone().into()), ..raw(data_type, &dims, 0) };
        assert_eq!(read_as(tensor), patterns, "{data_type}");
    }
}

// C15
#[test]
fn a_sparse_tensor_is_refused_and_never_made_dense() {
    let mut main = graph([node("Relu", "x", "y")]);
    let indices = TensorProto { raw_data: None, int64_data: vec![9, -1, 9], ..raw(7, &[3], 0) };
    main.sparse_initializer.push(SparseTensorProto {
        values: Some(floats("s", &[3], &[1.0, 2.0, 3.0])),
        indices: Some(indices),
        dims: vec![1 << 40],
    });
    let started = std::time::Instant::now();
    refuses(&model(17, main), &[(Kind::Unsupported, "sparse initializers")]);
    assert!(started.elapsed().as_millis() < 1000);
}

// C18
#[test]
fn very_many_scalars_take_little_memory_each() {
    const N: usize = 300_000;
    let mut main = graph([node("Mystery", "x s0", "y")]);
    main.initializer.extend((0..N).map(|at| floats(&format!("s{at}"), &[], &[at as f32])));
    let started = std::time::Instant::now();
    let model = accepted(&model(17, main));
    assert_eq!(model.graph.values().filter(|(_, value)| value.weight().is_some()).count(), N);
    assert!(started.elapsed().as_secs() < 20);
}
