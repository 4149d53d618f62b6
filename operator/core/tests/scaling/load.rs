//! What comes, in units a second.

/// A load over time.
pub struct Load {
    pub name: &'static str,
    pub seconds: f64,
    /// Units that come in a second, at a second.
    pub rate: fn(f64) -> f64,
}

/// Five times as much from one moment to the next; a minute of ten times as much; a slow rise; and a day with a night, in
/// two hours.
pub const LOADS: [Load; 4] = [
    Load { name: "step x5", seconds: 1800.0, rate: |second| if second < 600.0 { 2.0 } else { 10.0 } },
    Load { name: "spike", seconds: 1800.0, rate: |second| if (600.0..660.0).contains(&second) { 20.0 } else { 2.0 } },
    Load { name: "ramp", seconds: 2400.0, rate: |second| 2.0 + 18.0 * ((second - 300.0) / 1500.0).clamp(0.0, 1.0) },
    Load {
        name: "night",
        seconds: 7200.0,
        rate: |second| (8.0 * (second / 7200.0 * std::f64::consts::TAU).cos() + 3.0).max(0.0),
    },
];
