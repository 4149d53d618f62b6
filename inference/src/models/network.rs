//! What an ONNX file says of itself, without loading it: inputs, outputs, architecture, and whether it is all there.
//!
//! Only names, shapes and connections are kept; weights are passed over. Field numbers are those of `onnx.proto`
//! (IR version 10).

use std::collections::HashMap;
use std::io::Read;

use super::wire::{Value, Wire, WireError};

/// Longest name, in bytes; the longest of ours has 80.
const MAX_NAME: u64 = 4 << 10;
/// Most bytes of names in total; ours have less than 200 kB.
const MAX_NAMES: u64 = 16 << 20;
/// Most nodes, constants, inputs and outputs; ours have less than 1,000.
const MAX_ITEMS: usize = 100_000;
/// Most dimensions of a tensor.
const MAX_DIMENSIONS: usize = 16;
/// Most graphs within graphs.
const MAX_DEPTH: u32 = 16;
/// Key of the property in which our own build writes the architecture.
const ARCHITECTURE: &str = "architecture";
/// Most steps from an output back to the layer that makes the classes; ours need six.
const MAX_STEPS: u32 = 32;

/// Why a file cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("it has no graph")]
    NoGraph,
    #[error("it has more than {MAX_ITEMS} parts")]
    Items,
    #[error("its names are longer than {MAX_NAMES} bytes together")]
    Names,
    #[error("a tensor has more than {MAX_DIMENSIONS} dimensions")]
    Dimensions,
    #[error("its graphs are nested more than {MAX_DEPTH} deep")]
    Depth,
}

/// An input or output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    /// Type of the elements, in the numbers of ONNX: 1 is a 32-bit float, 7 a 64-bit integer.
    pub element: u64,
    /// Lengths; `None` for one that is known only at run time.
    pub shape: Vec<Option<u64>>,
}

#[derive(Default)]
struct Node {
    op_type: String,
    inputs: Vec<String>,
}

/// What was found.
#[derive(Default)]
pub struct Network {
    /// Inputs that the caller gives; those with a constant of the same name have a value of their own.
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    /// What the file says it is, if it says.
    pub architecture: Option<String>,
    /// The first tensor whose values are in another file.
    pub external: Option<String>,
    nodes: Vec<Node>,
    /// Which node writes a tensor.
    writers: HashMap<String, usize>,
    /// Shapes of the constants.
    constants: HashMap<String, Vec<u64>>,
    has_graph: bool,
}

impl Network {
    /// Looks through a file of that many bytes.
    pub fn scan(reader: impl Read, bytes: u64) -> Result<Self, NetworkError> {
        let mut scan = Scan { wire: Wire::new(reader), network: Self::default(), items: 0, names: 0 };
        scan.model(bytes)?;
        let mut network = scan.network;
        if !network.has_graph {
            return Err(NetworkError::NoGraph);
        }
        let constants = &network.constants;
        network.inputs.retain(|input| !constants.contains_key(&input.name));
        Ok(network)
    }

    /// How many classes an output chooses from: the width of the last layer before it. `None` if that cannot be told.
    pub fn classes_behind(&self, output: &str) -> Option<u64> {
        let mut tensor = output;
        for _ in 0..MAX_STEPS {
            let node = self.nodes.get(*self.writers.get(tensor)?)?;
            let constant = node.inputs.iter().find_map(|input| self.constants.get(input));
            match (node.op_type.as_str(), constant.map(Vec::as_slice)) {
                // The bias has one value a class, the weights one column.
                ("Add", Some([classes])) | ("MatMul", Some([_, classes])) => return Some(*classes),
                ("Add" | "MatMul", Some(_)) => return None,
                _ => tensor = node.inputs.first()?,
            }
        }
        None
    }
}

struct Scan<R> {
    wire: Wire<R>,
    network: Network,
    items: usize,
    names: u64,
}

