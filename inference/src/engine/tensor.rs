//! What goes into a network and what comes out.

/// A batch of `f32` in the order batch, channel, row, column.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Batch, channels, height, width.
    pub shape: [usize; 4],
    pub data: Vec<f32>,
}

impl Tensor {
    /// Joins tensors of equal shape along the batch. Empty without tensors.
    #[must_use]
    pub fn stacked(parts: &[&Self]) -> Self {
        let [_, channels, height, width] = parts.first().map_or([0; 4], |first| first.shape);
        let mut data = Vec::with_capacity(parts.iter().map(|part| part.data.len()).sum());
        for part in parts {
            data.extend_from_slice(&part.data);
        }
        Self { shape: [parts.iter().map(|part| part.shape[0]).sum(), channels, height, width], data }
    }
}

/// One output of a network, rows first.
#[derive(Clone, Debug, PartialEq)]
pub enum Array {
    Float { shape: Vec<usize>, data: Vec<f32> },
    Int { shape: Vec<usize>, data: Vec<i64> },
}

impl Array {
    /// Length of every dimension.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Float { shape, .. } | Self::Int { shape, .. } => shape,
        }
    }

    /// The numbers, where they are floats.
    #[must_use]
    pub fn floats(&self) -> Option<&[f32]> {
        match self {
            Self::Float { data, .. } => Some(data),
            Self::Int { .. } => None,
        }
    }

    /// The numbers, where they are integers.
    #[must_use]
    pub fn ints(&self) -> Option<&[i64]> {
        match self {
            Self::Int { data, .. } => Some(data),
            Self::Float { .. } => None,
        }
    }

    /// One item of the batch, with a batch of 1; `None` where there is no such item.
    #[must_use]
    pub fn item(&self, index: usize) -> Option<Self> {
        fn part<T: Copy>(data: &[T], shape: &[usize], index: usize) -> Option<(Vec<usize>, Vec<T>)> {
            let (&batch, rest) = shape.split_first()?;
            let size: usize = rest.iter().product();
            let data = (index < batch).then(|| data.get(index * size..(index + 1) * size))??;
            Some(([&[1], rest].concat(), data.to_vec()))
        }
        match self {
            Self::Float { shape, data } => part(data, shape, index).map(|(shape, data)| Self::Float { shape, data }),
            Self::Int { shape, data } => part(data, shape, index).map(|(shape, data)| Self::Int { shape, data }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_taken_apart_as_it_was_joined() {
        let one = Tensor { shape: [1, 1, 1, 2], data: vec![1.0, 2.0] };
        let two = Tensor { shape: [1, 1, 1, 2], data: vec![3.0, 4.0] };
        let batch = Tensor::stacked(&[&one, &two]);
        assert_eq!(batch.shape, [2, 1, 1, 2]);
        let array = Array::Float { shape: batch.shape.to_vec(), data: batch.data };
        assert_eq!(array.item(1).unwrap().floats(), Some(&[3.0, 4.0][..]));
        assert_eq!(array.item(1).unwrap().shape(), [1, 1, 1, 2]);
        assert_eq!(array.item(2), None);
    }
}
