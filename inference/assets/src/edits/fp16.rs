//! The network in 16-bit floats, for GPUs: weights and most of the arithmetic; inputs and outputs stay as they are.
//!
//! Half the bytes, and the units that GPUs have for such products. What needs the digits or the range of 32 bits keeps
//! them, and what stands between two such nodes does too:
//! - means over a whole map, and normalisations: sums of many values, differences of nearly equal ones, squares (a mean
//!   in 16 bits became NaN in onnxconverter-common#299, a square before a norm overflowed in TensorRT#2564)
//! - softmax, the search for the highest class, and all that follows the last product of matrices or convolution, so
//!   that the probabilities given out are those of 32 bits
//!
//! Sums with what a block was given are made in 16 bits: on receipts and scans no tensor of the PP-OCRv6 networks that is
//! computed so came above 201 (64 in the small ones), where 65,504 is the limit. The squares before a normalisation came to
//! 1,800.
//!
//! Only operators of the standard are used, so that every provider can take the file; ONNX Runtime finds its fused forms
//! of the Gelu and of the normalisation in it as in the original.

use std::collections::{HashMap, HashSet};

use super::{EditError, batch_norm, bias, constant};
use crate::onnx::graph::Index;
use crate::onnx::half;
use crate::onnx::proto::{Attribute, Graph, Node, Tensor, element};

/// Computed in 16 bits whatever stands beside them.
const HALF: [&str; 6] = ["AveragePool", "Conv", "ConvTranspose", "MatMul", "MaxPool", "Resize"];
/// Computed as what they read, or as all that read them. Whatever is in neither list is computed in 32 bits.
const FOLLOWING: [&str; 18] = [
    "Add",
    "Concat",
    "DepthToSpace",
    "Div",
    "Erf",
    "Gather",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "Mul",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Slice",
    "Squeeze",
    "Sub",
    "Transpose",
    "Unsqueeze",
];

/// Converts a finished graph; returns how many nodes compute in 16 bits.
///
/// # Errors
/// If a constant is too large for 16 bits, or cannot be read.
pub fn convert(graph: &mut Graph) -> Result<usize, EditError> {
    bias::fold(graph)?;
    batch_norm::fold(graph)?;
    let floats = floats(graph);
    let exact = exact(graph, &floats);
    let mut conversion = Conversion {
        floats,
        halves: HashSet::new(),
        casts: HashMap::new(),
        nodes: Vec::new(),
        constants: HashMap::new(),
    };
    let mut count = 0;
    for (position, mut node) in std::mem::take(&mut graph.node).into_iter().enumerate() {
        let is_exact = exact.contains(&position);
        conversion.node(graph, &mut node, is_exact)?;
        count += usize::from(!is_exact);
        conversion.nodes.push(node);
    }
    graph.node = conversion.nodes;
    graph.initializer.extend(conversion.constants.into_values());
    // What a map holds has no order, and the file shall be the same each time.
    graph.initializer.sort_by(|a, b| a.name().cmp(b.name()));
    super::finish(graph)?;
    Ok(count)
}

/// All tensors of floats, constants included.
fn floats(graph: &Graph) -> HashSet<String> {
    let inputs = graph.input.iter().filter(|input| {
        let tensor = input.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref());
        tensor.and_then(|tensor| tensor.elem_type) == Some(element::FLOAT)
    });
    let constants = graph.initializer.iter().filter(|tensor| tensor.data_type() == element::FLOAT);
    let mut floats: HashSet<String> =
        inputs.map(|input| input.name().to_owned()).chain(constants.map(|tensor| tensor.name().to_owned())).collect();
    for node in &graph.node {
        let reads_floats = node.input.first().is_some_and(|input| floats.contains(input));
        // The second output of TopK are places.
        let of_floats = match node.op_type() {
            "Shape" | "ArgMax" => 0,
            "TopK" => 1,
            _ => node.output.len(),
        };
        if reads_floats {
            floats.extend(node.output.iter().take(of_floats).cloned());
        }
    }
    floats
}

