//! The detector's two `ConvTranspose` become two 1 x 1 convolutions and one `DepthToSpace`.
//!
//! The head doubles the map twice with kernels of 2 x 2 and a stride of 2, so that no two outputs share an input
//! pixel: each output is a 1 x 1 convolution of its own. All 16 outputs of a pixel are computed beside each other as
//! channels, at a quarter of the width and height, and put in their places at the end. The sums are the same;
//! `ConvTranspose` has no fast kernel, so that it saves 3 % of the PP-OCRv6 small detector's time.

use super::{EditError, constant};
use crate::onnx::graph::Index;
use crate::onnx::proto::{Attribute, Graph, Node, Tensor};

/// Rewrites `ConvTranspose, Add, Relu, ConvTranspose, Add, Sigmoid`; returns 1 where it stands at the graph's end, else 0.
///
/// # Errors
/// If the weights of such a place cannot be read.
pub fn rewrite(graph: &mut Graph) -> Result<usize, EditError> {
    let index = Index::of(graph);
    let Some(tail) = (0..graph.node.len()).find_map(|position| tail(graph, &index, position)) else { return Ok(0) };
    let Some(weights) = weights(graph, &tail)? else { return Ok(0) };

    let channels = weights.middle;
    let [spread, spread_bias, merge, merge_bias] =
        ["spread", "spread_bias", "merge", "merge_bias"].map(|name| graph.free_name(&format!("upsampling_{name}")));
    let [spread_out, spread_relu, merge_out, probability] =
        ["a", "b", "c", "d"].map(|name| graph.free_name(&format!("upsampling_{name}")));
    graph.initializer.extend([
        Tensor::of_floats(&spread, &[4 * channels, weights.input, 1, 1], &weights.spread()),
        Tensor::of_floats(&spread_bias, &[4 * channels], &weights.first_bias.repeat(4)),
        Tensor::of_floats(&merge, &[16, 4 * channels, 1, 1], &weights.merge()),
        Tensor::of_floats(&merge_bias, &[16], &weights.second_bias.repeat(16)),
    ]);
    let kernel = || Attribute::integers("kernel_shape", &[1, 1]);
    let nodes = [
        Node::new("Conv", &[&tail.input, &spread, &spread_bias], &spread_out).with(kernel()),
        Node::new("Relu", &[&spread_out], &spread_relu),
        Node::new("Conv", &[&spread_relu, &merge, &merge_bias], &merge_out).with(kernel()),
        Node::new("Sigmoid", &[&merge_out], &probability),
        Node::new("DepthToSpace", &[&probability], &tail.output)
            .with(Attribute::integer("blocksize", 4))
            .with(Attribute::text("mode", "DCR")),
    ];
    graph.remove_nodes(|position| tail.positions.contains(&position));
    graph.node.extend(nodes);
    Ok(1)
}

/// The six nodes and the names of what goes in, what comes out and the constants between.
struct Tail {
    positions: [usize; 6],
    input: String,
    output: String,
    first: String,
    first_bias: String,
    second: String,
    second_bias: String,
}

fn tail(graph: &Graph, index: &Index, first: usize) -> Option<Tail> {
    let at = |position: usize, op_type| graph.node.get(position).filter(|node| node.is(op_type));
    let next = |node: &Node| index.only_consumer(node.only_output()?);
    // The operand that is a constant; the other one comes from the node before.
    let bias = |node: &Node| node.input.iter().find(|input| index.initialiser(input).is_some()).cloned();

    let first_node = at(first, "ConvTranspose").filter(|node| doubles(node))?;
    let add = next(first_node)?;
    let add_node = at(add, "Add")?;
    let relu = next(add_node)?;
    let relu_node = at(relu, "Relu")?;
    let second = next(relu_node)?;
    let second_node = at(second, "ConvTranspose").filter(|node| doubles(node))?;
    let last_add = next(second_node)?;
    let last_add_node = at(last_add, "Add")?;
    let sigmoid = next(last_add_node)?;
    let sigmoid_node = at(sigmoid, "Sigmoid")?;
    let output = sigmoid_node.only_output().filter(|output| index.is_output(output))?;
    let ([input, first_weights], [_, second_weights]) = (first_node.input.as_slice(), second_node.input.as_slice())
    else {
        return None;
    };
    Some(Tail {
        positions: [first, add, relu, second, last_add, sigmoid],
        input: input.clone(),
        output: output.to_owned(),
        first: first_weights.clone(),
        first_bias: bias(add_node)?,
        second: second_weights.clone(),
        second_bias: bias(last_add_node)?,
    })
}

