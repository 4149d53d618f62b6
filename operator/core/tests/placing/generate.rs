//! Random clusters and what happens to them. The same seed gives the same.

use k8s_openapi::api::core::v1::Node;
use ocrpool_core::api::{OnMismatch, Strategy};
use serde_json::{Value, json};

/// `SplitMix64` (Steele, Lea, Flood 2014): a generator in three lines, whose numbers no version of a crate changes.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to one less.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    /// From the one to the other, both included.
    pub fn between(&mut self, from: i32, to: i32) -> i32 {
        from + i32::try_from(self.below(usize::try_from(to - from + 1).unwrap())).unwrap()
    }

    /// In so many of a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// A cluster and a pool, before anything happens.
#[derive(Clone, Debug)]
pub struct World {
    pub strategies: Vec<Strategy>,
    pub placement: Value,
    pub resource: &'static str,
    pub replicas: i32,
    pub spill_after: i64,
    pub on_mismatch: OnMismatch,
    pub is_visible: bool,
    /// There are nodes enough for every pod on the CPU, and nothing happens to them.
    pub has_room: bool,
    /// Pods of others have GPUs.
    pub has_others: bool,
    /// Seconds until a pod is ready, and until one that was told to end is gone.
    pub start: i64,
    pub end: i64,
    pub nodes: Vec<NodeSpec>,
}

/// A node as it was made.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    pub labels: Value,
    pub gpus: i32,
    /// Pods that it has CPU and memory for.
    pub slots: i32,
    pub taint: Option<Value>,
    pub upgrade: Option<&'static str>,
    /// GPUs that pods of others have.
    pub others: i32,
}

/// What has happened to a node.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    pub is_cordoned: bool,
    pub is_drained: bool,
    pub is_dead: bool,
    /// GPUs that are gone.
    pub lost: i32,
}

impl NodeSpec {
    /// The node as the API server has it.
    pub fn node(&self, name: &str, resource: &str, condition: &Condition) -> Node {
        let mut taints: Vec<Value> = self.taint.iter().cloned().collect();
        if condition.is_drained {
            taints.push(json!({"key": "maintenance.example.com/now", "effect": "NoExecute"}));
        }
        if condition.is_dead {
            taints.push(json!({"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}));
        }
        let mut labels = self.labels.clone();
        if let Some(state) = self.upgrade {
            labels["nvidia.com/gpu-driver-upgrade-state"] = json!(state);
        }
        let ready = if condition.is_dead { "Unknown" } else { "True" };
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {"taints": taints, "unschedulable": condition.is_cordoned},
            "status": {
                "allocatable": {resource: (self.gpus - condition.lost).to_string()},
                "conditions": [{"type": "Ready", "status": ready}],
            },
        }))
        .unwrap()
    }
}

/// Which of the shares that a run must have a world is in.
#[expect(clippy::struct_excessive_bools, reason = "each stands for itself")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Traits {
    pub shortage: bool,
    pub taints: bool,
    pub mig: bool,
    pub shared: bool,
}

impl World {
    pub fn traits(&self) -> Traits {
        let gpus: i32 = self.nodes.iter().map(|node| node.gpus - node.others).sum();
        let needs_gpu = self.strategies.iter().any(|strategy| strategy.needs_gpu());
        Traits {
            shortage: needs_gpu && gpus < self.replicas,
            taints: self.nodes.iter().any(|node| node.taint.is_some()),
            mig: self.resource.contains("mig") && gpus > 0,
            shared: self.nodes.iter().any(|node| is_shared(node, self.resource)),
        }
    }
}

fn is_shared(node: &NodeSpec, resource: &str) -> bool {
    let key = format!("{}.replicas", resource.trim_end_matches(".shared"));
    node.gpus > 0 && node.labels[key].as_str().is_some_and(|replicas| replicas > "1")
}

