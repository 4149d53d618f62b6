//! Finding one's way in a graph, and keeping it in order after a change.

use std::collections::{HashMap, HashSet};

use super::proto::{
    Attribute, Dimension, Graph, Model, Node, OperatorSet, Shape, Tensor, TensorType, Type, ValueInfo, attribute_type,
};

/// The set of operators that ONNX Runtime adds to those of the standard.
pub const RUNTIME_SET: &str = "com.microsoft";

/// Who writes and who reads each tensor. Made anew after a change.
pub struct Index {
    producers: HashMap<String, usize>,
    consumers: HashMap<String, Vec<usize>>,
    initialisers: HashMap<String, usize>,
    outputs: HashSet<String>,
}

impl Index {
    /// The index of a graph as it is now.
    #[must_use]
    pub fn of(graph: &Graph) -> Self {
        let mut producers = HashMap::new();
        let mut consumers: HashMap<String, Vec<usize>> = HashMap::new();
        for (position, node) in graph.node.iter().enumerate() {
            for output in &node.output {
                producers.insert(output.clone(), position);
            }
            for input in &node.input {
                consumers.entry(input.clone()).or_default().push(position);
            }
        }
        let initialisers =
            graph.initializer.iter().enumerate().map(|(position, tensor)| (tensor.name().to_owned(), position));
        Self {
            producers,
            consumers,
            initialisers: initialisers.collect(),
            outputs: graph.output.iter().map(|output| output.name().to_owned()).collect(),
        }
    }

    /// Position of the node that writes a tensor.
    #[must_use]
    pub fn producer(&self, tensor: &str) -> Option<usize> {
        self.producers.get(tensor).copied()
    }

    /// Positions of the nodes that read a tensor.
    #[must_use]
    pub fn consumers(&self, tensor: &str) -> &[usize] {
        self.consumers.get(tensor).map_or(&[], Vec::as_slice)
    }

    /// Position of the only reader of a tensor that the graph does not give out.
    #[must_use]
    pub fn only_consumer(&self, tensor: &str) -> Option<usize> {
        match self.consumers(tensor) {
            [only] if !self.is_output(tensor) => Some(*only),
            _ => None,
        }
    }

    /// Position of the constant of that name.
    #[must_use]
    pub fn initialiser(&self, tensor: &str) -> Option<usize> {
        self.initialisers.get(tensor).copied()
    }

    /// Whether the graph gives the tensor out.
    #[must_use]
    pub fn is_output(&self, tensor: &str) -> bool {
        self.outputs.contains(tensor)
    }
}

impl Graph {
    /// The constant of that name.
    #[must_use]
    pub fn constant(&self, name: &str) -> Option<&Tensor> {
        self.initializer.iter().find(|tensor| tensor.name() == name)
    }

    /// A name that nothing in the graph has: `wanted`, or with a number behind it.
    #[must_use]
    pub fn free_name(&self, wanted: &str) -> String {
        let taken: HashSet<&str> = self
            .node
            .iter()
            .flat_map(|node| node.input.iter().chain(&node.output))
            .map(String::as_str)
            .chain(self.initializer.iter().map(Tensor::name))
            .collect();
        let numbered = (1_u32..).map(|number| format!("{wanted}_{number}"));
        std::iter::once(wanted.to_owned())
            .chain(numbered)
            .find(|name| !taken.contains(name.as_str()))
            .unwrap_or_else(|| wanted.to_owned())
    }

    /// Takes nodes out, by their position.
    pub fn remove_nodes(&mut self, is_gone: impl Fn(usize) -> bool) {
        let mut positions = 0..;
        self.node.retain(|_| positions.next().is_none_or(|position| !is_gone(position)));
    }

    /// Drops nodes that nobody reads, constants that nobody reads, and shapes written down before the change.
    pub fn tidy(&mut self) {
        loop {
            let index = Index::of(self);
            let before = self.node.len();
            self.node.retain(|node| {
                node.output.iter().any(|output| index.is_output(output) || !index.consumers(output).is_empty())
            });
            if self.node.len() == before {
                break;
            }
        }
        let read: HashSet<&String> = self.node.iter().flat_map(|node| &node.input).collect();
        self.initializer.retain(|tensor| read.contains(&tensor.name().to_owned()));
        self.value_info.clear();
    }

    /// Puts each node behind those that it reads from, else in the order in which they are.
    ///
    /// # Errors
    /// With the name of a tensor that nothing writes, or that is part of a circle.
    pub fn sort(&mut self) -> Result<(), String> {
        let constants = self.initializer.iter().map(|tensor| tensor.name().to_owned());
        let inputs = self.input.iter().map(|input| input.name().to_owned());
        // An optional input that is left out has an empty name.
        let mut known: HashSet<String> = constants.chain(inputs).chain([String::new()]).collect();
        let mut waiting = std::mem::take(&mut self.node);
        while !waiting.is_empty() {
            let before = waiting.len();
            let mut later = Vec::new();
            for node in waiting {
                if node.input.iter().all(|input| known.contains(input)) {
                    known.extend(node.output.iter().cloned());
                    self.node.push(node);
                } else {
                    later.push(node);
                }
            }
            waiting = later;
            if waiting.len() == before {
                let missing = waiting.iter().flat_map(|node| &node.input).find(|input| !known.contains(*input));
                return Err(missing.cloned().unwrap_or_default());
            }
        }
        Ok(())
    }
}

impl Model {
    /// Lets the graph use [`RUNTIME_SET`].
    pub fn allow_runtime_set(&mut self) {
        if self.opset_import.iter().all(|set| set.domain() != RUNTIME_SET) {
            self.opset_import.push(OperatorSet { domain: Some(RUNTIME_SET.to_owned()), version: Some(1) });
        }
    }
}