/// Whether it is a kernel of 2 x 2 with a stride of 2 and nothing else: each output pixel has one input pixel.
fn doubles(node: &Node) -> bool {
    let is = |name, value: &[i64]| node.integers(name) == value;
    let or_left_out = |name, value: &[i64]| is(name, value) || is(name, &[]);
    is("kernel_shape", &[2, 2])
        && is("strides", &[2, 2])
        && or_left_out("dilations", &[1, 1])
        && or_left_out("pads", &[0, 0, 0, 0])
        && or_left_out("output_padding", &[0, 0])
        && node.integers("output_shape").is_empty()
        && node.attribute("auto_pad").is_none()
        && node.integer("group", 1) == 1
}

/// The weights of both, as `ConvTranspose` keeps them: input channel, output channel, row, column.
struct Weights {
    input: usize,
    middle: usize,
    first: Vec<f32>,
    first_bias: Vec<f32>,
    second: Vec<f32>,
    second_bias: Vec<f32>,
}

fn weights(graph: &Graph, tail: &Tail) -> Result<Option<Weights>, EditError> {
    let [first, second] = [constant(graph, &tail.first)?, constant(graph, &tail.second)?];
    let [first_bias, second_bias] = [constant(graph, &tail.first_bias)?, constant(graph, &tail.second_bias)?];
    let [first_shape, second_shape] = [first.shape()?, second.shape()?];
    let ([input, middle, 2, 2], [second_input, 1, 2, 2]) = (first_shape.as_slice(), second_shape.as_slice()) else {
        return Ok(None);
    };
    let [first_bias, second_bias] = [first_bias.floats()?, second_bias.floats()?];
    if second_input != middle || first_bias.len() != *middle || second_bias.len() != 1 {
        return Ok(None);
    }
    Ok(Some(Weights {
        input: *input,
        middle: *middle,
        first: first.floats()?,
        first_bias,
        second: second.floats()?,
        second_bias,
    }))
}

impl Weights {
    /// `[4 * middle, input]`: for each place in the 2 x 2 square the first kernel's channels.
    fn spread(&self) -> Vec<f32> {
        let mut spread = Vec::with_capacity(4 * self.middle * self.input);
        for place in 0..4 {
            for channel in 0..self.middle {
                let from = |input: usize| (input * self.middle + channel) * 4 + place;
                spread.extend((0..self.input).filter_map(|input| self.first.get(from(input))));
            }
        }
        spread
    }