/// Makes a world.
pub fn world(random: &mut Random) -> World {
    use Strategy::{Cpu, GpuFp16, GpuInt8};
    let strategies = match random.below(20) {
        0..=7 => vec![GpuFp16, GpuInt8, Cpu],
        8..=12 => vec![GpuFp16, Cpu],
        13 => vec![GpuInt8, Cpu],
        14 | 15 => vec![GpuFp16],
        16 | 17 => vec![GpuFp16, GpuInt8],
        _ => vec![Cpu],
    };
    let resource = *random.one(&[
        "nvidia.com/gpu",
        "nvidia.com/gpu",
        "nvidia.com/gpu",
        "nvidia.com/gpu.shared",
        "nvidia.com/mig-1g.10gb",
    ]);
    let replicas = *random.one(&[1, 1, 2, 2, 3, 4, 5, 8]);
    let mut placement = json!({"gpuResource": resource});
    if random.chance(30) {
        placement["tolerations"] = json!([{"key": "team", "operator": "Exists"}]);
    }
    let has_others = random.chance(20);
    let mut nodes: Vec<NodeSpec> = (0..random.below(5)).map(|_| gpu_node(random, resource, has_others)).collect();
    let has_room = random.chance(80);
    let slots = if has_room { replicas * 4 + 4 } else { random.between(0, replicas) };
    nodes.push(NodeSpec { labels: json!({}), gpus: 0, slots, taint: None, upgrade: None, others: 0 });
    World {
        strategies,
        placement,
        resource,
        replicas,
        spill_after: *random.one(&[10, 30, 30, 60]),
        on_mismatch: *random.one(&[OnMismatch::Serve, OnMismatch::Replace]),
        is_visible: random.chance(85),
        has_room,
        has_others,
        start: random.between(2, 40).into(),
        end: random.between(1, 60).into(),
        nodes,
    }
}

fn gpu_node(random: &mut Random, resource: &str, has_others: bool) -> NodeSpec {
    let prefix = resource.trim_end_matches(".shared");
    let mut gpus = random.between(1, 4);
    let mut labels = json!({});
    let mut label = |what: &str, value: &str| labels[format!("{prefix}.{what}")] = json!(value);
    if prefix.contains("mig") {
        gpus = random.between(1, 7);
        label("memory", "9728");
    } else {
        match random.below(12) {
            0 => {}
            1 => label("memory", "lots"),
            // Too small for gpu-fp16, and for everything.
            2 => label("memory", "4096"),
            3 => label("memory", "2048"),
            4 | 5 => label("memory", "15360"),
            6 | 7 => label("memory", "81559"),
            _ => label("memory", "23034"),
        }
        let is_shared = resource.ends_with(".shared") || random.chance(20);
        let sharers = if is_shared { random.between(2, 5) } else { 1 };
        label("replicas", &sharers.to_string());
        gpus *= sharers;
    }
    let taint = random.chance(20).then(|| {
        let key = *random.one(&["team", "team", "nvidia.com/gpu", resource]);
        json!({"key": key, "value": "x", "effect": "NoSchedule"})
    });
    NodeSpec {
        labels,
        gpus,
        slots: gpus + random.between(0, 4),
        taint,
        upgrade: random.chance(8).then(|| *random.one(&["upgrade-done", "upgrade-required", "upgrade-failed"])),
        others: if has_others { random.between(0, gpus) } else { 0 },
    }
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// GPUs of a node vanish; pods that have them may end.
    Lose {
        node: usize,
        gpus: i32,
        ends_pods: bool,
    },
    /// Pods of others take GPUs of a node, or give them back.
    Others {
        node: usize,
        gpus: i32,
    },
    Cordon(usize),
    /// By taint; its pods end.
    Drain(usize),
    /// It is silent; its pods are gone, or stay for ever as ones that should end.
    Die {
        node: usize,
        is_gone: bool,
    },
    /// All of that is over for a node.
    Heal(usize),
    Scale(i32),
    NewRevision,
    /// Somebody deletes a pod.
    Delete,
    /// From now on, GPUs of a node do not work: pods there run on its CPU, and say so.
    Lie(usize),
}

/// Something that happens. Nodes without GPUs are left alone where the pool counts on them.
pub fn happening(random: &mut Random, world: &World) -> Happening {
    let spared = usize::from(world.has_room);
    let node = random.below((world.nodes.len() - spared).max(1));
    if world.nodes.len() == spared {
        return Happening::Delete;
    }
    let gpus = world.nodes[node].gpus;
    match random.below(20) {
        0..=3 => Happening::Lose { node, gpus: random.between(0, gpus), ends_pods: random.chance(60) },
        4 | 5 => Happening::Die { node, is_gone: random.chance(50) },
        6 => Happening::Cordon(node),
        7 => Happening::Drain(node),
        8 if world.has_others => Happening::Others { node, gpus: random.between(0, gpus) },
        8 | 9 => Happening::Delete,
        10 => Happening::Scale(random.between(0, world.replicas.max(1) * 2)),
        11 | 12 => Happening::NewRevision,
        13..=15 => Happening::Lie(node),
        _ => Happening::Heal(node),
    }
}
