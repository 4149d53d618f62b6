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

#[cfg(test)]
mod tests {
    use super::super::tests::{graph, record, writer};
    use super::*;
    use crate::onnx::proto::element;

    fn quantised() -> Graph {
        let mut graph = graph();
        assert_eq!(quantise_explicitly(&mut graph, &record()).unwrap(), 2);
        graph
    }

    fn floats(graph: &Graph, name: &str) -> Vec<f32> {
        graph.constant(name).unwrap().floats().unwrap()
    }

    #[test]
    fn both_inputs_of_a_convolution_come_out_of_signed_bytes_whose_zero_is_zero() {
        let graph = quantised();
        for (output, map, weights) in [("b", "weighed", "first"), ("c", "gelu", "second")] {
            let convolution = writer(&graph, output);
            assert!(convolution.is("Conv"));
            assert_eq!(
                convolution.input,
                [format!("{map}.rounded"), format!("{weights}.rounded"), format!("{weights}.bias")]
            );
            let from_bytes = writer(&graph, &convolution.input[0]);
            let to_bytes = writer(&graph, &from_bytes.input[0]);
            assert!(from_bytes.is("DequantizeLinear") && to_bytes.is("QuantizeLinear"));
            assert_eq!(to_bytes.input[0], map);
            assert_eq!(from_bytes.input[1..], to_bytes.input[1..]);
            let zero = graph.constant(&to_bytes.input[2]).unwrap();
            assert_eq!((zero.data_type(), zero.raw_data.as_deref()), (element::INT8, Some(&[0_u8][..])));
        }
        assert_eq!(floats(&graph, "weighed.scale"), [4.0 / 127.0]);
        assert_eq!(floats(&graph, "gelu.scale"), [2.0 / 127.0]);
    }

    #[test]
    fn weights_lie_in_the_file_as_bytes_with_a_scale_for_each_output_channel() {
        let graph = quantised();
        let weights = writer(&graph, "first.rounded");
        assert_eq!((weights.op_type(), weights.integer("axis", 1)), ("DequantizeLinear", 0));
        let bytes = graph.constant(&weights.input[0]).unwrap();
        assert_eq!((bytes.data_type(), bytes.dims.as_slice()), (element::INT8, &[3, 2, 1, 1][..]));
        assert!(graph.constant("first").is_none(), "the weights lie in the file twice");
        let scales = floats(&graph, &weights.input[1]);
        let exact = [1.0, -2.0, 0.5, 0.25, -1.5, 4.0];
        for (position, (byte, exact)) in bytes.raw_data.as_ref().unwrap().iter().zip(exact).enumerate() {
            let weight = f32::from(byte.cast_signed()) * scales[position / 2];
            assert!((weight - exact).abs() <= scales[position / 2] / 2.0, "{position}: {weight} for {exact}");
        }
    }

    #[test]
    fn everything_else_stays_and_is_of_the_standard() {
        let (before, after) = (graph(), quantised());
        assert!(after.node.iter().all(|node| node.domain().is_empty()));
        for output in ["s", "g", "gate", "weighed", "gelu", "sum", "w", "row", "y"] {
            assert_eq!(writer(&after, output), writer(&before, output), "{output}");
        }
    }

    #[test]
    fn a_map_that_two_convolutions_read_is_rounded_once() {
        let mut two = graph();
        two.node.push(Node::new("Conv", &["weighed", "third"], "z").with(Attribute::integers("kernel_shape", &[1, 1])));
        two.initializer.push(Tensor::of_floats("third", &[1, 2, 1, 1], &[1.0, 1.0]));
        two.output.push(crate::onnx::proto::ValueInfo::symbolic("z", element::FLOAT, &["N", "C", "H", "W"]));
        let mut record = record();
        record.tensors[0].corrections.insert("third".to_owned(), vec![0]);
        assert_eq!(quantise_explicitly(&mut two, &record).unwrap(), 3);
        assert_eq!(two.node.iter().filter(|node| node.is("QuantizeLinear")).count(), 2);
        assert_eq!(writer(&two, "z").input[0], "weighed.rounded");
    }

    #[test]
    fn the_bias_has_the_correction_in_the_units_of_the_record() {
        let graph = quantised();
        let unit = |scale: f32| 5.0 / 255.0 * scale;
        let scales = floats(&graph, "first.scales");
        let expected = [10.0 + 5.0 * unit(scales[0]), 20.0, 30.0 - 7.0 * unit(scales[2])];
        for (found, expected) in floats(&graph, "first.bias").into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
        }
    }
}
