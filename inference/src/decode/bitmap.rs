//! Pixels of a page.

/// How many bytes a pixel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// One byte: grey.
    Grey,
    /// Three bytes: red, green, blue.
    Rgb,
}

impl Channels {
    /// Bytes of a pixel.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
        }
    }
}

/// A page's pixels: rows from the top, pixels from the left, no padding. Grey pages stay at a third of the memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Bitmap {
    width: u32,
    height: u32,
    channels: Channels,
    pixels: Vec<u8>,
}

impl Bitmap {
    /// Takes the pixels; `None` where their number does not fit the size.
    #[must_use]
    pub fn new(width: u32, height: u32, channels: Channels, pixels: Vec<u8>) -> Option<Self> {
        let expected = (width as usize).checked_mul(height as usize)?.checked_mul(channels.bytes())?;
        (width > 0 && height > 0 && pixels.len() == expected).then_some(Self { width, height, channels, pixels })
    }

    /// Width in pixels; never 0.
    #[must_use]
    pub const fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels; never 0.
    #[must_use]
    pub const fn height(&self) -> u32 {
        self.height
    }

    /// Bytes of a pixel.
    #[must_use]
    pub const fn channels(&self) -> Channels {
        self.channels
    }

    /// All pixels.
    #[must_use]
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }
}

impl std::fmt::Debug for Bitmap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bitmap({}x{} {:?})", self.width, self.height, self.channels)
    }
}
