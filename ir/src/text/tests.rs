use super::*;

#[test]
fn what_is_printed_reads_back_and_prints_the_same() {
    let text = r#"<ir_version: 8, opset_import: ["": 17, "local": 1], producer_name: "x", metadata_props: ["k": "v"]>
agraph (float[N,128,?] X, float[2] w = {1, 2}) => (float[N] Y, Z) < float[4] s = {1,2,3,4}, int64[2] shape = ["location": "splat:3"], float[64,3,7,7] k = ["location": "seed:2"], float[2] h > {
  [node_label] h, "" = local.F <alpha = 2.0> (X, , w)
  q = Constant <value_ints = [1, 2]> ()
  Y = If (X) <then_branch = g () => (a) { a = Relu(h) }, else_branch = g2 () => (b) { b = LeakyRelu<alpha=0.5>(h) }>
  Z = custom.x.Op:ov <e: ints = [], t = float[2] {nan, -inf}, b: string = 0x80ff, f: float = 0x7fc00001> (q, Y)
}
<domain: "local", opset_import: ["": 17]>
F <alpha, beta: float = 1.0> (x, n, w) => (y, z) { c = Constant<value = float {2.0}>() y = LeakyRelu<alpha = @alpha>(x) z = G.H (c, y) }
"#;
    let (model, _) = parse_model(text).unwrap_or_else(|e| panic!("{e}"));
    let printed = print_model(&model, &PrintOptions::EXACT);
    let (again, _) = parse_model(&printed).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(print_model(&again, &PrintOptions::EXACT), printed);
}
