//! Puts products of bytes in the place of convolutions, and keeps the maps around them with their channels last.
//!
//! Turning a map around costs as much as adding to it, so what stands between two products is computed with the channels
//! last as well, and a map is turned back only for who needs it as it was.

use std::collections::{HashMap, HashSet};

use super::numbers::{Grid, Weights};
use super::record::{Entry, Record};
use super::targets::{Target, maps};
use crate::edits::{EditError, constant};
use crate::onnx::graph::Index;
use crate::onnx::proto::{Attribute, Graph, Node, Tensor};

/// Rewrites the graph for these targets, all of which the record has.
pub(super) fn rewrite(graph: &mut Graph, targets: &[Target], record: &Record) -> Result<(), EditError> {
    let mut rewriter = Rewriter {
        graph,
        index: Index::of(graph),
        maps: maps(graph),
        targets: targets.iter().map(|target| (target.output.as_str(), target)).collect(),
        record,
        last: HashMap::new(),
        first: graph.input.iter().map(|input| input.name().to_owned()).collect(),
        bytes: HashMap::new(),
        nodes: Vec::new(),
        constants: Vec::new(),
    };
    for node in &graph.node {
        rewriter.node(node)?;
    }
    for output in &graph.output {
        rewriter.channels_first(output.name());
    }
    let Rewriter { nodes, constants, .. } = rewriter;
    graph.node = nodes;
    graph.initializer.extend(constants);
    Ok(())
}

/// The bias of a convolution whose weights have these scales in bytes, with what the rounding takes away on average.
pub(super) fn corrected_bias(
    graph: &Graph,
    node: &Node,
    target: &Target,
    entry: &Entry,
    scales: &[f32],
) -> Result<Vec<f32>, EditError> {
    let mut bias = match node.input.get(2) {
        Some(bias) => constant(graph, bias)?.floats()?,
        None => vec![0.0; target.outputs],
    };
    let grid = entry.grid();
    let corrections = entry.corrections.get(&target.convolution).map(Vec::as_slice).unwrap_or_default();
    for ((bias, scale), &correction) in bias.iter_mut().zip(scales).zip(corrections) {
        // Checked with the record to be below 2^24.
        #[expect(clippy::cast_precision_loss, reason = "below 2^24")]
        let correction = correction as f32;
        *bias += correction * (grid.scale * scale);
    }
    Ok(bias)
}

/// The names of a map in bytes, and of what they stand for.
#[derive(Clone)]
struct Bytes {
    values: String,
    scale: String,
    zero: String,
}

struct Rewriter<'graph> {
    graph: &'graph Graph,
    index: Index,
    /// Tensors that can be turned.
    maps: HashSet<String>,
    /// By the tensor that they write.
    targets: HashMap<&'graph str, &'graph Target>,
    record: &'graph Record,
    /// The same tensor with its channels last.
    last: HashMap<String, String>,
    /// Tensors that are there as they were.
    first: HashSet<String>,
    bytes: HashMap<String, Bytes>,
    nodes: Vec<Node>,
    constants: Vec<Tensor>,
}

impl<'graph> Rewriter<'graph> {
    fn node(&mut self, node: &'graph Node) -> Result<(), EditError> {
        let output = node.only_output().unwrap_or_default();
        if let Some(target) = self.targets.get(output).copied() {
            return self.product(node, target);
        }
        if self.goes_along(node) {
            let turned = format!("{output}.last");
            let inputs = node.input.iter().map(|input| self.channels_last(input)).collect();
            let name = node.name.as_ref().map(|name| format!("{name}.last"));
            self.nodes.push(Node { input: inputs, output: vec![turned.clone()], name, ..node.clone() });
            self.last.insert(output.to_owned(), turned);
            return Ok(());
        }
        for input in &node.input {
            self.channels_first(input);
        }
        self.first.extend(node.output.iter().cloned());
        self.nodes.push(node.clone());
        Ok(())
    }

