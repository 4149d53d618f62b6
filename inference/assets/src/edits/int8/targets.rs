//! Which convolutions are quantised.

use std::collections::HashSet;

use crate::onnx::proto::{Graph, Node};

/// A convolution of 1 x 1 on a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The name of its weights, which no other convolution has.
    pub convolution: String,
    /// The tensor that it reads.
    pub input: String,
    /// The tensor that it writes.
    pub output: String,
    /// Channels read.
    pub inputs: usize,
    /// Channels written.
    pub outputs: usize,
}

/// The convolutions of a prepared graph that are quantised, in its order: of 1 x 1, on a map that still has the line's
/// width and height.
#[must_use]
pub fn targets(graph: &Graph) -> Vec<Target> {
    let maps = maps(graph);
    let mut known = HashSet::new();
    let found = graph.node.iter().filter_map(|node| target(graph, &maps, node));
    found.filter(|target| known.insert(target.convolution.clone())).collect()
}

fn target(graph: &Graph, maps: &HashSet<String>, node: &Node) -> Option<Target> {
    let (input, weights) = (node.input.first()?, node.input.get(1)?);
    let shape = graph.constant(weights)?.shape().ok()?;
    let [outputs, inputs, 1, 1] = *shape.as_slice() else { return None };
    let ones = |name| node.integers(name).iter().all(|&length| length == 1);
    let plain = ones("strides") && node.integers("pads").iter().all(|&length| length == 0);
    (node.is("Conv") && plain && node.integer("group", 1) == 1 && maps.contains(input)).then(|| Target {
        convolution: weights.clone(),
        input: input.clone(),
        output: node.only_output().unwrap_or_default().to_owned(),
        inputs,
        outputs,
    })
}

/// Tensors of four dimensions, batch, channels, height and width, that nothing has pooled over the whole map or to a row.
pub(super) fn maps(graph: &Graph) -> HashSet<String> {
    let mut maps: HashSet<String> = graph.input.iter().map(|input| input.name().to_owned()).collect();
    for node in &graph.node {
        let mut inputs = node.input.iter();
        let of_maps = match node.op_type() {
            // Constants beside the map do not count.
            "Conv" | "BatchNormalization" | "Relu" | "Gelu" | "MaxPool" => {
                inputs.next().is_some_and(|input| maps.contains(input))
            }
            // A map and what weighs its channels, or two maps.
            "Add" | "Mul" => inputs.any(|input| maps.contains(input)),
            "Concat" => inputs.all(|input| maps.contains(input)),
            _ => false,
        };
        if of_maps {
            maps.extend(node.output.iter().cloned());
        }
    }
    maps
}

#[cfg(test)]
mod tests {
    use super::super::{prepare, tests::graph};
    use super::*;
    use crate::onnx::proto::Attribute;

    fn names(change: impl FnOnce(&mut Graph)) -> Vec<String> {
        let mut graph = graph();
        change(&mut graph);
        prepare(&mut graph).unwrap();
        targets(&graph).into_iter().map(|target| target.convolution).collect()
    }

    #[test]
    fn convolutions_of_one_pixel_on_maps_are_found_in_order() {
        assert_eq!(names(|_| ()), ["first", "second"]);
        let mut graph = graph();
        prepare(&mut graph).unwrap();
        let first =
            Target { convolution: "first".into(), input: "weighed".into(), output: "b".into(), inputs: 2, outputs: 3 };
        assert_eq!(targets(&graph)[0], first);
    }

    #[test]
    fn one_that_skips_pixels_or_has_groups_is_left() {
        let strides = |graph: &mut Graph| graph.node[5].attribute.push(Attribute::integers("strides", &[2, 1]));
        assert_eq!(names(strides), ["second"]);
        let groups = |graph: &mut Graph| graph.node[12].attribute.push(Attribute::integer("group", 2));
        assert_eq!(names(groups), ["first"]);
    }
}
