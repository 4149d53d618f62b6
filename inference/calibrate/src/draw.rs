//! Draws a line of text as a scanner or a camera might have seen it.

use ab_glyph::{Font as _, FontRef, Glyph, PxScale, ScaleFont as _, point};
use ocr_inference::decode::{Bitmap, Channels};

use crate::random::Random;

/// Draws a text in a font; everything else is up to `random`. `None` where the text has nothing to draw.
pub fn draw(text: &str, font: &FontRef<'_>, random: &mut Random) -> Option<Bitmap> {
    let ink = ink(text, font, random)?;
    // Dark on light, or one in eight the other way round.
    let mut paper = random.between(150.0, 255.0);
    let mut colour = random.between(0.0, paper - 70.0);
    if random.percent(12) {
        std::mem::swap(&mut paper, &mut colour);
    }
    let tint = [(); 3].map(|()| random.between(-12.0, 12.0));
    let noise = random.pick(&[0.0_f32, 3.0, 8.0, 16.0]).copied().unwrap_or_default();
    let mut planes = tint.map(|tint| {
        let values = ink.values.iter().map(|&share| {
            let value = (paper + tint).clamp(0.0, 255.0) * (1.0 - share) + colour * share;
            (value + noise * random.normal()).clamp(0.0, 255.0).round()
        });
        Plane { width: ink.width, height: ink.height, values: values.collect() }
    });
    if random.percent(40) {
        let deviation = random.between(0.4, 1.6);
        planes = planes.map(|plane| plane.blurred(deviation));
    }
    if random.percent(30) {
        planes = planes.map(|plane| plane.halved_and_doubled());
    }
    let pixels = (0..ink.width * ink.height).flat_map(|place| {
        let level = |plane: &Plane| plane.values.get(place).copied().unwrap_or_default().clamp(0.0, 255.0).round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number from 0 to 255")]
        let pixel = planes.each_ref().map(|plane| level(plane) as u8);
        pixel
    });
    let [width, height] = [ink.width, ink.height].map(|length| u32::try_from(length).unwrap_or_default());
    Bitmap::new(width, height, Channels::Rgb, pixels.collect())
}

/// One number a pixel.
struct Plane {
    width: usize,
    height: usize,
    values: Vec<f32>,
}

/// How much of each pixel the text covers, with a margin around it.
fn ink(text: &str, font: &FontRef<'_>, random: &mut Random) -> Option<Plane> {
    #[expect(clippy::cast_precision_loss, reason = "a few dozen pixels")]
    let scale = PxScale::from(random.within(16, 52) as f32);
    let margin = random.within(1, 10);
    let outlines: Vec<_> =
        glyphs(text, font, scale).into_iter().filter_map(|glyph| font.outline_glyph(glyph)).collect();
    let bounds = outlines.iter().map(ab_glyph::OutlinedGlyph::px_bounds).reduce(|mut all, one| {
        all.min = point(all.min.x.min(one.min.x), all.min.y.min(one.min.y));
        all.max = point(all.max.x.max(one.max.x), all.max.y.max(one.max.y));
        all
    })?;
    // The bounds are whole pixels.
    let (width, height) = (whole(bounds.width()) + 2 * margin, whole(bounds.height()) + 2 * margin);
    let mut plane = Plane { width, height, values: vec![0.0; width * height] };
    for outline in outlines {
        let corner = outline.px_bounds().min;
        let (left, top) = (whole(corner.x - bounds.min.x) + margin, whole(corner.y - bounds.min.y) + margin);
        outline.draw(|x, y, share| {
            let place = (top + y as usize) * width + left + x as usize;
            if let Some(value) = plane.values.get_mut(place) {
                *value = (*value + share).clamp(0.0, 1.0);
            }
        });
    }
    Some(plane)
}

