//! Quarter turns of a page.

use crate::decode::{Bitmap, Channels};

/// How far a page is turned clockwise before it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Orientation {
    /// As the orientation model says, where it is sure.
    #[default]
    Auto,
    /// As the caller says.
    Fixed(Turn),
}

/// Why an orientation is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no orientation; it is auto, 0, 90, 180 or 270")]
pub struct OrientationError(String);

impl std::str::FromStr for Orientation {
    type Err = OrientationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "0" => Ok(Self::Fixed(Turn::None)),
            "90" => Ok(Self::Fixed(Turn::Quarter)),
            "180" => Ok(Self::Fixed(Turn::Half)),
            "270" => Ok(Self::Fixed(Turn::ThreeQuarters)),
            _ => Err(OrientationError(text.chars().take(20).collect())),
        }
    }
}

impl std::fmt::Display for Orientation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(turn) => write!(f, "{}", turn.degrees()),
        }
    }
}

/// A number of quarter turns, clockwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Turn {
    #[default]
    None,
    Quarter,
    Half,
    ThreeQuarters,
}

impl Turn {
    /// The turn in degrees, clockwise.
    #[must_use]
    pub const fn degrees(self) -> u16 {
        match self {
            Self::None => 0,
            Self::Quarter => 90,
            Self::Half => 180,
            Self::ThreeQuarters => 270,
        }
    }

    /// Where a point of the turned page lies on the page before the turn, whose size is given.
    #[must_use]
    pub fn point_before(self, [x, y]: [f32; 2], width: f32, height: f32) -> [f32; 2] {
        match self {
            Self::None => [x, y],
            Self::Quarter => [y, height - x],
            Self::Half => [width - x, height - y],
            Self::ThreeQuarters => [width - y, x],
        }
    }
}

/// The page turned clockwise; the same page where there is nothing to turn.
#[must_use]
pub fn turned(bitmap: Bitmap, turn: Turn) -> Bitmap {
    match (turn, bitmap.channels()) {
        (Turn::None, _) => bitmap,
        (_, Channels::Grey) => rotate::<1>(&bitmap, turn),
        (_, Channels::Rgb) => rotate::<3>(&bitmap, turn),
    }
}

fn rotate<const N: usize>(bitmap: &Bitmap, turn: Turn) -> Bitmap {
    let (width, height) = (bitmap.width() as usize, bitmap.height() as usize);
    let source: &[[u8; N]] = bitmap.pixels().as_chunks().0;
    let mut target = Vec::with_capacity(bitmap.pixels().len());
    match turn {
        Turn::None => target.extend_from_slice(bitmap.pixels()),
        Turn::Half => source.iter().rev().for_each(|pixel| target.extend_from_slice(pixel)),
        Turn::Quarter => {
            for x in 0..width {
                source.iter().skip(x).step_by(width).rev().for_each(|pixel| target.extend_from_slice(pixel));
            }
        }
        Turn::ThreeQuarters => {
            for x in (0..width).rev() {
                source.iter().skip(x).step_by(width).for_each(|pixel| target.extend_from_slice(pixel));
            }
        }
    }
    let (new_width, new_height) = match turn {
        Turn::None | Turn::Half => (width, height),
        Turn::Quarter | Turn::ThreeQuarters => (height, width),
    };
    #[expect(clippy::cast_possible_truncation, reason = "both sides come from a u32")]
    Bitmap::new(new_width as u32, new_height as u32, bitmap.channels(), target).unwrap_or_else(|| bitmap.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 2 3
    /// 4 5 6
    fn page() -> Bitmap {
        Bitmap::new(3, 2, Channels::Grey, vec![1, 2, 3, 4, 5, 6]).unwrap()
    }

    #[test]
    fn turns_are_clockwise() {
        assert_eq!(turned(page(), Turn::Quarter).pixels(), [4, 1, 5, 2, 6, 3]);
        assert_eq!(turned(page(), Turn::Half).pixels(), [6, 5, 4, 3, 2, 1]);
        assert_eq!(turned(page(), Turn::ThreeQuarters).pixels(), [3, 6, 2, 5, 1, 4]);
        assert_eq!(turned(page(), Turn::Quarter).width(), 2);
    }

    #[test]
    fn colours_stay_together() {
        let page = Bitmap::new(2, 1, Channels::Rgb, vec![1, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(turned(page, Turn::Half).pixels(), [4, 5, 6, 1, 2, 3]);
    }

    #[test]
    fn a_point_finds_its_way_back() {
        // the middle of the pixel 4 (left, below) comes to the left top by a quarter turn
        assert_eq!(Turn::Quarter.point_before([0.5, 0.5], 3.0, 2.0), [0.5, 1.5]);
        assert_eq!(Turn::Half.point_before([0.5, 0.5], 3.0, 2.0), [2.5, 1.5]);
        // the pixel 3 (right, above) comes to the left top by three quarters
        assert_eq!(Turn::ThreeQuarters.point_before([0.5, 0.5], 3.0, 2.0), [2.5, 0.5]);
    }

    #[test]
    fn an_orientation_is_read_as_it_is_written() {
        for text in ["auto", "0", "90", "180", "270"] {
            assert_eq!(text.parse::<Orientation>().unwrap().to_string(), text);
        }
        for text in ["45", "-90", "Auto", "360", ""] {
            assert!(text.parse::<Orientation>().is_err(), "{text}");
        }
    }
}