/// Positions of the nodes that compute in 32 bits, or not with floats at all.
fn exact(graph: &Graph, floats: &HashSet<String>) -> HashSet<usize> {
    let index = Index::of(graph);
    let follows = |node: &Node| FOLLOWING.contains(&node.op_type());
    let mut exact = HashSet::new();
    for (position, node) in graph.node.iter().enumerate() {
        let listed = HALF.contains(&node.op_type()) || follows(node);
        let with_floats = node.input.iter().any(|input| floats.contains(input)) && node.op_type() != "Shape";
        let given_out = node.output.iter().any(|output| index.is_output(output));
        let behind_exact = || {
            let mut writers =
                node.input.iter().filter(|input| floats.contains(*input)).filter_map(|input| index.producer(input));
            writers.any(|writer| exact.contains(&writer))
        };
        if !listed || !with_floats || given_out || (follows(node) && behind_exact()) {
            exact.insert(position);
        }
    }
    for (position, node) in graph.node.iter().enumerate().rev() {
        let mut readers = node.output.iter().flat_map(|output| index.consumers(output)).peekable();
        if follows(node) && readers.peek().is_some() && readers.all(|reader| exact.contains(reader)) {
            exact.insert(position);
        }
    }
    exact
}

/// A graph on its way from 32 to 16 bits.
struct Conversion {
    floats: HashSet<String>,
    /// Tensors that nodes of 16 bits have written.
    halves: HashSet<String>,
    /// The same tensor in the other precision.
    casts: HashMap<String, String>,
    nodes: Vec<Node>,
    /// Constants in 16 bits, by the name of the one in 32.
    constants: HashMap<String, Tensor>,
}

impl Conversion {
    /// Gives a node its inputs in the precision that it computes in.
    fn node(&mut self, graph: &Graph, node: &mut Node, is_exact: bool) -> Result<(), EditError> {
        // The shape of any tensor is the same; scales are 32-bit floats by the standard.
        let data_inputs = match node.op_type() {
            "Shape" => 0,
            "Resize" => 1,
            _ => node.input.len(),
        };
        for input in node.input.iter_mut().take(data_inputs) {
            if !self.floats.contains(input) {
                continue;
            }
            if graph.constant(input).is_some() {
                if !is_exact {
                    *input = self.constant(graph, input)?;
                }
            } else if self.halves.contains(input) == is_exact {
                *input = self.cast(input, is_exact);
            }
        }
        if !is_exact {
            self.halves.extend(node.output.iter().cloned());
        }
        Ok(())
    }

    fn cast(&mut self, tensor: &str, to_exact: bool) -> String {
        let nodes = &mut self.nodes;
        let cast = self.casts.entry(tensor.to_owned()).or_insert_with(|| {
            let (name, to) = if to_exact { ("fp32", element::FLOAT) } else { ("fp16", element::FLOAT16) };
            let name = format!("{tensor}.{name}");
            nodes.push(Node::new("Cast", &[tensor], &name).with(Attribute::integer("to", to.into())));
            name
        });
        cast.clone()
    }

    fn constant(&mut self, graph: &Graph, name: &str) -> Result<String, EditError> {
        if let Some(known) = self.constants.get(name) {
            return Ok(known.name().to_owned());
        }
        let tensor = constant(graph, name)?;
        let values = tensor.floats()?;
        if let Some(&value) = values.iter().find(|value| value.abs() > half::MAX) {
            return Err(EditError::TooLarge { tensor: name.to_owned(), value });
        }
        let halves: Vec<u16> = values.into_iter().map(half::of_float).collect();
        let new_name = format!("{name}.fp16");
        self.constants.insert(name.to_owned(), Tensor::of_halves(&new_name, &tensor.dims, &halves));
        Ok(new_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::ValueInfo;

    /// A convolution, its mean, which weighs it, a normalisation, a product, and the softmax of it.
    fn graph() -> Graph {
        Graph {
            node: vec![
                Node::new("Conv", &["x", "w"], "c"),
                Node::new("ReduceMean", &["c"], "mean"),
                Node::new("Conv", &["mean", "w2"], "gate"),
                Node::new("Mul", &["c", "gate"], "weighted"),
                Node::new("Pow", &["weighted", "two"], "square"),
                Node::new("Add", &["square", "epsilon"], "sum"),
                Node::new("MatMul", &["sum", "w3"], "m"),
                Node::new("Add", &["m", "b"], "logits"),
                Node::new("Softmax", &["logits"], "y"),
            ],
            initializer: vec![
                Tensor::of_floats("w", &[2], &[1.0, 0.1]),
                Tensor::of_floats("w2", &[1], &[2.0]),
                Tensor::of_floats("two", &[], &[2.0]),
                Tensor::of_floats("epsilon", &[], &[1e-6]),
                Tensor::of_floats("w3", &[1], &[3.0]),
                Tensor::of_floats("b", &[1], &[4.0]),
            ],
            input: vec![ValueInfo::symbolic("x", element::FLOAT, &["N"])],
            output: vec![ValueInfo::symbolic("y", element::FLOAT, &["N"])],
            ..Default::default()
        }
    }

    fn node<'graph>(graph: &'graph Graph, output: &str) -> &'graph Node {
        graph.node.iter().find(|node| node.output[0] == output).unwrap()
    }

