//! `c + c * s` becomes `c * (1 + s)` in blocks that weigh channels (squeeze and excitation).
//!
//! `c` is a whole map, `s` one number a channel: the sum moves from millions of values to some dozens. In the eight
//! blocks of the PP-OCRv6 small detector's neck it saves 3.5 % of the detector's time. Not equal to the bit, but the
//! page's probabilities differ by no more than between two optimisation levels of ONNX Runtime (5e-5).

use crate::onnx::graph::Index;
use crate::onnx::proto::{Graph, Node, Tensor};

/// Rewrites the blocks; returns how many.
pub fn rewrite(graph: &mut Graph) -> usize {
    let index = Index::of(graph);
    let blocks: Vec<Block> = (0..graph.node.len()).filter_map(|position| block(graph, &index, position)).collect();
    if blocks.is_empty() {
        return 0;
    }
    let one = graph.free_name("one");
    for block in &blocks {
        let weight = graph.free_name(&format!("{}_plus_one", block.scale));
        if let Some(product) = graph.node.get_mut(block.product) {
            *product = Node::new("Add", &[&block.scale, &one], &weight);
        }
        if let Some(sum) = graph.node.get_mut(block.sum) {
            *sum = Node::new("Mul", &[&block.map, &weight], &block.output);
        }
    }
    graph.initializer.push(Tensor::of_floats(&one, &[], &[1.0]));
    blocks.len()
}

struct Block {
    /// Position of the node `c * s`.
    product: usize,
    /// Position of the node `c + …`.
    sum: usize,
    map: String,
    scale: String,
    output: String,
}

fn block(graph: &Graph, index: &Index, sum: usize) -> Option<Block> {
    let node = graph.node.get(sum).filter(|node| node.is("Add"))?;
    let [left, right] = node.input.as_slice() else { return None };
    [(left, right), (right, left)].into_iter().find_map(|(map, weighted)| {
        let product = index.producer(weighted)?;
        let factors = graph.node.get(product).filter(|node| node.is("Mul"))?.input.as_slice();
        let scale = match factors {
            [first, second] if first == map => second,
            [first, second] if second == map => first,
            _ => return None,
        };
        let gate = graph.node.get(index.producer(scale)?)?;
        let known = gate.is("HardSigmoid") || gate.is("Sigmoid");
        (known && index.only_consumer(weighted) == Some(sum)).then(|| Block {
            product,
            sum,
            map: map.clone(),
            scale: scale.clone(),
            output: node.only_output().unwrap_or_default().to_owned(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::ValueInfo;

    fn graph(product: &[&str], sum: &[&str], gate: &str) -> Graph {
        Graph {
            node: vec![
                Node::new("Conv", &["x", "w"], "c"),
                Node::new("GlobalAveragePool", &["c"], "p"),
                Node::new(gate, &["p"], "s"),
                Node::new("Mul", product, "cs"),
                Node::new("Add", sum, "y"),
            ],
            input: vec![ValueInfo::symbolic("x", 1, &["N"])],
            output: vec![ValueInfo::symbolic("y", 1, &["N"])],
            initializer: vec![Tensor::of_floats("w", &[1], &[1.0])],
            ..Default::default()
        }
    }

    #[test]
    fn the_sum_moves_to_the_small_side_whatever_the_order_of_operands() {
        for product in [["c", "s"], ["s", "c"]] {
            for sum in [["c", "cs"], ["cs", "c"]] {
                let mut graph = graph(&product, &sum, "HardSigmoid");
                assert_eq!(rewrite(&mut graph), 1);
                graph.sort().unwrap();
                assert_eq!(graph.node[3].op_type(), "Add");
                assert_eq!(graph.node[3].input, ["s", "one"]);
                assert_eq!(graph.node[4].op_type(), "Mul");
                assert_eq!(graph.node[4].input, ["c", "s_plus_one"]);
                assert_eq!(graph.node[4].output, ["y"]);
                assert_eq!(graph.constant("one").unwrap().floats().unwrap(), [1.0]);
            }
        }
    }

    #[test]
    fn a_product_that_is_read_elsewhere_too_stays() {
        let mut graph = graph(&["c", "s"], &["c", "cs"], "HardSigmoid");
        graph.node.push(Node::new("Relu", &["cs"], "z"));
        let before = graph.clone();
        assert_eq!(rewrite(&mut graph), 0);
        assert_eq!(graph, before);
    }

    #[test]
    fn a_product_of_two_maps_stays() {
        assert_eq!(rewrite(&mut graph(&["c", "s"], &["c", "cs"], "Conv")), 0);
    }

    #[test]
    fn the_sum_with_another_map_stays() {
        assert_eq!(rewrite(&mut graph(&["c", "s"], &["x", "cs"], "HardSigmoid")), 0);
    }
}