    /// Whether a node is better computed with the channels last: one that reads a product's result pixel by pixel, and
    /// the weighing of channels whose result a product reads.
    fn goes_along(&self, node: &Node) -> bool {
        let only_last = |tensor: &String| self.last.contains_key(tensor) && !self.first.contains(tensor);
        let all_maps = || node.input.iter().all(|input| self.maps.contains(input));
        if node.is("Relu") || node.is_of_runtime("Gelu") || (node.is("Add") && all_maps()) {
            return node.input.iter().any(only_last);
        }
        let from_gate = |tensor: &String| {
            let writer = self.index.producer(tensor).and_then(|position| self.graph.node.get(position));
            writer.is_some_and(|writer| writer.is("HardSigmoid") || writer.is("Sigmoid"))
        };
        let output = node.only_output().unwrap_or_default();
        let read_by_product = || self.targets.values().any(|target| target.input == output);
        let [map, gate] = node.input.as_slice() else { return false };
        let weighs = |map: &String, gate: &String| self.maps.contains(map) && from_gate(gate);
        node.is("Mul") && (weighs(map, gate) || weighs(gate, map)) && read_by_product()
    }

    /// The tensor with its channels last.
    fn channels_last(&mut self, tensor: &str) -> String {
        if let Some(known) = self.last.get(tensor) {
            return known.clone();
        }
        let turned = format!("{tensor}.last");
        let turn = Node::new("Transpose", &[tensor], &turned).with(Attribute::integers("perm", &[0, 2, 3, 1]));
        self.nodes.push(turn);
        self.last.insert(tensor.to_owned(), turned.clone());
        turned
    }

    /// Makes sure that the tensor is there as it was.
    fn channels_first(&mut self, tensor: &str) {
        let Some(turned) = self.last.get(tensor).filter(|_| !self.first.contains(tensor)) else { return };
        let turn = Node::new("Transpose", &[turned], tensor).with(Attribute::integers("perm", &[0, 3, 1, 2]));
        self.nodes.push(turn);
        self.first.insert(tensor.to_owned());
    }

    /// A product of bytes in the place of a convolution.
    fn product(&mut self, node: &Node, target: &Target) -> Result<(), EditError> {
        let weights = constant(self.graph, &target.convolution)?.floats()?;
        let entry = self.record.entry(&target.input)?;
        let bytes = self.in_bytes(&target.input, entry.grid());
        let Weights { values, scales } = Weights::of(&weights, target.inputs);
        let bias = corrected_bias(self.graph, node, target, entry, &scales)?;

        let name = |part: &str| format!("{}.{part}", target.convolution);
        let [weights, weight_scales, new_bias] = [name("bytes"), name("scales"), name("bias")];
        let shape = [target.inputs, target.outputs].map(|length| i64::try_from(length).unwrap_or(i64::MAX));
        self.constants.extend([
            Tensor::of_signed_bytes(&weights, &shape, &values),
            Tensor::of_floats(&weight_scales, &[target.outputs], &scales),
            Tensor::of_floats(&new_bias, &[target.outputs], &bias),
        ]);
        let turned = format!("{}.last", target.output);
        // The empty one would be the weights' zero, which is 0.
        let inputs = [&bytes.values, &weights, &bytes.scale, &weight_scales, &bytes.zero, "", &new_bias];
        self.nodes.push(Node::of_runtime("MatMulIntegerToFloat", &inputs, &turned));
        self.last.insert(target.output.clone(), turned);
        Ok(())
    }

    /// The map in bytes, made once for all products that read it.
    fn in_bytes(&mut self, tensor: &str, grid: Grid) -> Bytes {
        if let Some(known) = self.bytes.get(tensor) {
            return known.clone();
        }
        let turned = self.channels_last(tensor);
        let [values, scale, zero] = ["bytes", "scale", "zero"].map(|part| format!("{tensor}.{part}"));
        self.constants.extend([Tensor::of_floats(&scale, &[], &[grid.scale]), Tensor::of_byte(&zero, grid.zero)]);
        self.nodes.push(Node::new("QuantizeLinear", &[&turned, &scale, &zero], &values));
        let bytes = Bytes { values, scale, zero };
        self.bytes.insert(tensor.to_owned(), bytes.clone());
        bytes
    }
}