impl Node {
    /// A node without attributes.
    #[must_use]
    pub fn new(op_type: &str, inputs: &[&str], output: &str) -> Self {
        Self {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: Some(format!("{op_type}.{output}")),
            op_type: Some(op_type.to_owned()),
            ..Self::default()
        }
    }

    /// A node of ONNX Runtime's own set, without attributes. The file must name [`RUNTIME_SET`].
    #[must_use]
    pub fn of_runtime(op_type: &str, inputs: &[&str], output: &str) -> Self {
        Self { domain: Some(RUNTIME_SET.to_owned()), ..Self::new(op_type, inputs, output) }
    }

    /// The node with one more attribute.
    #[must_use]
    pub fn with(mut self, attribute: Attribute) -> Self {
        self.attribute.push(attribute);
        self
    }

    /// Whether it is this operator of the standard set.
    #[must_use]
    pub fn is(&self, op_type: &str) -> bool {
        self.op_type() == op_type && matches!(self.domain(), "" | "ai.onnx")
    }

    /// Whether it is this operator of ONNX Runtime's own set.
    #[must_use]
    pub fn is_of_runtime(&self, op_type: &str) -> bool {
        self.op_type() == op_type && self.domain() == RUNTIME_SET
    }

    /// The name of its only output.
    #[must_use]
    pub fn only_output(&self) -> Option<&str> {
        match self.output.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// An attribute by name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attribute.iter().find(|attribute| attribute.name() == name)
    }

    /// An attribute that is a list of integers; empty where it is left out.
    #[must_use]
    pub fn integers(&self, name: &str) -> &[i64] {
        self.attribute(name).map_or(&[], |attribute| &attribute.ints)
    }

    /// An attribute that is an integer, or what the standard takes where it is left out.
    #[must_use]
    pub fn integer(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).and_then(|attribute| attribute.i).unwrap_or(default)
    }
}

impl Attribute {
    /// An integer.
    #[must_use]
    pub fn integer(name: &str, value: i64) -> Self {
        Self { name: Some(name.to_owned()), i: Some(value), r#type: Some(attribute_type::INT), ..Self::default() }
    }

    /// A list of integers.
    #[must_use]
    pub fn integers(name: &str, values: &[i64]) -> Self {
        Self {
            name: Some(name.to_owned()),
            ints: values.to_vec(),
            r#type: Some(attribute_type::INTS),
            ..Self::default()
        }
    }

    /// A word.
    #[must_use]
    pub fn text(name: &str, value: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            s: Some(value.as_bytes().to_vec()),
            r#type: Some(attribute_type::STRING),
            ..Self::default()
        }
    }
}

impl ValueInfo {
    /// A tensor whose lengths are known by name only.
    #[must_use]
    pub fn symbolic(name: &str, element: i32, lengths: &[&str]) -> Self {
        let dim = lengths.iter().map(|&length| Dimension { dim_value: None, dim_param: Some(length.to_owned()) });
        let tensor_type = TensorType { elem_type: Some(element), shape: Some(Shape { dim: dim.collect() }) };
        Self { name: Some(name.to_owned()), r#type: Some(Type { tensor_type: Some(tensor_type) }), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph() -> Graph {
        Graph {
            node: vec![
                Node::new("Relu", &["x"], "a"),
                Node::new("Mul", &["a", "two"], "y"),
                Node::new("Exp", &["a"], "unread"),
            ],
            initializer: vec![Tensor::of_floats("two", &[], &[2.0]), Tensor::of_floats("unused", &[], &[3.0])],
            input: vec![ValueInfo::symbolic("x", 1, &["N"])],
            output: vec![ValueInfo::symbolic("y", 1, &["N"])],
            value_info: vec![ValueInfo::symbolic("a", 1, &["N"])],
            ..Default::default()
        }
    }

    #[test]
    fn tidy_drops_what_nobody_reads_and_keeps_the_rest() {
        let mut graph = graph();
        graph.tidy();
        assert_eq!(graph.node.iter().map(Node::op_type).collect::<Vec<_>>(), ["Relu", "Mul"]);
        assert_eq!(graph.initializer.iter().map(Tensor::name).collect::<Vec<_>>(), ["two"]);
        assert!(graph.value_info.is_empty());
    }

    #[test]
    fn sort_puts_a_node_behind_what_it_reads() {
        let mut graph = graph();
        graph.node.reverse();
        graph.sort().unwrap();
        assert_eq!(graph.node.iter().map(Node::op_type).collect::<Vec<_>>(), ["Relu", "Exp", "Mul"]);
    }

    #[test]
    fn sort_names_a_tensor_that_nothing_writes() {
        let mut graph = graph();
        graph.node.push(Node::new("Relu", &["nowhere"], "z"));
        assert_eq!(graph.sort(), Err("nowhere".to_owned()));
    }

    #[test]
    fn a_tensor_that_the_graph_gives_out_has_no_only_consumer() {
        let mut graph = graph();
        graph.node.truncate(2);
        assert_eq!(Index::of(&graph).only_consumer("a"), Some(1));
        graph.output.push(ValueInfo::symbolic("a", 1, &["N"]));
        assert_eq!(Index::of(&graph).only_consumer("a"), None);
    }

    #[test]
    fn a_free_name_is_taken_by_nothing_else() {
        assert_eq!(graph().free_name("two"), "two_1");
        assert_eq!(graph().free_name("new"), "new");
    }
}
