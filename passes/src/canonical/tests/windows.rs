use super::*;
use crate::testing::drawn;
use eutectic_ir::Model;

fn string(value: &str) -> Attr {
    Attr::String(value.into())
}

fn ints_attr(model: &Model, op: &str, name: &str) -> Vec<i64> {
    only(model, op).attrs.ints(name).unwrap_or_else(|| panic!("no {name}")).to_vec()
}

#[test]
fn a_convolution_gets_a_bias_and_an_explicit_window() {
    let (mut graph, x) = graph_of(&["n", "4", "9", "9"]);
    let w = drawn(&mut graph, &[6, 2, 3, 2]);
    let y = call(&mut graph, "Conv", &[("group", Attr::Int(2))], &[x, w]);
    let model = check(&model_of(graph, y), canonical);
    let bias = only(&model, "Conv").input(2).and_then(|bias| model.graph.weight(bias)).expect("a bias");
    assert_eq!((bias.shape(), bias.to_f64s()), (&[6][..], Some(vec![0.0; 6])));
    assert_eq!(ints_attr(&model, "Conv", "kernel_shape"), [3, 2]);
    assert_eq!(ints_attr(&model, "Conv", "strides"), [1, 1]);
    assert_eq!(ints_attr(&model, "Conv", "dilations"), [1, 1]);
    assert_eq!(ints_attr(&model, "Conv", "pads"), [0; 4]);
}

#[test]
fn automatic_padding_of_convolutions_becomes_explicit_where_sizes_are_known() {
    // Sizes 8 and 9, kernel 4, stride 3, dilation 1 and 2: the totals are 2 and 4, by hand from the specification.
    for (auto_pad, pads) in [("SAME_UPPER", [1, 2, 1, 2]), ("SAME_LOWER", [1, 2, 1, 2]), ("VALID", [0; 4])] {
        let (mut graph, x) = graph_of(&["n", "1", "8", "9"]);
        let w = drawn(&mut graph, &[1, 1, 4, 4]);
        let attrs = [("auto_pad", string(auto_pad)), ("strides", list(&[3, 3])), ("dilations", list(&[1, 2]))];
        let y = call(&mut graph, "Conv", &attrs, &[x, w]);
        let model = check(&model_of(graph, y), canonical);
        assert_eq!(ints_attr(&model, "Conv", "pads"), pads, "{auto_pad}");
        assert_eq!(only(&model, "Conv").attrs.string("auto_pad"), Some("NOTSET"));
    }
}

#[test]
fn the_odd_element_of_automatic_padding_goes_where_the_name_says() {
    for (auto_pad, pads) in [("SAME_UPPER", [0, 1]), ("SAME_LOWER", [1, 0])] {
        let (mut graph, x) = graph_of(&["n", "1", "5"]);
        let w = drawn(&mut graph, &[1, 1, 2]);
        let y = call(&mut graph, "Conv", &[("auto_pad", string(auto_pad))], &[x, w]);
        let model = check(&model_of(graph, y), canonical);
        assert_eq!(ints_attr(&model, "Conv", "pads"), pads, "{auto_pad}");
    }
}

#[test]
fn automatic_padding_of_symbolic_sizes_stays() {
    let (mut graph, x) = graph_of(&["1", "1", "s"]);
    let w = drawn(&mut graph, &[1, 1, 2]);
    let y = call(&mut graph, "Conv", &[("auto_pad", string("SAME_UPPER")), ("strides", list(&[2]))], &[x, w]);
    let model = check(&model_of(graph, y), canonical);
    let conv = only(&model, "Conv");
    assert_eq!((conv.attrs.string("auto_pad"), conv.attrs.ints("pads")), (Some("SAME_UPPER"), None));
}

#[test]
fn pools_get_an_explicit_window() {
    for op in ["MaxPool", "AveragePool"] {
        let (mut graph, x) = graph_of(&["n", "2", "7", "8"]);
        let attrs = [("kernel_shape", list(&[3, 2])), ("strides", list(&[2, 2])), ("auto_pad", string("SAME_UPPER"))];
        let attrs = [&attrs[..], &[("ceil_mode", Attr::Int(1))]].concat();
        let y = call(&mut graph, op, &attrs, &[x]);
        let model = check(&model_of(graph, y), canonical);
        assert_eq!(ints_attr(&model, op, "pads"), [1, 0, 1, 0], "{op}");
        assert_eq!(ints_attr(&model, op, "dilations"), [1, 1], "{op}");
        assert_eq!(only(&model, op).attrs.int("ceil_mode"), Some(0), "{op}");
    }
}

#[test]
fn a_transposed_convolution_gets_a_bias_and_explicit_padding() {
    for (auto_pad, pads) in [("SAME_UPPER", [0, 1]), ("SAME_LOWER", [1, 0]), ("VALID", [0, 0]), ("NOTSET", [0, 0])] {
        let (mut graph, x) = graph_of(&["n", "4", "5"]);
        let w = drawn(&mut graph, &[4, 3, 3]);
        let attrs = [("auto_pad", string(auto_pad)), ("strides", list(&[2])), ("group", Attr::Int(2))];
        let y = call(&mut graph, "ConvTranspose", &attrs, &[x, w]);
        let model = check(&model_of(graph, y), canonical);
        assert_eq!(ints_attr(&model, "ConvTranspose", "pads"), pads, "{auto_pad}");
        assert_eq!(ints_attr(&model, "ConvTranspose", "output_padding"), [0]);
        let bias = only(&model, "ConvTranspose").input(2).and_then(|bias| model.graph.weight(bias));
        assert_eq!(bias.map(Tensor::shape), Some(&[6][..]));
    }
}