    #[test]
    fn products_are_in_halves_and_means_norms_and_softmax_are_not() {
        let mut graph = graph();
        assert_eq!(convert(&mut graph).unwrap(), 3);
        assert_eq!(node(&graph, "c").input, ["x.fp16", "w.fp16"]);
        assert_eq!(node(&graph, "mean").input, ["c.fp32"]);
        assert_eq!(node(&graph, "gate").input, ["mean.fp16", "w2.fp16"]);
        assert_eq!(node(&graph, "square").input, ["weighted", "two"]);
        assert_eq!(node(&graph, "m").input, ["sum.fp16", "w3.fp16"]);
        assert_eq!(node(&graph, "y").input, ["logits"]);
    }

    #[test]
    fn what_stands_between_exact_nodes_is_exact() {
        let mut graph = graph();
        convert(&mut graph).unwrap();
        // Before the square, behind it, and before the softmax.
        assert_eq!(node(&graph, "weighted").input, ["c.fp32", "gate.fp32"]);
        assert_eq!(node(&graph, "sum").input, ["square", "epsilon"]);
        assert_eq!(node(&graph, "logits").input, ["m.fp32", "b"]);
        assert_eq!(graph.constant("epsilon").unwrap().floats().unwrap(), [1e-6]);
    }

    #[test]
    fn the_way_in_and_out_keeps_its_type() {
        let mut graph = graph();
        graph.output = vec![ValueInfo::symbolic("m", element::FLOAT, &["N"])];
        convert(&mut graph).unwrap();
        assert_eq!(node(&graph, "m").input, ["sum", "w3"]);
        assert_eq!(node(&graph, "x.fp16").input, ["x"]);
        assert_eq!(node(&graph, "x.fp16").integer("to", 0), i64::from(element::FLOAT16));
    }

    #[test]
    fn weights_are_rounded_to_the_nearest_half() {
        let mut graph = graph();
        convert(&mut graph).unwrap();
        let weights = graph.constant("w.fp16").unwrap();
        assert_eq!((weights.data_type(), weights.dims.as_slice()), (element::FLOAT16, &[2][..]));
        let expected: Vec<u8> = [1.0, 0.1].into_iter().flat_map(|value| half::of_float(value).to_le_bytes()).collect();
        assert_eq!(weights.raw_data, Some(expected));
        assert!(graph.constant("w").is_none(), "nobody reads it any more");
    }

    #[test]
    fn places_and_shapes_are_no_floats() {
        let mut graph = Graph {
            node: vec![
                Node::new("Conv", &["x", "w"], "c"),
                Node::new("Shape", &["c"], "shape"),
                Node::new("Resize", &["c", "roi", "scales"], "r"),
                Node::new("Reshape", &["r", "shape"], "s"),
                Node { output: vec!["high".into(), "place".into()], ..Node::new("TopK", &["s", "one"], "high") },
                Node::new("Gather", &["place", "one"], "y"),
            ],
            initializer: vec![
                Tensor::of_floats("w", &[1], &[1.0]),
                Tensor::of_floats("roi", &[0], &[]),
                Tensor::of_floats("scales", &[1], &[2.0]),
                Tensor::of_integers("one", &[1], &[1]),
            ],
            input: vec![ValueInfo::symbolic("x", element::FLOAT, &["N"])],
            output: vec![ValueInfo::symbolic("y", element::INT64, &["N"])],
            ..Default::default()
        };
        convert(&mut graph).unwrap();
        assert_eq!(node(&graph, "shape").input, ["c"]);
        assert_eq!(node(&graph, "r").input, ["c", "roi", "scales"]);
        assert_eq!(node(&graph, "high").input, ["s", "one"]);
        assert_eq!(node(&graph, "s").input, ["r.fp32", "shape"]);
        assert_eq!(node(&graph, "y").input, ["place", "one"]);
    }

    #[test]
    fn a_constant_beyond_the_range_of_halves_is_refused_by_name() {
        let mut graph = graph();
        graph.initializer[4] = Tensor::of_floats("w3", &[1], &[70_000.0]);
        let error = convert(&mut graph).unwrap_err();
        assert!(matches!(&error, EditError::TooLarge { tensor, .. } if tensor == "w3"), "{error}");
    }

    #[test]
    fn the_same_network_gives_the_same_bytes() {
        let make = || {
            let mut graph = graph();
            convert(&mut graph).unwrap();
            graph
        };
        assert_eq!(make(), make());
    }
}
