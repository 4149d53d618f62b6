//! Reading, changing and writing ONNX files.

pub mod graph;
pub mod half;
pub mod proto;
pub mod tensor;

use prost::Message;

use proto::Model;

/// Why a file is not a network that can be edited.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    #[error("is not an ONNX file")]
    Decode(#[source] prost::DecodeError),
    #[error("has parts that this tool does not know and would lose: {read} bytes read, {kept} kept")]
    UnknownParts { read: usize, kept: usize },
    #[error("has no graph")]
    NoGraph,
    #[error("keeps the values of tensor {tensor} in another file")]
    ExternalData { tensor: String },
}

/// Reads a network and makes sure that writing it would lose nothing.
///
/// # Errors
/// If the bytes are no ONNX file, hold anything that [`proto`] does not, or refer to another file.
pub fn read(bytes: &[u8]) -> Result<Model, OnnxError> {
    let model = Model::decode(bytes).map_err(OnnxError::Decode)?;
    // prost drops unknown fields without a word. All our files are in canonical order, so equal bytes mean no loss.
    let written = model.encode_to_vec();
    if written != bytes {
        return Err(OnnxError::UnknownParts { read: bytes.len(), kept: written.len() });
    }
    let graph = model.graph.as_ref().ok_or(OnnxError::NoGraph)?;
    if let Some(tensor) = graph.initializer.iter().find(|tensor| tensor.data_location.unwrap_or_default() != 0) {
        return Err(OnnxError::ExternalData { tensor: tensor.name().to_owned() });
    }
    Ok(model)
}

/// The bytes of a network; the same network always gives the same bytes.
#[must_use]
pub fn write(model: &Model) -> Vec<u8> {
    model.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::{Attribute, Graph, Node, OperatorSet, Tensor};

    fn model() -> Model {
        Model {
            ir_version: Some(10),
            graph: Some(Graph {
                node: vec![Node {
                    op_type: Some("Relu".into()),
                    attribute: vec![Attribute { i: Some(0), ints: vec![2, 3], ..Default::default() }],
                    ..Default::default()
                }],
                initializer: vec![Tensor { dims: vec![2], float_data: vec![1.0, 2.0], ..Default::default() }],
                ..Default::default()
            }),
            opset_import: vec![OperatorSet { domain: Some(String::new()), version: Some(14) }],
            ..Default::default()
        }
    }

    #[test]
    fn a_network_survives_reading_and_writing_to_the_byte() {
        let bytes = write(&model());
        assert_eq!(write(&read(&bytes).unwrap()), bytes);
    }

    #[test]
    fn a_field_at_its_default_value_stays_set() {
        let read = read(&write(&model())).unwrap();
        assert_eq!(read.graph.unwrap().node[0].attribute[0].i, Some(0));
    }

    #[test]
    fn a_file_with_a_part_that_would_be_lost_is_refused() {
        let mut bytes = write(&model());
        // Field 25, a local function, of length 0.
        bytes.extend([0xca, 0x01, 0x00]);
        assert!(matches!(read(&bytes), Err(OnnxError::UnknownParts { .. })));
    }

    #[test]
    fn a_file_with_external_data_is_refused_with_the_tensors_name() {
        let mut external = model();
        let graph = external.graph.as_mut().unwrap();
        graph.initializer[0].name = Some("weights".into());
        graph.initializer[0].data_location = Some(1);
        let error = read(&write(&external)).unwrap_err();
        assert!(error.to_string().contains("weights"), "{error}");
    }

    #[test]
    fn bytes_that_are_no_model_are_refused() {
        assert!(matches!(read(b"PK\x03\x04 a zip"), Err(OnnxError::Decode(_))));
        assert!(matches!(read(b""), Err(OnnxError::NoGraph)));
    }
}
