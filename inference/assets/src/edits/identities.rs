//! `Identity` nodes go.
//!
//! The converter leaves one behind most operators: 135 in the PP-OCRv6 small recogniser, 192 in the PP-OCRv5 detector.
//! They stand between the operators that ONNX Runtime would fuse: the same PP-OCRv6 detector with 147 of them takes
//! 1608 ms for a page of 1504 x 704, without them 505 ms.

use std::collections::{HashMap, HashSet};

use crate::onnx::proto::Graph;

/// Takes out the `Identity` nodes; returns how many.
pub fn remove(graph: &mut Graph) -> usize {
    let outputs: HashSet<String> = graph.output.iter().map(|output| output.name().to_owned()).collect();
    let fixed: HashSet<String> = graph
        .input
        .iter()
        .map(|input| input.name().to_owned())
        .chain(graph.initializer.iter().map(|tensor| tensor.name().to_owned()))
        .chain(outputs.iter().cloned())
        .collect();
    // What each removed output is called instead. Nodes are in topological order, so one look-up is enough.
    let mut renamed: HashMap<String, String> = HashMap::new();
    // Tensors that take over the name that the graph gives out.
    let mut promoted: HashMap<String, String> = HashMap::new();
    let before = graph.node.len();
    graph.node.retain(|node| {
        let ([input], [output]) = (node.input.as_slice(), node.output.as_slice()) else { return true };
        if !node.is("Identity") {
            return true;
        }
        let source = renamed.get(input).unwrap_or(input).clone();
        if !outputs.contains(output) {
            renamed.insert(output.clone(), source);
            return false;
        }
        // The graph's output keeps its name, so here the source is renamed; a name that is fixed itself cannot be.
        if fixed.contains(&source) || promoted.contains_key(&source) {
            return true;
        }
        promoted.insert(source, output.clone());
        false
    });
    for name in graph.node.iter_mut().flat_map(|node| node.input.iter_mut().chain(&mut node.output)) {
        if let Some(source) = renamed.get(name.as_str()) {
            name.clone_from(source);
        }
        if let Some(output) = promoted.get(name.as_str()) {
            name.clone_from(output);
        }
    }
    before - graph.node.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::{Node, ValueInfo};

    fn graph(nodes: Vec<Node>) -> Graph {
        Graph {
            node: nodes,
            input: vec![ValueInfo::symbolic("x", 1, &["N"])],
            output: vec![ValueInfo::symbolic("y", 1, &["N"])],
            ..Default::default()
        }
    }

    #[test]
    fn a_chain_of_identities_leaves_its_source() {
        let mut graph = graph(vec![
            Node::new("Relu", &["x"], "a"),
            Node::new("Identity", &["a"], "b"),
            Node::new("Identity", &["b"], "c"),
            Node::new("Add", &["c", "b"], "y"),
        ]);
        assert_eq!(remove(&mut graph), 2);
        assert_eq!(graph.node[1].input, ["a", "a"]);
    }

    #[test]
    fn the_name_that_the_graph_gives_out_is_kept() {
        let mut graph = graph(vec![
            Node::new("Relu", &["x"], "a"),
            Node::new("Exp", &["a"], "unread"),
            Node::new("Identity", &["a"], "y"),
        ]);
        assert_eq!(remove(&mut graph), 1);
        assert_eq!(graph.node[0].output, ["y"]);
        assert_eq!(graph.node[1].input, ["y"]);
    }

    #[test]
    fn an_identity_from_input_to_output_stays() {
        let mut graph = graph(vec![Node::new("Identity", &["x"], "y")]);
        assert_eq!(remove(&mut graph), 0);
        assert_eq!(graph.node.len(), 1);
    }
}
