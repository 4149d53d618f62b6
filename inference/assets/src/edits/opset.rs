//! The network in a newer set of the standard operators.
//!
//! Weights with a scale for each channel are of set 13; the recognisers come in set 11. In between, the axes of some
//! operators became an input, and the softmax a sum along its axis alone, where it was one along that and all behind it.

use super::EditError;
use crate::onnx::proto::{Graph, Model, Node, OperatorSet, Tensor};

/// The set that networks are brought to.
const SET: i64 = 13;
/// The oldest set that they are brought from: others of their operators changed before it.
const OLDEST: i64 = 11;
/// The version of the format that came with [`SET`].
const FORMAT: i64 = 7;
/// Operators that changed in between and that no network of ours has.
const UNKNOWN: [&str; 4] = ["Hardmax", "LogSoftmax", "ReduceSum", "Split"];

/// Brings a network to [`SET`]; returns how many operators were changed. One that is in it, or in a newer one, stays.
///
/// # Errors
/// If the network's set is older than 11, or an operator may mean something else in the new one.
pub fn raise(model: &mut Model) -> Result<usize, EditError> {
    let standard = |set: &&mut OperatorSet| matches!(set.domain(), "" | "ai.onnx");
    let set = model.opset_import.iter_mut().find(standard);
    let set = set.ok_or_else(|| EditError::pattern("set of standard operators", "none is named"))?;
    let version = set.version();
    if version >= SET {
        return Ok(0);
    }
    if version < OLDEST {
        return Err(EditError::pattern("operators of set 11 or newer", format!("set {version}")));
    }
    set.version = Some(SET);
    model.ir_version = model.ir_version.max(Some(FORMAT));
    let graph = model.graph.get_or_insert_default();
    for node in &graph.node {
        check(node)?;
    }
    Ok(axes_become_inputs(graph))
}

fn check(node: &Node) -> Result<(), EditError> {
    let wrong = |what: &str| Err(EditError::pattern("operator that set 13 has too", format!("{} {what}", node.name())));
    if UNKNOWN.iter().any(|operator| node.is(operator)) {
        return wrong("changed");
    }
    // Of the last axis the two sets say the same. Ours have three or four, and how many is written nowhere in the file; an
    // attribute that is left out means another axis in each set.
    if node.is("Softmax") && !matches!(node.integer("axis", 0), -1 | 2 | 3) {
        return wrong("is not over the last axis");
    }
    Ok(())
}

fn axes_become_inputs(graph: &mut Graph) -> usize {
    let mut constants = Vec::new();
    for node in graph.node.iter_mut().filter(|node| node.is("Squeeze") || node.is("Unsqueeze")) {
        let axes = node.integers("axes").to_vec();
        node.attribute.retain(|attribute| attribute.name() != "axes");
        // Without any, all axes of length 1 go, in both sets.
        if let (false, Some(output), Ok(length)) = (axes.is_empty(), node.output.first(), i64::try_from(axes.len())) {
            let name = format!("{output}.axes");
            constants.push(Tensor::of_integers(&name, &[length], &axes));
            node.input.push(name);
        }
    }
    let count = constants.len();
    graph.initializer.extend(constants);
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::Attribute;

    fn model(version: i64, node: Node) -> Model {
        Model {
            ir_version: Some(6),
            graph: Some(Graph { node: vec![node], ..Graph::default() }),
            opset_import: vec![OperatorSet { domain: None, version: Some(version) }],
            ..Model::default()
        }
    }

    fn squeeze() -> Node {
        Node::new("Squeeze", &["x"], "y").with(Attribute::integers("axes", &[0, 2]))
    }

    fn softmax(axis: i64) -> Node {
        Node::new("Softmax", &["x"], "y").with(Attribute::integer("axis", axis))
    }

    #[test]
    fn axes_are_an_input_then() {
        let mut model = model(11, squeeze());
        assert_eq!(raise(&mut model).unwrap(), 1);
        assert_eq!((model.opset_import[0].version(), model.ir_version), (13, Some(7)));
        let graph = model.graph.unwrap();
        assert_eq!(
            (graph.node[0].input.as_slice(), graph.node[0].attribute.len()),
            (&["x".into(), "y.axes".into()][..], 0)
        );
        let expected = Tensor::of_integers("y.axes", &[2], &[0, 2]);
        assert_eq!(graph.initializer, [expected]);
    }

    #[test]
    fn a_network_of_that_set_stays_as_it_is() {
        let mut model = model(13, softmax(1));
        let before = model.clone();
        assert_eq!(raise(&mut model).unwrap(), 0);
        assert_eq!(model, before);
    }

    #[test]
    fn a_softmax_whose_meaning_may_change_is_refused() {
        for axis in [-1, 2, 3] {
            raise(&mut model(11, softmax(axis))).unwrap();
        }
        for node in [softmax(0), softmax(1), Node::new("Softmax", &["x"], "y")] {
            let error = raise(&mut model(11, node)).unwrap_err().to_string();
            assert!(error.contains("Softmax.y is not over the last axis"), "{error}");
        }
    }

    #[test]
    fn older_sets_and_operators_that_changed_are_refused() {
        assert!(raise(&mut model(10, squeeze())).unwrap_err().to_string().contains("set 10"));
        let split = Node::new("Split", &["x"], "y");
        assert!(raise(&mut model(11, split)).unwrap_err().to_string().contains("Split.y changed"));
    }
}
