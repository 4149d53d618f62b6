//! Where the nodes of a network really ran, by ONNX Runtime's own record: a provider that was set up may still leave nodes
//! to the CPU, in silence.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Where the nodes of a network ran.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement {
    /// By execution provider.
    pub providers: BTreeMap<String, Share>,
}

/// What ran on a provider.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    pub nodes: u64,
    /// Time in them, in seconds, as ONNX Runtime counts it: for a GPU that of starting the work, unless it was built to ask
    /// the GPU.
    pub seconds: f64,
}

/// What is read of an event in a profile: a JSON array in the form of Chrome's traces.
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    cat: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    dur: f64,
    #[serde(default)]
    args: Arguments,
}

#[derive(Default, Deserialize)]
struct Arguments {
    #[serde(default)]
    provider: String,
}

impl Placement {
    /// Reads a profile of one run or more.
    ///
    /// # Errors
    /// If it is none.
    pub fn of_profile(json: &[u8]) -> serde_json::Result<Self> {
        let events: Vec<Event> = serde_json::from_slice(json)?;
        let mut nodes: BTreeMap<(String, String), f64> = BTreeMap::new();
        for event in events {
            // A node's events are its own and those of its parts; the one of its kernel names the provider.
            if event.cat == "Node" && event.name.ends_with("_kernel_time") && !event.args.provider.is_empty() {
                *nodes.entry((event.args.provider, event.name)).or_default() += event.dur;
            }
        }
        let mut providers: BTreeMap<String, Share> = BTreeMap::new();
        for ((provider, _), micros) in nodes {
            let share = providers.entry(provider).or_default();
            share.nodes += 1;
            share.seconds += micros / 1e6;
        }
        Ok(Self { providers })
    }

    /// Adds what another network's nodes did.
    pub fn add(&mut self, other: &Self) {
        for (provider, share) in &other.providers {
            let sum = self.providers.entry(provider.clone()).or_default();
            sum.nodes += share.nodes;
            sum.seconds += share.seconds;
        }
    }

    /// The share of the nodes, and of the time in them, that a provider has; 0 where there are no nodes.
    #[must_use]
    pub fn share_of(&self, provider: &str) -> (f64, f64) {
        let all = self.providers.values().fold(Share::default(), |sum, share| Share {
            nodes: sum.nodes + share.nodes,
            seconds: sum.seconds + share.seconds,
        });
        let own = self.providers.get(provider).copied().unwrap_or_default();
        // Networks have thousands of nodes.
        #[expect(clippy::cast_precision_loss)]
        let nodes = own.nodes as f64 / all.nodes.max(1) as f64;
        (nodes, if all.seconds > 0.0 { own.seconds / all.seconds } else { 0.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = r#"[
        {"cat":"Session","name":"model_loading_uri","dur":9000,"args":{}},
        {"cat":"Node","name":"Conv_1_fence_before","dur":7,"args":{"op_name":"Conv"}},
        {"cat":"Node","name":"Conv_1_kernel_time","dur":300,"args":{"op_name":"Conv","provider":"CUDAExecutionProvider"}},
        {"cat":"Node","name":"Conv_1_kernel_time","dur":300,"args":{"op_name":"Conv","provider":"CUDAExecutionProvider"}},
        {"cat":"Node","name":"Gelu_2_kernel_time","dur":200,"args":{"op_name":"Gelu","provider":"CUDAExecutionProvider"}},
        {"cat":"Node","name":"NonZero_3_kernel_time","dur":200,"args":{"op_name":"NonZero","provider":"CPUExecutionProvider"}},
        {"ph":"M"}
    ]"#;

    #[test]
    fn nodes_are_counted_once_and_their_time_each_time() {
        let placement = Placement::of_profile(PROFILE.as_bytes()).unwrap();
        let cuda = placement.providers["CUDAExecutionProvider"];
        assert_eq!(cuda.nodes, 2);
        assert!((cuda.seconds - 0.0008).abs() < 1e-12, "{}", cuda.seconds);
        let (nodes, time) = placement.share_of("CUDAExecutionProvider");
        assert!((nodes - 2.0 / 3.0).abs() < 1e-9 && (time - 0.8).abs() < 1e-9, "{nodes} {time}");
        assert_eq!(placement.share_of("TensorrtExecutionProvider"), (0.0, 0.0));
    }

    /// What ONNX Runtime 1.31.1 wrote of two runs of the orientation network, cut to its first three nodes.
    #[test]
    fn a_real_record_is_understood() {
        let record = include_bytes!("../../../tests/recorded/onnxruntime-profile.json");
        let placement = Placement::of_profile(record).unwrap();
        let cpu = placement.providers["CPUExecutionProvider"];
        assert_eq!((placement.providers.len(), cpu.nodes), (1, 3));
        assert!((cpu.seconds - 0.000_938).abs() < 1e-9, "{}", cpu.seconds);
    }

    #[test]
    fn networks_are_added_and_nothing_has_no_share() {
        let mut sum = Placement::default();
        assert_eq!(sum.share_of("CPUExecutionProvider"), (0.0, 0.0));
        let one = Placement::of_profile(PROFILE.as_bytes()).unwrap();
        sum.add(&one);
        sum.add(&one);
        assert_eq!(sum.providers["CPUExecutionProvider"].nodes, 2);
        assert!(Placement::of_profile(b"{}").is_err());
    }
}
