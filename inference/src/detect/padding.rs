//! A page's input filled up to a shape that the network has seen, and the map cut back.

use std::borrow::Cow;

use crate::engine::Tensor;

/// The input with zeros, which stand for the mean colour, to its right and below it: at least `width` x `height`.
#[must_use]
pub fn padded(tensor: Tensor, (width, height): (u32, u32)) -> Tensor {
    let [batch, channels, old_height, old_width] = tensor.shape;
    let (width, height) = ((width as usize).max(old_width), (height as usize).max(old_height));
    if (width, height) == (old_width, old_height) || old_width == 0 {
        return tensor;
    }
    let mut data = Vec::with_capacity(batch * channels * height * width);
    for plane in tensor.data.chunks_exact(old_height * old_width) {
        let end = data.len() + height * width;
        for row in plane.chunks_exact(old_width) {
            data.extend_from_slice(row);
            data.extend(std::iter::repeat_n(0.0, width - old_width));
        }
        data.resize(end, 0.0);
    }
    Tensor { shape: [batch, channels, height, width], data }
}

/// The upper left `width` x `height` of a map that is `map_width` wide; `None` where it has not that size.
#[must_use]
pub fn cropped(map: &[f32], map_width: usize, (width, height): (usize, usize)) -> Option<Cow<'_, [f32]>> {
    if map_width == 0 || width > map_width || !map.len().is_multiple_of(map_width) || map.len() / map_width < height {
        return None;
    }
    let rows = map.get(..map_width * height)?;
    if width == map_width {
        return Some(Cow::Borrowed(rows));
    }
    Some(rows.chunks_exact(map_width).flat_map(|row| row.iter().take(width).copied()).collect::<Vec<_>>().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_filled_up_to_the_right_and_below() {
        let tensor = Tensor { shape: [1, 2, 1, 2], data: vec![1.0, 2.0, 3.0, 4.0] };
        let filled = padded(tensor.clone(), (3, 2));
        assert_eq!(filled.shape, [1, 2, 2, 3]);
        assert_eq!(filled.data, [1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(padded(tensor.clone(), (2, 1)), tensor);
        assert_eq!(padded(tensor.clone(), (1, 1)), tensor, "nothing is cut off");
    }

    #[test]
    fn a_map_is_cut_back() {
        let map = [1.0, 2.0, 0.5, 3.0, 4.0, 0.5, 0.5, 0.5, 0.5];
        assert_eq!(cropped(&map, 3, (2, 2)).unwrap(), [1.0, 2.0, 3.0, 4.0].as_slice());
        assert_eq!(cropped(&map, 3, (3, 2)).unwrap(), &map[..6]);
        assert!(cropped(&map, 2, (2, 2)).is_none(), "nine are no rows of two");
        assert!(cropped(&map, 3, (4, 2)).is_none());
        assert!(cropped(&map, 3, (3, 4)).is_none());
        assert!(cropped(&[], 0, (0, 0)).is_none());
    }
}
