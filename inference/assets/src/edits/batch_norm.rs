//! A normalisation by constants behind a convolution goes into the convolution's weights.
//!
//! ONNX Runtime does the same when it opens a file of 32-bit floats. In one of 16-bit floats the variances would lose
//! digits, and a normalisation kept in 32 bits would turn whole maps to and fro.

use super::{EditError, constant};
use crate::onnx::graph::Index;
use crate::onnx::proto::{Graph, Tensor};

/// The standard's value of the attribute `epsilon` where it is left out.
const EPSILON: f32 = 1e-5;

/// Folds `Conv, BatchNormalization`; returns how many.
///
/// # Errors
/// If the constants of such a place cannot be read.
pub fn fold(graph: &mut Graph) -> Result<usize, EditError> {
    let mut count = 0;
    while let Some((convolution, normalisation)) = place(graph) {
        rewrite(graph, convolution, normalisation)?;
        count += 1;
    }
    Ok(count)
}

/// The first convolution whose only reader normalises it, and that reader.
fn place(graph: &Graph) -> Option<(usize, usize)> {
    let index = Index::of(graph);
    graph.node.iter().enumerate().find_map(|(convolution, node)| {
        let weights = node.input.get(1).filter(|_| node.is("Conv"))?;
        let own = index.initialiser(weights).is_some() && index.consumers(weights).len() == 1;
        let normalisation = index.only_consumer(node.only_output()?).filter(|_| own)?;
        let reader = graph.node.get(normalisation)?;
        let plain = reader.is("BatchNormalization") && reader.output.len() == 1;
        (plain && reader.input.first() == node.output.first()).then_some((convolution, normalisation))
    })
}

fn rewrite(graph: &mut Graph, convolution: usize, normalisation: usize) -> Result<(), EditError> {
    let expected = "normalisation by four constants behind a convolution";
    let at = |position: usize| graph.node.get(position).ok_or_else(|| EditError::pattern(expected, "no such node"));
    let (node, reader) = (at(convolution)?.clone(), at(normalisation)?.clone());
    let [_, scale, shift, mean, variance] = reader.input.as_slice() else {
        return Err(EditError::pattern(expected, reader.name()));
    };
    let [scale, shift, mean, variance] =
        [scale, shift, mean, variance].map(|name| constant(graph, name).and_then(|tensor| Ok(tensor.floats()?)));
    let (scale, shift, mean, variance) = (scale?, shift?, mean?, variance?);
    let epsilon = reader.attribute("epsilon").and_then(|attribute| attribute.f).unwrap_or(EPSILON);

    let weights = constant(graph, node.input.get(1).map(String::as_str).unwrap_or_default())?;
    let (shape, values) = (weights.shape()?, weights.floats()?);
    let channels = shape.first().copied().unwrap_or_default();
    let bias = match node.input.get(2) {
        Some(bias) => constant(graph, bias)?.floats()?,
        None => vec![0.0; channels],
    };
    if [&scale, &shift, &mean, &variance, &bias].into_iter().any(|values| values.len() != channels) {
        return Err(EditError::pattern(expected, reader.name()));
    }

    // In 64 bits and rounded once.
    let factor = |channel: usize| {
        let [scale, variance] = [&scale, &variance].map(|values| values.get(channel).copied().unwrap_or_default());
        f64::from(scale) / (f64::from(variance) + f64::from(epsilon)).sqrt()
    };
    let per_channel = (values.len() / channels.max(1)).max(1);
    let scaled = values.chunks_exact(per_channel).enumerate().flat_map(|(channel, weights)| {
        let factor = factor(channel);
        weights.iter().map(move |&weight| single(f64::from(weight) * factor))
    });
    let scaled: Vec<f32> = scaled.collect();
    let shifted: Vec<f32> = (0..channels)
        .map(|channel| {
            let [bias, mean, shift] =
                [&bias, &mean, &shift].map(|values| values.get(channel).copied().unwrap_or_default());
            single((f64::from(bias) - f64::from(mean)) * factor(channel) + f64::from(shift))
        })
        .collect();

    let output = reader.only_output().unwrap_or_default().to_owned();
    let [new_weights, new_bias] = ["weights", "bias"].map(|part| format!("{output}.{part}"));
    graph.initializer.push(Tensor::of_floats(&new_weights, &shape, &scaled));
    graph.initializer.push(Tensor::of_floats(&new_bias, &[channels], &shifted));
    if let (Some(node), Some(data)) = (graph.node.get_mut(convolution), node.input.first()) {
        node.input = vec![data.clone(), new_weights, new_bias];
        node.output = vec![output];
    }
    graph.node.remove(normalisation);
    Ok(())
}

/// The nearest 32-bit float.
fn single(value: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what it is for")]
    let single = value as f32;
    single
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::{Attribute, Node, ValueInfo};

    fn graph() -> Graph {
        let epsilon = Attribute { name: Some("epsilon".into()), f: Some(0.25), ..Default::default() };
        Graph {
            node: vec![
                Node::new("Conv", &["x", "w", "b"], "c"),
                Node::new("BatchNormalization", &["c", "scale", "shift", "mean", "variance"], "n").with(epsilon),
                Node::new("Relu", &["n"], "y"),
            ],
            initializer: vec![
                Tensor::of_floats("w", &[2, 2, 1, 1], &[1., 2., 3., 4.]),
                Tensor::of_floats("b", &[2], &[10., 20.]),
                Tensor::of_floats("scale", &[2], &[3., 8.]),
                Tensor::of_floats("shift", &[2], &[0.5, -1.]),
                Tensor::of_floats("mean", &[2], &[4., 2.]),
                // With the epsilon 1 and 4, whose roots are 1 and 2.
                Tensor::of_floats("variance", &[2], &[0.75, 3.75]),
            ],
            input: vec![ValueInfo::symbolic("x", 1, &["N", "C", "H", "W"])],
            output: vec![ValueInfo::symbolic("y", 1, &["N", "C", "H", "W"])],
            ..Default::default()
        }
    }

    #[test]
    fn weights_are_scaled_and_the_bias_is_shifted() {
        let mut graph = graph();
        assert_eq!(fold(&mut graph).unwrap(), 1);
        let kinds: Vec<_> = graph.node.iter().map(Node::op_type).collect();
        assert_eq!(kinds, ["Conv", "Relu"]);
        assert_eq!(graph.node[0].output, ["n"]);
        let values = |input: usize| graph.constant(&graph.node[0].input[input]).unwrap().floats().unwrap();
        assert_eq!(values(1), [3., 6., 12., 16.]);
        assert_eq!(values(2), [(10. - 4.) * 3. + 0.5, (20. - 2.) * 4. - 1.]);
        assert_eq!(graph.constant(&graph.node[0].input[1]).unwrap().dims, [2, 2, 1, 1]);
    }

    #[test]
    fn a_convolution_that_something_else_reads_too_stays() {
        let mut graph = graph();
        graph.node.push(Node::new("Exp", &["c"], "e"));
        assert_eq!(fold(&mut graph).unwrap(), 0);
    }

    #[test]
    fn constants_of_another_length_are_refused() {
        let mut graph = graph();
        graph.initializer[2] = Tensor::of_floats("scale", &[1], &[3.]);
        assert!(matches!(fold(&mut graph), Err(EditError::Pattern { .. })));
    }
}
