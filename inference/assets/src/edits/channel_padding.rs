//! Convolutions get channels of zeros, up to the next multiple of 16.
//!
//! ONNX Runtime computes convolutions in blocks of 16 channels (`NCHWc` with AVX-512, blocks of 8 with AVX2). `Concat`
//! and `MaxPool` leave that layout where a count is no multiple: the PP-OCRv6 detector's stem has 24 and 12 channels
//! at half the page's width and height, so that whole maps were turned around. With 32 and 16 they stay, which saves
//! 2.5 % of the small detector's time and nothing of the tiny one's. Exact: a channel whose weights are zero is zero
//! after `Relu` and `MaxPool`, and is multiplied with zeros.

use std::collections::{BTreeSet, HashMap};

use super::{EditError, constant, replace_constant};
use crate::onnx::graph::Index;
use crate::onnx::proto::{Graph, Node, Tensor};

/// Channels of a block.
const BLOCK: usize = 16;

/// Pads the convolutions whose extra channels every reader can take; returns how many got some.
///
/// Only kernels larger than 1 x 1: the others of our networks read pooled maps of one pixel, where it gains nothing.
///
/// # Errors
/// If the weights of such a convolution cannot be read.
pub fn pad(graph: &mut Graph) -> Result<usize, EditError> {
    let index = Index::of(graph);
    let mut padded = padded_convolutions(graph, &index);
    // One that cannot be padded may take others with it, which share a `Concat`.
    loop {
        let view = View { graph, index: &index, padded: &padded };
        let kept: BTreeSet<usize> = padded.iter().copied().filter(|&conv| view.is_padded_for_all(conv)).collect();
        if kept == padded {
            break;
        }
        padded = kept;
    }
    rewrite(graph, &padded)
}

/// A stretch of channels: how many there were, and how many there are with the zeros behind them.
#[derive(Clone, Copy)]
struct Stretch {
    real: usize,
    padded: usize,
}

/// All convolutions that could be padded if their readers allow it.
fn padded_convolutions(graph: &Graph, index: &Index) -> BTreeSet<usize> {
    let eligible = |node: &Node| {
        weights_of_own(graph, index, node)
            .is_some_and(|weights| matches!(weights.dims.as_slice(), [_, _, h, w] if h * w > 1))
    };
    graph.node.iter().enumerate().filter(|(_, node)| eligible(node)).map(|(position, _)| position).collect()
}

/// The weights of a plain convolution, if it is one and no other node uses them.
fn weights_of_own<'graph>(graph: &'graph Graph, index: &Index, node: &Node) -> Option<&'graph Tensor> {
    let weights = node.input.get(1).filter(|_| node.is("Conv") && node.integer("group", 1) == 1)?;
    let bias_is_own = node.input.get(2).is_none_or(|bias| index.consumers(bias).len() == 1);
    graph.constant(weights).filter(|_| index.consumers(weights).len() == 1 && bias_is_own)
}

struct View<'graph> {
    graph: &'graph Graph,
    index: &'graph Index,
    padded: &'graph BTreeSet<usize>,
}

impl View<'_> {
    fn is_padded_for_all(&self, convolution: usize) -> bool {
        let output = self.graph.node.get(convolution).and_then(Node::only_output);
        output.is_some_and(|output| self.readers_take_zeros(output))
    }

    /// Whether everything that reads the tensor, directly or through others, can take more channels.
    fn readers_take_zeros(&self, tensor: &str) -> bool {
        let readers = self.index.consumers(tensor);
        !readers.is_empty() && !self.index.is_output(tensor) && readers.iter().all(|&reader| self.takes(reader, tensor))
    }

    fn takes(&self, reader: usize, tensor: &str) -> bool {
        let Some(node) = self.graph.node.get(reader) else { return false };
        let passes_on = || node.only_output().is_some_and(|output| self.readers_take_zeros(output));
        match node.op_type() {
            "Conv" => {
                let as_data = node.input.first().is_some_and(|data| data == tensor);
                as_data && weights_of_own(self.graph, self.index, node).is_some()
            }
            "Relu" | "MaxPool" => passes_on(),
            "Concat" => {
                node.integer("axis", 0) == 1 && node.input.iter().all(|input| self.comes_padded(input)) && passes_on()
            }
            _ => false,
        }
    }

    /// Whether the tensor's channels come from a padded convolution, so that its stretches are known.
    fn comes_padded(&self, tensor: &str) -> bool {
        let Some(position) = self.index.producer(tensor) else { return false };
        let Some(node) = self.graph.node.get(position) else { return false };
        match node.op_type() {
            "Conv" => self.padded.contains(&position),
            "Relu" | "MaxPool" => node.input.first().is_some_and(|input| self.comes_padded(input)),
            _ => false,
        }
    }
}

