//! Constants: their values in and out.

#[cfg(doc)]
use super::half;
use super::proto::{Tensor, element};

/// Why a constant cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    #[error("tensor {tensor} has element type {found}, not {expected}")]
    Type { tensor: String, expected: i32, found: i32 },
    #[error("tensor {tensor} has shape {dims:?} but {values} values")]
    Length { tensor: String, dims: Vec<i64>, values: usize },
}

impl Tensor {
    /// A constant of 32-bit floats.
    #[must_use]
    pub fn of_floats(name: &str, dims: &[usize], values: &[f32]) -> Self {
        debug_assert_eq!(dims.iter().product::<usize>(), values.len(), "{name}");
        let dims = dims.iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX)).collect();
        Self::constant(name, dims, element::FLOAT, values.iter().flat_map(|value| value.to_le_bytes()))
    }

    /// A constant of 64-bit integers.
    #[must_use]
    pub fn of_integers(name: &str, dims: &[i64], values: &[i64]) -> Self {
        Self::constant(name, dims.to_vec(), element::INT64, values.iter().flat_map(|value| value.to_le_bytes()))
    }

    /// A constant of 16-bit floats, as [`half`] makes them.
    #[must_use]
    pub fn of_halves(name: &str, dims: &[i64], values: &[u16]) -> Self {
        Self::constant(name, dims.to_vec(), element::FLOAT16, values.iter().flat_map(|value| value.to_le_bytes()))
    }

    /// A constant of signed bytes.
    #[must_use]
    pub fn of_signed_bytes(name: &str, dims: &[i64], values: &[i8]) -> Self {
        Self::constant(name, dims.to_vec(), element::INT8, values.iter().flat_map(|value| value.to_le_bytes()))
    }

    /// A single byte.
    #[must_use]
    pub fn of_byte(name: &str, value: u8) -> Self {
        Self::constant(name, Vec::new(), element::UINT8, [value])
    }

    fn constant(name: &str, dims: Vec<i64>, element: i32, bytes: impl IntoIterator<Item = u8>) -> Self {
        Self {
            dims,
            data_type: Some(element),
            name: Some(name.to_owned()),
            raw_data: Some(bytes.into_iter().collect()),
            ..Self::default()
        }
    }

    /// The shape.
    ///
    /// # Errors
    /// If a length is negative.
    pub fn shape(&self) -> Result<Vec<usize>, TensorError> {
        let lengths = self.dims.iter().map(|&dim| usize::try_from(dim)).collect::<Result<Vec<_>, _>>();
        lengths.map_err(|_| self.wrong_length(0))
    }

    /// The values of a constant of 32-bit floats, row by row.
    ///
    /// # Errors
    /// If it holds other values, or more or fewer than its shape says.
    pub fn floats(&self) -> Result<Vec<f32>, TensorError> {
        if self.data_type() != element::FLOAT {
            return Err(TensorError::Type {
                tensor: self.name().to_owned(),
                expected: element::FLOAT,
                found: self.data_type(),
            });
        }
        let values: Vec<f32> = match &self.raw_data {
            Some(raw) if raw.len() % 4 == 0 => {
                raw.chunks_exact(4).filter_map(|bytes| bytes.try_into().ok().map(f32::from_le_bytes)).collect()
            }
            Some(raw) => return Err(self.wrong_length(raw.len() / 4)),
            None => self.float_data.clone(),
        };
        if self.shape()?.iter().product::<usize>() != values.len() {
            return Err(self.wrong_length(values.len()));
        }
        Ok(values)
    }

    fn wrong_length(&self, values: usize) -> TensorError {
        TensorError::Length { tensor: self.name().to_owned(), dims: self.dims.clone(), values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_read_from_both_places_where_onnx_keeps_them() {
        let raw = Tensor::of_floats("raw", &[2, 2], &[1.0, -2.0, 3.5, 0.0]);
        assert_eq!(raw.floats().unwrap(), [1.0, -2.0, 3.5, 0.0]);
        let typed = Tensor { dims: vec![1, 2], data_type: Some(1), float_data: vec![4.0, 5.0], ..Default::default() };
        assert_eq!(typed.floats().unwrap(), [4.0, 5.0]);
    }

    #[test]
    fn a_constant_whose_shape_and_values_disagree_is_refused() {
        let mut short = Tensor::of_floats("short", &[3], &[1.0, 2.0, 3.0]);
        short.dims = vec![4];
        assert!(matches!(short.floats(), Err(TensorError::Length { values: 3, .. })));
        short.dims = vec![-1];
        assert!(matches!(short.floats(), Err(TensorError::Length { .. })));
    }

    #[test]
    fn integers_are_not_taken_for_floats() {
        assert!(matches!(Tensor::of_integers("i", &[1], &[7]).floats(), Err(TensorError::Type { found: 7, .. })));
    }
}
