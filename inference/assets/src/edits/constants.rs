//! Constant nodes become initialisers.
//!
//! The PP-OCRv4 files keep every weight in a `Constant` node. The other edits look for weights in one place only, the
//! initialisers; ONNX Runtime makes the same of both.

use crate::onnx::proto::Graph;

/// Moves the tensors of `Constant` nodes to the initialisers; returns how many.
pub fn hoist(graph: &mut Graph) -> usize {
    let mut hoisted = Vec::new();
    graph.node.retain_mut(|node| {
        if !node.is("Constant") {
            return true;
        }
        let name = node.only_output().map(str::to_owned);
        let value = node.attribute.iter_mut().find(|attribute| attribute.name() == "value");
        let tensor = value.and_then(|attribute| attribute.t.take());
        match (name, tensor) {
            (Some(name), Some(mut tensor)) => {
                tensor.name = Some(name);
                hoisted.push(tensor);
                false
            }
            _ => true,
        }
    });
    let count = hoisted.len();
    graph.initializer.append(&mut hoisted);
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::{Attribute, Node, Tensor};

    fn constant(output: &str, attribute: Attribute) -> Node {
        Node::new("Constant", &[], output).with(attribute)
    }

    #[test]
    fn a_tensor_moves_under_the_nodes_output_name() {
        let value = Attribute {
            name: Some("value".into()),
            t: Some(Tensor::of_floats("other", &[1], &[2.5])),
            ..Default::default()
        };
        let mut graph = Graph {
            node: vec![constant("weights", value), Node::new("Relu", &["weights"], "y")],
            ..Default::default()
        };
        assert_eq!(hoist(&mut graph), 1);
        assert_eq!(graph.node.len(), 1);
        assert_eq!(graph.constant("weights").unwrap().floats().unwrap(), [2.5]);
    }

    #[test]
    fn a_constant_of_another_kind_stays() {
        let mut graph = Graph { node: vec![constant("n", Attribute::integer("value_int", 3))], ..Default::default() };
        let before = graph.clone();
        assert_eq!(hoist(&mut graph), 0);
        assert_eq!(graph, before);
    }
}
