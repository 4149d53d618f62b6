//! The constant that is added behind a convolution becomes the convolution's bias.
//!
//! ONNX Runtime does the same when it opens a file; the edits that put something else in a convolution's place do it
//! first, so that the convolution is one node.

use super::{EditError, constant};
use crate::onnx::graph::Index;
use crate::onnx::proto::{Graph, Node, Tensor};

/// Folds `Conv, Add`; returns how many.
///
/// # Errors
/// If the constants of such a place cannot be read.
pub fn fold(graph: &mut Graph) -> Result<usize, EditError> {
    let index = Index::of(graph);
    let mut places = Vec::new();
    for (position, node) in graph.node.iter().enumerate() {
        if let Some((sum, bias)) = addend(graph, &index, node) {
            places.push((position, sum, constant(graph, &bias)?.floats()?));
        }
    }
    for (convolution, sum, values) in &places {
        let output = graph.node.get(*sum).and_then(Node::only_output).map(str::to_owned);
        let (Some(output), Some(node)) = (output, graph.node.get_mut(*convolution)) else { continue };
        let bias = format!("{output}.bias");
        node.input.push(bias.clone());
        node.output = vec![output];
        graph.initializer.push(Tensor::of_floats(&bias, &[values.len()], values));
    }
    graph.remove_nodes(|position| places.iter().any(|(_, sum, _)| *sum == position));
    Ok(places.len())
}

/// The node that adds a number a channel to a convolution without a bias, and the name of the numbers.
fn addend(graph: &Graph, index: &Index, node: &Node) -> Option<(usize, String)> {
    let [_, weights] = node.input.as_slice() else { return None };
    let channels = *graph.constant(weights).filter(|_| node.is("Conv"))?.dims.first()?;
    let sum = index.only_consumer(node.only_output()?)?;
    let sum_node = graph.node.get(sum).filter(|node| node.is("Add"))?;
    let bias = sum_node.input.iter().find_map(|input| graph.constant(input))?;
    (bias.dims == [1, channels, 1, 1]).then(|| (sum, bias.name().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::ValueInfo;

    fn graph(bias: &[usize]) -> Graph {
        Graph {
            node: vec![
                Node::new("Conv", &["x", "w"], "c"),
                Node::new("Add", &["c", "b"], "s"),
                Node::new("Relu", &["s"], "y"),
            ],
            initializer: vec![
                Tensor::of_floats("w", &[2, 1, 1, 1], &[3., 4.]),
                Tensor::of_floats("b", bias, &[5., 6.]),
            ],
            input: vec![ValueInfo::symbolic("x", 1, &["N", "C", "H", "W"])],
            output: vec![ValueInfo::symbolic("y", 1, &["N", "C", "H", "W"])],
            ..Default::default()
        }
    }

    #[test]
    fn the_sums_name_stays_and_its_constant_is_the_bias() {
        let mut graph = graph(&[1, 2, 1, 1]);
        assert_eq!(fold(&mut graph).unwrap(), 1);
        let kinds: Vec<_> = graph.node.iter().map(Node::op_type).collect();
        assert_eq!(kinds, ["Conv", "Relu"]);
        assert_eq!(graph.node[0].output, ["s"]);
        let bias = graph.constant(&graph.node[0].input[2]).unwrap();
        assert_eq!((bias.dims.as_slice(), bias.floats().unwrap()), ([2].as_slice(), vec![5., 6.]));
    }

    #[test]
    fn a_constant_for_each_column_is_no_bias() {
        assert_eq!(fold(&mut graph(&[1, 1, 1, 2])).unwrap(), 0);
    }

    #[test]
    fn a_convolution_that_something_else_reads_too_stays() {
        let mut graph = graph(&[1, 2, 1, 1]);
        graph.node.push(Node::new("Exp", &["c"], "e"));
        assert_eq!(fold(&mut graph).unwrap(), 0);
        assert_eq!(graph.node.len(), 4);
    }
}
