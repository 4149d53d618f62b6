//! Whether a network is the one that the manifest says, judged by what the file says of itself.

use ocr_api::manifest::{LineOrientation, Orientation, Recogniser, RecogniserOutput};

use super::error::Refusal;
use super::network::{Network, Port};

const FLOAT: u64 = 1;
const INTEGER: u64 = 7;

/// A network and the name of its file.
pub struct Candidate<'network> {
    pub file: &'network str,
    pub network: &'network Network,
}

impl Candidate<'_> {
    /// A detector: an image of any size in, a map of one channel out.
    pub fn check_detector(&self, architecture: &str) -> Result<(), Refusal> {
        self.check_architecture(architecture)?;
        self.check_image(None, None)?;
        let [output] = self.outputs()?;
        self.check_port("the output", output, FLOAT, &[None, Some(1), None, None])
    }

    /// A recogniser: lines of a fixed height in, steps of characters out.
    pub fn check_recogniser(&self, parameters: &Recogniser) -> Result<(), Refusal> {
        self.check_architecture(&parameters.architecture)?;
        self.check_image(Some(parameters.height), None)?;
        let classes_of = match parameters.output {
            RecogniserOutput::Probabilities => {
                let [output] = self.outputs()?;
                self.check_port("the output", output, FLOAT, &[None, None, Some(parameters.classes)])?;
                output.name.as_str()
            }
            RecogniserOutput::Reduced => {
                let wanted = [("index", INTEGER), ("probability", FLOAT), ("space", FLOAT)];
                let names: Vec<&str> = self.network.outputs.iter().map(|port| port.name.as_str()).collect();
                for (name, element) in wanted {
                    let port = self.network.outputs.iter().find(|port| port.name == name).ok_or_else(|| {
                        self.refusal("the outputs", "index, probability and space".to_owned(), names.join(", "))
                    })?;
                    self.check_port("an output", port, element, &[None, None])?;
                }
                "index"
            }
        };
        let found = self.network.classes_behind(classes_of);
        if found == Some(u64::from(parameters.classes)) {
            return Ok(());
        }
        let found = found.map_or("a last layer of unknown width".to_owned(), |classes| classes.to_string());
        Err(self.refusal("the number of classes", parameters.classes.to_string(), found))
    }

    /// A classifier of pages: a square in, four classes out.
    pub fn check_orientation(&self, parameters: &Orientation) -> Result<(), Refusal> {
        self.check_image(Some(parameters.crop), Some(parameters.crop))?;
        let [output] = self.outputs()?;
        self.check_port("the output", output, FLOAT, &[None, Some(4)])
    }

    /// A classifier of lines: a fixed size in, two classes out.
    pub fn check_line_orientation(&self, parameters: &LineOrientation) -> Result<(), Refusal> {
        self.check_image(Some(parameters.height), Some(parameters.width))?;
        let [output] = self.outputs()?;
        self.check_port("the output", output, FLOAT, &[None, Some(2)])
    }

    /// A file that does not say what it is passes: its ports decide.
    fn check_architecture(&self, expected: &str) -> Result<(), Refusal> {
        match &self.network.architecture {
            Some(found) if found != expected => Err(Refusal::Architecture {
                file: self.file.to_owned(),
                expected: expected.to_owned(),
                found: found.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// One input of three channels. A length of `None` must be free.
    fn check_image(&self, height: Option<u32>, width: Option<u32>) -> Result<(), Refusal> {
        let [input] = self.network.inputs.as_slice() else {
            let found = self.network.inputs.len().to_string();
            return Err(self.refusal("the number of inputs", "1".to_owned(), found));
        };
        self.check_port("the input", input, FLOAT, &[None, Some(3), height, width])?;
        // A network with a fixed size would read another size wrongly or not at all.
        let fixed = [(2, height), (3, width)]
            .into_iter()
            .find_map(|(position, wanted)| input.shape.get(position).copied().flatten().filter(|_| wanted.is_none()));
        match fixed {
            Some(length) => Err(self.refusal("the input's height and width", "free".to_owned(), length.to_string())),
            None => Ok(()),
        }
    }

    fn outputs(&self) -> Result<[&Port; 1], Refusal> {
        match self.network.outputs.as_slice() {
            [only] => Ok([only]),
            several => Err(self.refusal("the number of outputs", "1".to_owned(), several.len().to_string())),
        }
    }

    /// Type and lengths; a length that the file leaves open fits everything.
    fn check_port(&self, place: &'static str, port: &Port, element: u64, shape: &[Option<u32>]) -> Result<(), Refusal> {
        let fits = |(wanted, found): (&Option<u32>, &Option<u64>)| match (wanted, found) {
            (Some(wanted), Some(found)) => u64::from(*wanted) == *found,
            _ => true,
        };
        let same_shape = port.shape.len() == shape.len() && shape.iter().zip(&port.shape).all(fits);
        if same_shape && port.element == element {
            return Ok(());
        }
        let wanted = describe(element, shape.iter().map(|length| length.map(u64::from)));
        Err(self.refusal(place, wanted, describe(port.element, port.shape.iter().copied())))
    }

    fn refusal(&self, part: &'static str, expected: String, found: String) -> Refusal {
        Refusal::Interface { file: self.file.to_owned(), part, expected, found }
    }
}

fn describe(element: u64, shape: impl Iterator<Item = Option<u64>>) -> String {
    let lengths: Vec<String> =
        shape.map(|length| length.map_or("any".to_owned(), |length| length.to_string())).collect();
    let element = match element {
        FLOAT => "32-bit floats".to_owned(),
        INTEGER => "64-bit integers".to_owned(),
        other => format!("elements of type {other}"),
    };
    format!("{element} of shape [{}]", lengths.join(", "))
}
