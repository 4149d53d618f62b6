//! The outermost layer of protocol buffers: fields with numbers, read from a stream without keeping them.
//!
//! Enough to look into an ONNX file of any size with a few kilobytes of memory. Lengths are checked against what
//! encloses them, so that no file can make the reader run past its end, allocate by its word, or go in circles.

use std::io::{self, Read};

/// Why bytes are no message.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("it ends at byte {position}, in the middle of a field")]
    Cut { position: u64 },
    #[error("the number at byte {position} is too long")]
    Number { position: u64 },
    #[error("field {field} at byte {position} has length {length}, which is more than is left")]
    Length { field: u64, position: u64, length: u64 },
    #[error("field {field} at byte {position} has the unknown kind {kind}")]
    Kind { field: u64, position: u64, kind: u64 },
    #[error("a name at byte {position} is {length} bytes long, more than {limit}")]
    Text { position: u64, length: u64, limit: u64 },
    #[error(transparent)]
    Io(io::Error),
}

/// A field of a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    pub number: u64,
    pub value: Value,
}

/// What a field holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Value {
    /// An integer or enumeration.
    Integer(u64),
    /// A number of 4 or 8 bytes, not kept.
    Fixed,
    /// Text, bytes, a message or packed numbers: where they end. The reader stands at their beginning.
    Block { end: u64 },
}

/// A reader of messages.
pub struct Wire<R> {
    reader: R,
    position: u64,
}

impl<R: Read> Wire<R> {
    /// A reader at the beginning of a stream.
    pub fn new(reader: R) -> Self {
        Self { reader, position: 0 }
    }

    /// How many bytes have been read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next field of the message that ends at `end`, or nothing if the message is over. A block must be read or
    /// skipped before the next call.
    pub fn field(&mut self, end: u64) -> Result<Option<Field>, WireError> {
        if self.position >= end {
            return Ok(None);
        }
        let position = self.position;
        let key = self.integer(end)?;
        let (number, kind) = (key >> 3, key & 7);
        let value = match kind {
            0 => Value::Integer(self.integer(end)?),
            1 | 5 => {
                let after = self.position + if kind == 1 { 8 } else { 4 };
                if after > end {
                    return Err(WireError::Cut { position: end });
                }
                self.skip(after)?;
                Value::Fixed
            }
            2 => {
                let length = self.integer(end)?;
                match self.position.checked_add(length) {
                    Some(block_end) if block_end <= end => Value::Block { end: block_end },
                    _ => return Err(WireError::Length { field: number, position, length }),
                }
            }
            _ => return Err(WireError::Kind { field: number, position, kind }),
        };
        Ok(Some(Field { number, value }))
    }

    /// The text of a block, at most `limit` bytes. What is no UTF-8 in it is replaced.
    pub fn text(&mut self, end: u64, limit: u64) -> Result<String, WireError> {
        let length = end.saturating_sub(self.position);
        if length > limit {
            return Err(WireError::Text { position: self.position, length, limit });
        }
        let mut bytes = Vec::new();
        (&mut self.reader).take(length).read_to_end(&mut bytes).map_err(WireError::Io)?;
        self.position = self.position.saturating_add(bytes.len() as u64);
        if self.position != end {
            return Err(WireError::Cut { position: self.position });
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Passes over everything up to `end`.
    pub fn skip(&mut self, end: u64) -> Result<(), WireError> {
        let length = end.saturating_sub(self.position);
        let skipped = io::copy(&mut (&mut self.reader).take(length), &mut io::sink()).map_err(WireError::Io)?;
        self.position = self.position.saturating_add(skipped);
        if skipped == length { Ok(()) } else { Err(WireError::Cut { position: self.position }) }
    }

    /// A number in groups of seven bits, for packed fields too.
    pub fn integer(&mut self, end: u64) -> Result<u64, WireError> {
        let start = self.position;
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            if self.position >= end {
                return Err(WireError::Cut { position: self.position });
            }
            self.reader.read_exact(&mut byte).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => WireError::Cut { position: self.position },
                _ => WireError::Io(error),
            })?;
            self.position += 1;
            let [byte] = byte;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::Number { position: start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &[u8]) -> Result<Vec<u64>, WireError> {
        let mut wire = Wire::new(bytes);
        let mut numbers = Vec::new();
        while let Some(field) = wire.field(bytes.len() as u64)? {
            numbers.push(field.number);
            if let Value::Block { end } = field.value {
                wire.skip(end)?;
            }
        }
        Ok(numbers)
    }

    #[test]
    fn all_kinds_of_fields_are_passed_over() {
        // 1: 300, 2: "abc", 3: 4 bytes, 4: 8 bytes.
        let bytes = b"\x08\xac\x02\x12\x03abc\x1d\x00\x00\x00\x00\x21\x00\x00\x00\x00\x00\x00\x00\x00";
        assert_eq!(fields(bytes).unwrap(), [1, 2, 3, 4]);
    }

    #[test]
    fn values_are_read() {
        let mut wire = Wire::new(b"\x08\xac\x02\x12\x03abc".as_slice());
        assert_eq!(wire.field(8).unwrap().unwrap().value, Value::Integer(300));
        let Some(Field { number: 2, value: Value::Block { end } }) = wire.field(8).unwrap() else { panic!() };
        assert_eq!(wire.text(end, 10).unwrap(), "abc");
        assert_eq!(wire.field(8).unwrap(), None);
    }

    #[test]
    fn a_length_beyond_the_enclosing_message_is_refused_before_anything_is_read() {
        let huge = b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7fabc";
        assert!(matches!(fields(huge), Err(WireError::Length { field: 2, .. })));
        let mut wire = Wire::new(b"\x12\x05abcde".as_slice());
        assert!(matches!(wire.field(4), Err(WireError::Length { .. })));
    }

    #[test]
    fn cut_off_bytes_are_refused() {
        for bytes in [b"\x08".as_slice(), b"\x08\xff", b"\x1d\x00\x00", b"\x80"] {
            assert!(matches!(fields(bytes), Err(WireError::Cut { .. })), "{bytes:?}");
        }
        // The stream is shorter than the file was said to be.
        let mut wire = Wire::new(b"\x12\x05ab".as_slice());
        let Some(Field { value: Value::Block { end }, .. }) = wire.field(7).unwrap() else { panic!() };
        assert!(matches!(wire.skip(end), Err(WireError::Cut { .. })));
    }

    #[test]
    fn a_number_without_end_is_refused() {
        assert!(matches!(fields(&[0xff; 32]), Err(WireError::Number { .. })));
    }

    #[test]
    fn groups_which_no_onnx_file_has_are_refused() {
        assert!(matches!(fields(b"\x0b"), Err(WireError::Kind { kind: 3, .. })));
    }

    #[test]
    fn a_long_name_is_refused() {
        let mut wire = Wire::new(b"\x12\x05abcde".as_slice());
        let Some(Field { value: Value::Block { end }, .. }) = wire.field(7).unwrap() else { panic!() };
        assert!(matches!(wire.text(end, 4), Err(WireError::Text { length: 5, limit: 4, .. })));
    }
}