    /// `[16, 4 * middle]`: for each pixel of the 4 x 4 square the second kernel's weights, at the channels of the
    /// 2 x 2 place that the pixel lies in, and zero at those of the three others.
    fn merge(&self) -> Vec<f32> {
        let mut merge = Vec::with_capacity(16 * 4 * self.middle);
        for row in 0..4 {
            for column in 0..4 {
                let place = (row / 2) * 2 + column / 2;
                let inner = (row % 2) * 2 + column % 2;
                for other in 0..4 {
                    merge.extend((0..self.middle).map(|channel| {
                        let weight = self.second.get(channel * 4 + inner).copied().unwrap_or_default();
                        if other == place { weight } else { 0.0 }
                    }));
                }
            }
        }
        merge
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::ValueInfo;

    const WEIGHTS: [f32; 16] = [1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15., 16.];
    const SECOND: [f32; 8] = [0.5, -1., 2., 3., -0.25, 4., -2., 1.];

    fn transpose(input: &str, weights: &str, output: &str) -> Node {
        Node::new("ConvTranspose", &[input, weights], output)
            .with(Attribute::integers("kernel_shape", &[2, 2]))
            .with(Attribute::integers("strides", &[2, 2]))
    }

    fn graph() -> Graph {
        Graph {
            node: vec![
                transpose("x", "w1", "t1"),
                Node::new("Add", &["t1", "b1"], "a1"),
                Node::new("Relu", &["a1"], "r"),
                transpose("r", "w2", "t2"),
                Node::new("Add", &["t2", "b2"], "a2"),
                Node::new("Sigmoid", &["a2"], "y"),
            ],
            initializer: vec![
                Tensor::of_floats("w1", &[2, 2, 2, 2], &WEIGHTS),
                Tensor::of_floats("b1", &[1, 2, 1, 1], &[0.5, -60.]),
                Tensor::of_floats("w2", &[2, 1, 2, 2], &SECOND),
                Tensor::of_floats("b2", &[1, 1, 1, 1], &[0.25]),
            ],
            input: vec![ValueInfo::symbolic("x", 1, &["N", "C", "H", "W"])],
            output: vec![ValueInfo::symbolic("y", 1, &["N", "1", "H", "W"])],
            ..Default::default()
        }
    }

    /// What the six nodes make of one input pixel of two channels: a square of 4 x 4, before the sigmoid.
    fn before(pixel: [f32; 2]) -> [[f32; 4]; 4] {
        std::array::from_fn(|row| {
            std::array::from_fn(|column| {
                let (place, inner) = ((row / 2) * 2 + column / 2, (row % 2) * 2 + column % 2);
                let middle: Vec<f32> = (0..2)
                    .map(|channel| {
                        let sum: f32 =
                            (0..2).map(|input| pixel[input] * WEIGHTS[(input * 2 + channel) * 4 + place]).sum();
                        (sum + [0.5, -60.][channel]).max(0.0)
                    })
                    .collect();
                0.25 + (0..2).map(|channel| middle[channel] * SECOND[channel * 4 + inner]).sum::<f32>()
            })
        })
    }

    /// What the new nodes make of it: 16 channels, in the order in which `DepthToSpace` lays them out row by row.
    fn after(graph: &Graph, pixel: [f32; 2]) -> Vec<f32> {
        let values =
            |node: usize, input: usize| graph.constant(&graph.node[node].input[input]).unwrap().floats().unwrap();
        let convolve = |weights: &[f32], bias: &[f32], input: &[f32]| -> Vec<f32> {
            let row = |row: usize| &weights[row * input.len()..(row + 1) * input.len()];
            (0..bias.len()).map(|out| bias[out] + row(out).iter().zip(input).map(|(a, b)| a * b).sum::<f32>()).collect()
        };
        let spread: Vec<f32> =
            convolve(&values(0, 1), &values(0, 2), &pixel).into_iter().map(|value| value.max(0.0)).collect();
        convolve(&values(2, 1), &values(2, 2), &spread)
    }

    #[test]
    fn every_pixel_of_the_square_gets_the_same_value() {
        let mut graph = graph();
        assert_eq!(rewrite(&mut graph).unwrap(), 1);
        let kinds: Vec<_> = graph.node.iter().map(Node::op_type).collect();
        assert_eq!(kinds, ["Conv", "Relu", "Conv", "Sigmoid", "DepthToSpace"]);
        assert_eq!(graph.node[4].output, ["y"]);
        for pixel in [[1., 2.], [-3., 4.], [0., 10.]] {
            let expected: Vec<f32> = before(pixel).into_iter().flatten().collect();
            assert_eq!(after(&graph, pixel), expected);
        }
    }

    #[test]
    fn a_kernel_whose_outputs_share_input_pixels_stays() {
        let mut graph = graph();
        graph.node[0].attribute[1] = Attribute::integers("strides", &[1, 1]);
        assert_eq!(rewrite(&mut graph).unwrap(), 0);
        assert_eq!(graph.node.len(), 6);
    }

    #[test]
    fn a_tail_with_another_node_between_stays() {
        let mut graph = graph();
        graph.node[2].op_type = Some("HardSwish".into());
        assert_eq!(rewrite(&mut graph).unwrap(), 0);
    }
}
