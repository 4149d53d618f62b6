//! A network that gives out what its convolutions read.

use anyhow::{Context as _, Result};
use ocr_assets::edits::int8::{Target, prepare, targets};
use ocr_assets::onnx::graph::Index;
use ocr_assets::onnx::proto::{Graph, Model, ValueInfo, element};
use ocr_assets::{files, onnx};

/// The network of 32-bit floats with more outputs.
pub struct Tapped {
    /// SHA-256 of the network as it was.
    pub digest: String,
    /// The file with more outputs.
    pub file: Vec<u8>,
    /// The convolutions that become products of bytes.
    pub targets: Vec<Target>,
    /// The graph, for its weights.
    graph: Graph,
}

impl Tapped {
    /// Adds the outputs.
    pub fn new(mut model: Model) -> Result<Self> {
        let digest = files::sha256(&onnx::write(&model));
        let graph = model.graph.get_or_insert_default();
        prepare(graph)?;
        let targets = targets(graph);
        for tensor in tensors(&targets) {
            let lengths = ["n", "c", "h", "w"].map(|length| format!("{tensor}.{length}"));
            let lengths = lengths.each_ref().map(String::as_str);
            if !Index::of(graph).is_output(tensor) {
                graph.output.push(ValueInfo::symbolic(tensor, element::FLOAT, &lengths));
            }
        }
        let graph = graph.clone();
        model.allow_runtime_set();
        Ok(Self { digest, file: onnx::write(&model), targets, graph })
    }

    /// The tensors that become bytes, each once, in the network's order.
    pub fn tensors(&self) -> Vec<&str> {
        tensors(&self.targets)
    }

    /// The weights of a convolution, a row for each output channel.
    pub fn weights(&self, convolution: &str) -> Result<Vec<f32>> {
        let tensor = self.graph.constant(convolution).with_context(|| format!("no weights {convolution}"))?;
        Ok(tensor.floats()?)
    }
}

fn tensors(targets: &[Target]) -> Vec<&str> {
    let mut tensors: Vec<&str> = Vec::new();
    for target in targets {
        if !tensors.contains(&target.input.as_str()) {
            tensors.push(&target.input);
        }
    }
    tensors
}
