//! Changes to a network that make it faster or smaller without changing what it says.
//!
//! One module an edit. Each takes a graph, changes every place where its pattern stands, and returns how many those
//! were; a place that only resembles the pattern is left alone. Two of them, [`fp16`] and [`int8`], make a second file of
//! a finished network, which computes with other numbers and says nearly the same; [`bias`], [`batch_norm`], [`gelu`] and
//! [`opset`] prepare it for them. The figures were measured with ONNX Runtime 1.31.1 on a Xeon (Cascade Lake) with one thread, a
//! page of 960 x 448 and six lines of 48 x 320, unless others are named.

pub mod batch_norm;
pub mod bias;
pub mod channel_padding;
pub mod constants;
pub mod fp16;
pub mod gelu;
pub mod identities;
pub mod int8;
pub mod opset;
pub mod reduced_output;
pub mod squeeze_excite;
pub mod upsampling;
pub mod vocabulary;

use crate::onnx::proto::{Graph, Tensor};
use crate::onnx::tensor::TensorError;

/// Why an edit cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("the graph has no {expected}: {found}")]
    Pattern { expected: &'static str, found: String },
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error("class {class} is asked for, but the network has {classes}")]
    Class { class: usize, classes: usize },
    #[error("constant {tensor} has the value {value}, which 16-bit floats cannot hold")]
    TooLarge { tensor: String, value: f32 },
    #[error(transparent)]
    Record(#[from] int8::RecordError),
    #[error("after the edits nothing writes tensor {tensor}")]
    Disconnected { tensor: String },
}

impl EditError {
    fn pattern(expected: &'static str, found: impl Into<String>) -> Self {
        Self::Pattern { expected, found: found.into() }
    }
}

/// Brings the graph into order after the edits.
///
/// # Errors
/// If an edit left a node that reads what nothing writes.
pub fn finish(graph: &mut Graph) -> Result<(), EditError> {
    graph.tidy();
    graph.sort().map_err(|tensor| EditError::Disconnected { tensor })
}

/// The constant of that name, or the error that says that it is none.
fn constant<'graph>(graph: &'graph Graph, name: &str) -> Result<&'graph Tensor, EditError> {
    graph.constant(name).ok_or_else(|| EditError::pattern("constant of that name", name))
}

/// Puts another constant in the place of the one of that name.
fn replace_constant(graph: &mut Graph, name: &str, tensor: Tensor) -> Result<(), EditError> {
    let place = graph.initializer.iter_mut().find(|old| old.name() == name);
    *place.ok_or_else(|| EditError::pattern("constant of that name", name))? = tensor;
    Ok(())
}
