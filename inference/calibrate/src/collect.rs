//! Reads the lines and keeps of each tensor what the ranges are found by.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use ocr_inference::engine::{Array, Engine as _, OnnxRuntime, OnnxSettings, Provider, Stop};

use crate::lines::Lines;
use crate::network::Tapped;
use crate::random::Random;

/// Pixels of each tensor that are kept of a line, with all their channels.
const PIXELS: usize = 32;

/// What was seen of a tensor.
pub struct Seen {
    pub tensor: String,
    pub lowest: f32,
    pub highest: f32,
    pub channels: usize,
    /// Pixels one behind the other, channel by channel.
    pub pixels: Vec<f32>,
}

/// Reads the first `count` lines.
pub fn collect(network: &Tapped, library: &Path, lines: &Lines, count: u32) -> Result<Vec<Seen>> {
    let folder = tempfile::tempdir().context("no folder for the network")?;
    let path = folder.path().join("tapped.onnx");
    std::fs::write(&path, &network.file).with_context(|| format!("failed to write {}", path.display()))?;
    let settings = OnnxSettings {
        network: "recognise",
        path,
        threads: 2,
        shrink: false,
        provider: Provider::Cpu { arena: true },
        warm_up: Vec::new(),
    };
    let mut engine = OnnxRuntime::load(library)?.open(settings)?;
    let names = engine.output_names().to_vec();

    let new =
        |tensor: &str| Seen { tensor: tensor.to_owned(), lowest: 0.0, highest: 0.0, channels: 0, pixels: Vec::new() };
    let mut seen: Vec<Seen> = network.tensors().into_iter().map(new).collect();
    for number in 0..count {
        let outputs = engine.run(&lines.draw(number)?.input, &Stop::default())?;
        let mut random = Random::of(number);
        for seen in &mut seen {
            let output = names.iter().position(|name| *name == seen.tensor).and_then(|place| outputs.get(place));
            let output = output.with_context(|| format!("the network gives out no {}", seen.tensor))?;
            seen.add(output, &mut random).with_context(|| seen.tensor.clone())?;
        }
    }
    Ok(seen)
}

impl Seen {
    /// Adds what a line made of the tensor.
    fn add(&mut self, output: &Array, random: &mut Random) -> Result<()> {
        let (Array::Float { data, .. }, &[1, channels, height, width]) = (output, output.shape()) else {
            anyhow::bail!("is no map of one line: {:?}", output.shape());
        };
        ensure!(data.iter().all(|value| value.is_finite()), "is not finite");
        self.channels = channels;
        self.lowest = data.iter().copied().fold(self.lowest, f32::min);
        self.highest = data.iter().copied().fold(self.highest, f32::max);
        let area = height * width;
        for _ in 0..PIXELS {
            let place = random.below(area);
            self.pixels.extend((0..channels).filter_map(|channel| data.get(channel * area + place)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        Seen { tensor: "t".into(), lowest: 0.0, highest: 0.0, channels: 0, pixels: Vec::new() }
    }

    #[test]
    fn pixels_are_kept_whole_and_extremes_of_all_of_them() {
        let mut seen = seen();
        // Two channels; the second is the first and 100.
        let data: Vec<f32> = [1.0, 2.0, -3.0, 101.0, 102.0, 97.0].to_vec();
        seen.add(&Array::Float { shape: vec![1, 2, 1, 3], data }, &mut Random::of(0)).unwrap();
        assert_eq!((seen.lowest, seen.highest, seen.channels), (-3.0, 102.0, 2));
        assert_eq!(seen.pixels.len(), 2 * PIXELS);
        assert!(seen.pixels.chunks(2).all(|pixel| pixel[1] == pixel[0] + 100.0));
    }

    #[test]
    fn what_is_no_map_or_not_finite_is_refused() {
        let flat = Array::Float { shape: vec![1, 3], data: vec![0.0; 3] };
        assert!(seen().add(&flat, &mut Random::of(0)).is_err());
        let broken = Array::Float { shape: vec![1, 1, 1, 1], data: vec![f32::NAN] };
        assert!(seen().add(&broken, &mut Random::of(0)).is_err());
    }
}
