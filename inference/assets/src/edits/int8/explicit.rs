//! The same convolutions in bytes, said in operators of the standard, for TensorRT.
//!
//! TensorRT computes a convolution in bytes where both of its inputs come out of a `DequantizeLinear` (explicit
//! quantisation):
//! ```text
//! map -> QuantizeLinear, to signed bytes -> DequantizeLinear -> Conv
//!                      weights in signed bytes -> DequantizeLinear ^
//! ```
//! It takes bytes whose zero is 0 alone, so a map that is mostly above 0 has half of the steps that it has in
//! [`quantise`](super::quantise), and needs one scale for a map and one for each output channel of the weights. Everything
//! else stays in floats, which TensorRT may compute in 16 bits.
//!
//! ONNX Runtime's CPU provider computes the same graph with the rounding of the bytes and products of floats: slowly, and on
//! every CPU, so that what the rounding costs can be seen without a GPU.

use std::collections::HashSet;

use super::layout::corrected_bias;
use super::numbers::{Weights, symmetric_scale};
use super::record::Record;
use super::targets::{Target, targets};
use crate::edits::{EditError, bias, constant, finish};
use crate::onnx::proto::{Attribute, Graph, Node, Tensor};

/// Marks the convolutions of a finished graph by a record; returns how many. The model must be of set 13 or newer.
///
/// # Errors
/// If the record is not one of this graph, with the name of what it lacks or has in excess.
pub fn quantise_explicitly(graph: &mut Graph, record: &Record) -> Result<usize, EditError> {
    bias::fold(graph)?;
    let targets = targets(graph);
    record.check(&targets)?;
    let mut rounded = HashSet::new();
    for target in &targets {
        let entry = record.entry(&target.input)?;
        let weights = Weights::of(&constant(graph, &target.convolution)?.floats()?, target.inputs);
        let position = graph.node.iter().position(|node| node.only_output() == Some(&target.output));
        let node = position.and_then(|position| graph.node.get(position));
        let node = node.ok_or_else(|| EditError::pattern("convolution that writes", &target.output))?.clone();
        let bias = corrected_bias(graph, &node, target, entry, &weights.scales)?;
        if rounded.insert(target.input.clone()) {
            round_map(graph, &target.input, symmetric_scale(entry.low, entry.high));
        }
        let inputs = [round_weights(graph, target, &weights), new_bias(graph, target, &bias)];
        if let Some(node) = position.and_then(|position| graph.node.get_mut(position)) {
            node.input = [vec![name(&target.input, "rounded")], inputs.to_vec()].concat();
        }
    }
    finish(graph)?;
    Ok(targets.len())
}

fn name(tensor: &str, part: &str) -> String {
    format!("{tensor}.{part}")
}

/// To bytes and back, once for all convolutions that read the map.
fn round_map(graph: &mut Graph, map: &str, scale: f32) {
    let [bytes, rounded, scale_name, zero] = ["bytes", "rounded", "scale", "zero"].map(|part| name(map, part));
    graph.initializer.extend([
        Tensor::of_floats(&scale_name, &[], &[scale]),
        // It says that the bytes have a sign, too.
        Tensor::of_signed_bytes(&zero, &[], &[0]),
    ]);
    graph.node.extend([
        Node::new("QuantizeLinear", &[map, &scale_name, &zero], &bytes),
        Node::new("DequantizeLinear", &[&bytes, &scale_name, &zero], &rounded),
    ]);
}

/// The convolution's weights, which lie in the file as bytes.
fn round_weights(graph: &mut Graph, target: &Target, weights: &Weights) -> String {
    let [bytes, scales, rounded] = ["bytes", "scales", "rounded"].map(|part| name(&target.convolution, part));
    let [outputs, inputs] = [target.outputs, target.inputs].map(|length| i64::try_from(length).unwrap_or(i64::MAX));
    graph.initializer.extend([
        Tensor::of_signed_bytes(&bytes, &[outputs, inputs, 1, 1], &weights.by_output()),
        Tensor::of_floats(&scales, &[target.outputs], &weights.scales),
    ]);
    let node = Node::new("DequantizeLinear", &[&bytes, &scales], &rounded);
    graph.node.push(node.with(Attribute::integer("axis", 0)));
    rounded
}

fn new_bias(graph: &mut Graph, target: &Target, bias: &[f32]) -> String {
    let name = name(&target.convolution, "bias");
    graph.initializer.push(Tensor::of_floats(&name, &[target.outputs], bias));
    name
}
