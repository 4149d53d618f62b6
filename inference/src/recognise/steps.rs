//! The recogniser's output, whichever form the network gives it in.

use ocr_api::manifest::{Recogniser, RecogniserOutput};

use crate::engine::Array;

/// One line's steps from left to right. All three have the same length.
#[derive(Clone, Debug, PartialEq)]
pub struct Steps {
    /// The likeliest class of each step: 0 is the blank, the last one the space.
    pub class: Vec<usize>,
    /// Its probability.
    pub probability: Vec<f32>,
    /// The probability of a space.
    pub space: Vec<f32>,
}

/// The network's output is not what the bundle's manifest says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct StepsError {
    pub expected: String,
    pub found: String,
}

impl Steps {
    /// Takes the outputs of one line.
    ///
    /// # Errors
    /// Where number, type or shape of the outputs is not what the manifest says.
    pub fn new(outputs: &[Array], recogniser: &Recogniser) -> Result<Self, StepsError> {
        let steps = match recogniser.output {
            RecogniserOutput::Reduced => reduced(outputs),
            RecogniserOutput::Probabilities => probabilities(outputs, recogniser.classes as usize),
        };
        steps.filter(|steps| steps.class.iter().all(|&class| class < recogniser.classes as usize)).ok_or_else(|| {
            StepsError {
                expected: match recogniser.output {
                    RecogniserOutput::Reduced => {
                        format!("index (i64, below {}), probability and space of equal length", recogniser.classes)
                    }
                    RecogniserOutput::Probabilities => format!("[1, steps, {}] floats", recogniser.classes),
                },
                found: format!("{:?}", outputs.iter().map(Array::shape).collect::<Vec<_>>()),
            }
        })
    }
}

fn reduced(outputs: &[Array]) -> Option<Steps> {
    let [index, probability, space] = outputs else { return None };
    let class = index.ints()?.iter().map(|&class| usize::try_from(class).ok()).collect::<Option<Vec<_>>>()?;
    let (probability, space) = (probability.floats()?.to_vec(), space.floats()?.to_vec());
    (class.len() == probability.len() && class.len() == space.len()).then_some(Steps { class, probability, space })
}

fn probabilities(outputs: &[Array], classes: usize) -> Option<Steps> {
    let [output] = outputs else { return None };
    if output.shape().last() != Some(&classes) || classes == 0 {
        return None;
    }
    let mut steps = Steps { class: Vec::new(), probability: Vec::new(), space: Vec::new() };
    for step in output.floats()?.chunks_exact(classes) {
        let (class, probability) = step.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
        steps.class.push(class);
        steps.probability.push(probability);
        steps.space.push(step[classes - 1]);
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognise::tests::recogniser;

    fn floats(data: &[f32], shape: &[usize]) -> Array {
        Array::Float { shape: shape.to_vec(), data: data.to_vec() }
    }

    #[test]
    fn both_forms_say_the_same() {
        let full = floats(&[0.1, 0.6, 0.1, 0.1, 0.1, 0.2, 0.1, 0.1, 0.1, 0.5], &[1, 2, 5]);
        let raw = Recogniser { output: RecogniserOutput::Probabilities, ..recogniser() };
        let reduced = [
            Array::Int { shape: vec![1, 2], data: vec![1, 4] },
            floats(&[0.6, 0.5], &[1, 2]),
            floats(&[0.1, 0.5], &[1, 2]),
        ];
        assert_eq!(Steps::new(&[full], &raw).unwrap(), Steps::new(&reduced, &recogniser()).unwrap());
    }

    #[test]
    fn a_network_with_other_classes_is_refused() {
        let raw = Recogniser { output: RecogniserOutput::Probabilities, ..recogniser() };
        let error = Steps::new(&[floats(&[0.0; 12], &[1, 2, 6])], &raw).unwrap_err();
        assert_eq!(error.to_string(), "expected [1, steps, 5] floats, found [[1, 2, 6]]");
        let high = [Array::Int { shape: vec![1, 1], data: vec![5] }, floats(&[1.0], &[1, 1]), floats(&[0.0], &[1, 1])];
        assert!(Steps::new(&high, &recogniser()).is_err());
    }
}