impl<R: Read> Scan<R> {
    /// `ModelProto`.
    fn model(&mut self, end: u64) -> Result<(), NetworkError> {
        while let Some(field) = self.wire.field(end)? {
            let Value::Block { end } = field.value else { continue };
            match field.number {
                7 => {
                    self.network.has_graph = true;
                    self.graph(end, 0)?;
                }
                14 => self.property(end)?,
                // Training steps hold graphs, local functions hold nodes.
                20 => self.nested(end, 0, |scan, number, end| match number {
                    1 | 2 => scan.graph(end, 1),
                    _ => Ok(scan.wire.skip(end)?),
                })?,
                25 => self.nested(end, 0, |scan, number, end| match number {
                    7 => scan.node(end, 1),
                    11 => scan.attribute(end, 1),
                    _ => Ok(scan.wire.skip(end)?),
                })?,
                _ => self.wire.skip(end)?,
            }
        }
        Ok(())
    }

    /// `GraphProto`; only the outermost one tells what the network looks like.
    fn graph(&mut self, end: u64, depth: u32) -> Result<(), NetworkError> {
        self.nested(end, depth, |scan, number, end| match number {
            1 => scan.node(end, depth),
            5 => scan.constant(end, depth),
            11 | 12 if depth == 0 => {
                let port = scan.port(end)?;
                let network = &mut scan.network;
                if number == 11 {
                    network.inputs.push(port);
                } else {
                    network.outputs.push(port);
                }
                Ok(())
            }
            15 => scan.sparse(end, depth),
            _ => Ok(scan.wire.skip(end)?),
        })
    }

    /// `NodeProto`.
    fn node(&mut self, end: u64, depth: u32) -> Result<(), NetworkError> {
        let mut node = Node::default();
        let mut outputs = Vec::new();
        self.nested(end, depth, |scan, number, end| {
            match number {
                1 => node.inputs.push(scan.name(end)?),
                2 => outputs.push(scan.name(end)?),
                4 => node.op_type = scan.name(end)?,
                5 => scan.attribute(end, depth)?,
                _ => scan.wire.skip(end)?,
            }
            Ok(())
        })?;
        if depth == 0 {
            let position = self.network.nodes.len();
            self.network.nodes.push(node);
            self.network.writers.extend(outputs.into_iter().map(|output| (output, position)));
        }
        Ok(())
    }

    /// `AttributeProto`: tensors and whole graphs can hide in it.
    fn attribute(&mut self, end: u64, depth: u32) -> Result<(), NetworkError> {
        self.nested(end, depth, |scan, number, end| match number {
            5 | 10 => scan.tensor(end, depth).map(drop),
            6 | 11 => scan.graph(end, depth + 1),
            22 | 23 => scan.sparse(end, depth),
            _ => Ok(scan.wire.skip(end)?),
        })
    }

    /// A constant of a graph.
    fn constant(&mut self, end: u64, depth: u32) -> Result<(), NetworkError> {
        let (name, shape) = self.tensor(end, depth)?;
        if depth == 0 {
            self.network.constants.insert(name, shape);
        }
        Ok(())
    }

    /// `SparseTensorProto`: values and indices are tensors.
    fn sparse(&mut self, end: u64, depth: u32) -> Result<(), NetworkError> {
        self.nested(end, depth, |scan, number, end| match number {
            1 | 2 => scan.tensor(end, depth).map(drop),
            _ => Ok(scan.wire.skip(end)?),
        })
    }

    /// `TensorProto`: its name and shape, and whether its values are elsewhere.
    fn tensor(&mut self, end: u64, depth: u32) -> Result<(String, Vec<u64>), NetworkError> {
        self.enter(depth)?;
        let mut name = String::new();
        let mut shape = Vec::new();
        let mut external = false;
        while let Some(field) = self.wire.field(end)? {
            match (field.number, field.value) {
                (1, Value::Integer(length)) => shape.push(length),
                (1, Value::Block { end }) => {
                    while self.wire_is_before(end) {
                        shape.push(self.wire.integer(end)?);
                        limit_dimensions(&shape)?;
                    }
                }
                (8, Value::Block { end }) => name = self.name(end)?,
                (13, Value::Block { end }) => {
                    external = true;
                    self.wire.skip(end)?;
                }
                (14, Value::Integer(location)) => external |= location != 0,
                (_, Value::Block { end }) => self.wire.skip(end)?,
                _ => {}
            }
            limit_dimensions(&shape)?;
        }
        if external && self.network.external.is_none() {
            self.network.external = Some(name.clone());
        }
        Ok((name, shape))
    }