/// The glyphs one behind the other on a line.
fn glyphs(text: &str, font: &FontRef<'_>, scale: PxScale) -> Vec<Glyph> {
    let scaled = font.as_scaled(scale);
    let mut glyphs: Vec<Glyph> = Vec::new();
    let mut x = 0.0;
    for character in text.chars() {
        let id = scaled.glyph_id(character);
        if let Some(last) = glyphs.last() {
            x += scaled.kern(last.id, id);
        }
        glyphs.push(id.with_scale_and_position(scale, point(x, 0.0)));
        x += scaled.h_advance(id);
    }
    glyphs
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates; lengths of a line")]
fn whole(length: f32) -> usize {
    length.round().max(0.0) as usize
}

impl Plane {
    /// A pixel; beyond the border the border's.
    fn at(&self, x: isize, y: isize) -> f32 {
        let inside = |place: isize, length: usize| usize::try_from(place).unwrap_or(0).min(length.saturating_sub(1));
        let place = inside(y, self.height) * self.width + inside(x, self.width);
        self.values.get(place).copied().unwrap_or_default()
    }

    /// Each pixel made of those around it, along rows and then along columns.
    fn blurred(&self, deviation: f32) -> Self {
        let reach = isize::try_from(whole((3.0 * deviation).ceil())).unwrap_or(1);
        #[expect(clippy::cast_precision_loss, reason = "a few pixels")]
        let weights: Vec<(isize, f32)> =
            (-reach..=reach).map(|step| (step, (-0.5 * (step as f32 / deviation).powi(2)).exp())).collect();
        let sum: f32 = weights.iter().map(|(_, weight)| weight).sum();
        let rows =
            self.each(|plane, x, y| weights.iter().map(|(step, weight)| plane.at(x + step, y) * weight / sum).sum());
        rows.each(|plane, x, y| weights.iter().map(|(step, weight)| plane.at(x, y + step) * weight / sum).sum())
    }

    /// As a picture of half the resolution, brought to its size again.
    fn halved_and_doubled(&self) -> Self {
        let half = Self {
            width: self.width.div_ceil(2),
            height: self.height.div_ceil(2),
            values: Vec::with_capacity(self.values.len().div_ceil(4)),
        };
        let half = half.each_of_size(|x, y| {
            let corner = |right: isize, down: isize| self.at(2 * x + right, 2 * y + down);
            (corner(0, 0) + corner(1, 0) + corner(0, 1) + corner(1, 1)) / 4.0
        });
        // A pixel of the whole lies a quarter of a pixel beside the middle of its pixel of the half.
        self.each(|_, x, y| {
            let beside = |place: isize| (place.div_euclid(2), if place.rem_euclid(2) == 0 { -1 } else { 1 });
            let ((x, right), (y, down)) = (beside(x), beside(y));
            (half.at(x, y) * 9.0
                + half.at(x + right, y) * 3.0
                + half.at(x, y + down) * 3.0
                + half.at(x + right, y + down))
                / 16.0
        })
    }

    /// A plane of the same size, made pixel by pixel.
    fn each(&self, value: impl Fn(&Self, isize, isize) -> f32) -> Self {
        Self { width: self.width, height: self.height, values: Vec::new() }.each_of_size(|x, y| value(self, x, y))
    }

    fn each_of_size(self, value: impl Fn(isize, isize) -> f32) -> Self {
        let signed = |length: usize| isize::try_from(length).unwrap_or_default();
        let places = (0..signed(self.height)).flat_map(|y| (0..signed(self.width)).map(move |x| (x, y)));
        Self { values: places.map(|(x, y)| value(x, y)).collect(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot() -> Plane {
        let mut values = vec![0.0; 81];
        values[40] = 16.0;
        Plane { width: 9, height: 9, values }
    }

    #[test]
    fn blurring_spreads_a_dot_and_loses_nothing() {
        let blurred = dot().blurred(1.0);
        assert!((blurred.values.iter().sum::<f32>() - 16.0).abs() < 1e-3);
        assert!(blurred.at(4, 4) < 4.0 && blurred.at(4, 4) > blurred.at(3, 4));
        assert_eq!(blurred.at(3, 4), blurred.at(5, 4));
    }

    #[test]
    fn half_the_resolution_keeps_an_even_plane_as_it_is() {
        let even = Plane { width: 5, height: 3, values: vec![7.0; 15] };
        assert_eq!(even.halved_and_doubled().values, vec![7.0; 15]);
        assert!(dot().halved_and_doubled().at(4, 4) < 4.0);
    }
}