/// Writes the new weights, node by node from the input to the output.
fn rewrite(graph: &mut Graph, padded: &BTreeSet<usize>) -> Result<usize, EditError> {
    let mut layouts: HashMap<String, Vec<Stretch>> = HashMap::new();
    let mut grown = 0;
    for (position, node) in graph.node.clone().iter().enumerate() {
        let Some(output) = node.only_output() else { continue };
        match node.op_type() {
            "Conv" => {
                let input = node.input.first().and_then(|input| layouts.get(input));
                let own = padded.contains(&position);
                if input.is_none() && !own {
                    continue;
                }
                let stretch = pad_convolution(graph, node, input.map(Vec::as_slice), own)?;
                if own {
                    grown += usize::from(stretch.padded > stretch.real);
                    layouts.insert(output.to_owned(), vec![stretch]);
                }
            }
            "Relu" | "MaxPool" | "Concat" => {
                let inputs: Option<Vec<&Vec<Stretch>>> = node.input.iter().map(|input| layouts.get(input)).collect();
                if let Some(inputs) = inputs {
                    layouts.insert(output.to_owned(), inputs.into_iter().flatten().copied().collect());
                }
            }
            _ => {}
        }
    }
    Ok(grown)
}

/// Spreads the weights over the input's stretches, and adds outputs of zeros where the convolution is padded itself.
fn pad_convolution(graph: &mut Graph, node: &Node, input: Option<&[Stretch]>, own: bool) -> Result<Stretch, EditError> {
    let name = node.input.get(1).map(String::as_str).unwrap_or_default();
    let weights = constant(graph, name)?;
    let (shape, values) = (weights.shape()?, weights.floats()?);
    let [outputs, inputs, height, width] = *shape.as_slice() else {
        return Err(EditError::pattern("convolution with weights of four dimensions", name));
    };
    let whole = [Stretch { real: inputs, padded: inputs }];
    let input = input.unwrap_or(&whole);
    if input.iter().map(|stretch| stretch.real).sum::<usize>() != inputs {
        return Err(EditError::pattern("convolution that reads all channels of its input", name));
    }
    let new_outputs = if own { outputs.next_multiple_of(BLOCK) } else { outputs };
    let new_inputs: usize = input.iter().map(|stretch| stretch.padded).sum();
    let kernel = height * width;

    let mut new_values = Vec::with_capacity(new_outputs * new_inputs * kernel);
    let mut old_values = values.into_iter();
    for _ in 0..outputs {
        for stretch in input {
            new_values.extend(old_values.by_ref().take(stretch.real * kernel));
            new_values.resize(new_values.len() + (stretch.padded - stretch.real) * kernel, 0.0);
        }
    }
    new_values.resize(new_outputs * new_inputs * kernel, 0.0);
    replace_constant(graph, name, Tensor::of_floats(name, &[new_outputs, new_inputs, height, width], &new_values))?;

    if let Some(bias) = node.input.get(2).filter(|_| new_outputs > outputs) {
        let mut values = constant(graph, bias)?.floats()?;
        values.resize(new_outputs, 0.0);
        replace_constant(graph, bias, Tensor::of_floats(bias, &[new_outputs], &values))?;
    }
    Ok(Stretch { real: outputs, padded: new_outputs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::{Attribute, ValueInfo};

    fn convolution(input: &str, weights: &str, bias: &str, output: &str) -> Node {
        let inputs: Vec<&str> = [input, weights, bias].into_iter().filter(|name| !name.is_empty()).collect();
        Node::new("Conv", &inputs, output)
    }

    fn weights(name: &str, outputs: usize, inputs: usize, side: usize) -> Tensor {
        let count = u16::try_from(outputs * inputs * side * side).unwrap();
        let values: Vec<f32> = (1..=count).map(f32::from).collect();
        Tensor::of_floats(name, &[outputs, inputs, side, side], &values)
    }

    /// Two convolutions of 3 and 20 channels that a `Concat` joins, and one that reads both.
    fn graph() -> Graph {
        Graph {
            node: vec![
                convolution("x", "w1", "b1", "a"),
                Node::new("Relu", &["a"], "ar"),
                convolution("ar", "w2", "", "b"),
                Node::new("MaxPool", &["ar"], "p"),
                Node::new("Concat", &["p", "b"], "c").with(Attribute::integer("axis", 1)),
                convolution("c", "w3", "b3", "d"),
                Node::new("Sigmoid", &["d"], "y"),
            ],
            initializer: vec![
                weights("w1", 3, 1, 2),
                Tensor::of_floats("b1", &[3], &[7., 8., 9.]),
                weights("w2", 20, 3, 2),
                weights("w3", 2, 23, 1),
                Tensor::of_floats("b3", &[2], &[1., 2.]),
            ],
            input: vec![ValueInfo::symbolic("x", 1, &["N", "C", "H", "W"])],
            output: vec![ValueInfo::symbolic("y", 1, &["N", "C", "H", "W"])],
            ..Default::default()
        }
    }

    fn shape(graph: &Graph, name: &str) -> Vec<i64> {
        graph.constant(name).unwrap().dims.clone()
    }

    #[test]
    fn channels_grow_to_multiples_of_sixteen_and_the_reader_skips_the_zeros() {
        let mut graph = graph();
        assert_eq!(pad(&mut graph).unwrap(), 2);
        assert_eq!(shape(&graph, "w1"), [16, 1, 2, 2]);
        assert_eq!(shape(&graph, "b1"), [16]);
        assert_eq!(shape(&graph, "w2"), [32, 16, 2, 2]);
        assert_eq!(shape(&graph, "w3"), [2, 48, 1, 1]);
        assert_eq!(shape(&graph, "b3"), [2]);

        let first = graph.constant("w1").unwrap().floats().unwrap();
        assert_eq!(first[..12], [1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12.]);
        assert!(first[12..].iter().all(|&value| value == 0.0));
        assert_eq!(graph.constant("b1").unwrap().floats().unwrap()[..4], [7., 8., 9., 0.]);

        let last = graph.constant("w3").unwrap().floats().unwrap();
        // The second output: 3 real channels, 13 of zeros, 20 real ones, 12 of zeros.
        let row = &last[48..];
        assert_eq!(row[..4], [24., 25., 26., 0.]);
        assert_eq!(row[15..18], [0., 27., 28.]);
        assert_eq!(row[34..37], [45., 46., 0.]);
        assert_eq!(row[44..], [0.; 4]);
    }

    #[test]
    fn a_convolution_with_a_reader_that_needs_the_count_stays_with_all_that_share_its_concat() {
        let mut graph = graph();
        graph.node.push(Node::new("Softmax", &["b"], "z"));
        let before = graph.clone();
        assert_eq!(pad(&mut graph).unwrap(), 0);
        assert_eq!(graph, before);
    }

    #[test]
    fn a_grouped_convolution_takes_no_zeros() {
        let mut graph = graph();
        graph.node[5].attribute.push(Attribute::integer("group", 23));
        assert_eq!(pad(&mut graph).unwrap(), 0);
    }

    #[test]
    fn weights_that_two_convolutions_share_stay() {
        let mut graph = graph();
        graph.node.push(convolution("x", "w1", "", "second"));
        assert_eq!(pad(&mut graph).unwrap(), 0);
    }
}