    /// `ValueInfoProto`, down to the lengths of a tensor.
    fn port(&mut self, end: u64) -> Result<Port, NetworkError> {
        let mut port = Port::default();
        self.nested(end, 0, |scan, number, end| match number {
            1 => {
                port.name = scan.name(end)?;
                Ok(())
            }
            // type, then tensor_type
            2 => scan.nested(end, 0, |scan, number, end| match number {
                1 => scan.tensor_type(end, &mut port),
                _ => Ok(scan.wire.skip(end)?),
            }),
            _ => Ok(scan.wire.skip(end)?),
        })?;
        Ok(port)
    }

    fn tensor_type(&mut self, end: u64, port: &mut Port) -> Result<(), NetworkError> {
        while let Some(field) = self.wire.field(end)? {
            match (field.number, field.value) {
                (1, Value::Integer(element)) => port.element = element,
                // shape, then its dimensions
                (2, Value::Block { end }) => self.nested(end, 0, |scan, number, end| {
                    if number != 1 {
                        return Ok(scan.wire.skip(end)?);
                    }
                    let length = scan.dimension(end)?;
                    port.shape.push(length);
                    limit_dimensions(&port.shape)
                })?,
                (_, Value::Block { end }) => self.wire.skip(end)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A length; one that is negative is unknown too.
    fn dimension(&mut self, end: u64) -> Result<Option<u64>, NetworkError> {
        let mut length = None;
        while let Some(field) = self.wire.field(end)? {
            match (field.number, field.value) {
                (1, Value::Integer(value)) => length = i64::try_from(value).ok().and(Some(value)),
                (_, Value::Block { end }) => self.wire.skip(end)?,
                _ => {}
            }
        }
        Ok(length)
    }

    /// `StringStringEntryProto`.
    fn property(&mut self, end: u64) -> Result<(), NetworkError> {
        let mut key = String::new();
        let mut value = String::new();
        self.nested(end, 0, |scan, number, end| {
            match number {
                1 => key = scan.name(end)?,
                // Other properties may be long, such as a whole dictionary.
                2 if key == ARCHITECTURE => value = scan.name(end)?,
                _ => scan.wire.skip(end)?,
            }
            Ok(())
        })?;
        if key == ARCHITECTURE {
            self.network.architecture = Some(value);
        }
        Ok(())
    }

    /// Calls a function with the number and end of each block of a message.
    fn nested(
        &mut self,
        end: u64,
        depth: u32,
        mut each: impl FnMut(&mut Self, u64, u64) -> Result<(), NetworkError>,
    ) -> Result<(), NetworkError> {
        self.enter(depth)?;
        while let Some(field) = self.wire.field(end)? {
            if let Value::Block { end } = field.value {
                each(self, field.number, end)?;
            }
        }
        Ok(())
    }

    fn enter(&mut self, depth: u32) -> Result<(), NetworkError> {
        self.items += 1;
        if self.items > MAX_ITEMS {
            return Err(NetworkError::Items);
        }
        if depth > MAX_DEPTH { Err(NetworkError::Depth) } else { Ok(()) }
    }

    fn name(&mut self, end: u64) -> Result<String, NetworkError> {
        let name = self.wire.text(end, MAX_NAME)?;
        self.names = self.names.saturating_add(name.len() as u64);
        if self.names > MAX_NAMES { Err(NetworkError::Names) } else { Ok(name) }
    }

    fn wire_is_before(&self, end: u64) -> bool {
        self.wire.position() < end
    }
}

fn limit_dimensions<T>(shape: &[T]) -> Result<(), NetworkError> {
    if shape.len() > MAX_DIMENSIONS { Err(NetworkError::Dimensions) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::onnx;
    use super::*;

    fn scan(bytes: &[u8]) -> Result<Network, NetworkError> {
        Network::scan(bytes, bytes.len() as u64)
    }

    #[test]
    fn ports_architecture_and_classes_are_found() {
        let network = scan(&onnx::recogniser("net_rec", 7)).unwrap();
        assert_eq!(network.architecture.as_deref(), Some("net_rec"));
        let [input] = network.inputs.as_slice() else { panic!("{:?}", network.inputs) };
        assert_eq!((input.name.as_str(), input.element), ("x", 1));
        assert_eq!(input.shape, [None, Some(3), Some(48), None]);
        let outputs: Vec<_> = network.outputs.iter().map(|port| (port.name.as_str(), port.element)).collect();
        assert_eq!(outputs, [("index", 7), ("probability", 1), ("space", 1)]);
        for output in ["index", "probability", "space"] {
            assert_eq!(network.classes_behind(output), Some(7), "{output}");
        }
        assert_eq!(network.classes_behind("nothing"), None);
        assert_eq!(network.external, None);
    }

    #[test]
    fn an_input_with_a_value_of_its_own_is_not_asked_of_the_caller() {
        let mut graph = onnx::block(5, &onnx::tensor("w", &[2], None));
        graph.extend(onnx::block(11, &onnx::port("w", 1, &[Some(2)])));
        graph.extend(onnx::block(11, &onnx::port("x", 1, &[None])));
        let network = scan(&onnx::block(7, &graph)).unwrap();
        assert_eq!(network.inputs.iter().map(|port| port.name.as_str()).collect::<Vec<_>>(), ["x"]);
    }

    #[test]
    fn external_data_is_found_wherever_a_tensor_can_stand() {
        for location in [onnx::External::Location, onnx::External::Entries] {
            let tensor = onnx::tensor("hidden", &[2], Some(location));
            let in_attribute = onnx::block(1, &onnx::block(5, &onnx::block(5, &tensor)));
            let in_subgraph = onnx::block(1, &onnx::block(5, &onnx::block(6, &onnx::block(5, &tensor))));
            let graphs =
                [onnx::block(5, &tensor), onnx::block(15, &onnx::block(1, &tensor)), in_attribute.clone(), in_subgraph];
            for graph in graphs {
                let network = scan(&onnx::block(7, &graph)).unwrap();
                assert_eq!(network.external.as_deref(), Some("hidden"));
            }
            // A function's node, and a training step's graph.
            let node = onnx::block(5, &onnx::block(5, &tensor));
            for part in [onnx::block(25, &onnx::block(7, &node)), onnx::block(20, &onnx::block(1, &in_attribute))] {
                let mut model = onnx::block(7, &[]);
                model.extend(part);
                assert_eq!(scan(&model).unwrap().external.as_deref(), Some("hidden"));
            }
        }
    }

    #[test]
    fn packed_and_plain_shapes_are_the_same() {
        let mut packed = onnx::block(1, &[2, 5]);
        packed.extend(onnx::block(8, b"w"));
        let network = scan(&onnx::block(7, &onnx::block(5, &packed))).unwrap();
        assert_eq!(network.constants.get("w"), Some(&vec![2, 5]));
    }

    #[test]
    fn graphs_without_end_in_graphs_are_refused() {
        let mut graph = Vec::new();
        for _ in 0..=MAX_DEPTH {
            graph = onnx::block(1, &onnx::block(5, &onnx::block(6, &graph)));
        }
        assert!(matches!(scan(&onnx::block(7, &graph)), Err(NetworkError::Depth)));
    }

    #[test]
    fn a_circle_of_nodes_does_not_keep_the_search_for_classes() {
        let mut graph = onnx::block(1, &onnx::node("Relu", &["a"], &["b"]));
        graph.extend(onnx::block(1, &onnx::node("Relu", &["b"], &["a"])));
        assert_eq!(scan(&onnx::block(7, &graph)).unwrap().classes_behind("a"), None);
    }

    #[test]
    fn bytes_without_a_graph_are_refused() {
        assert!(matches!(scan(b""), Err(NetworkError::NoGraph)));
        assert!(matches!(scan(b"PK\x03\x04 this is a zip file"), Err(NetworkError::Wire(_))));
    }

    #[test]
    fn every_cut_of_a_network_is_refused_or_lacks_something() {
        let whole = onnx::recogniser("net_rec", 7);
        for length in 0..whole.len() {
            if let Ok(network) = scan(&whole[..length]) {
                assert!(network.architecture.is_none(), "cut at {length}");
            }
        }
    }
}
