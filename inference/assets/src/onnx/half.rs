//! 16-bit floats (IEEE 754 binary16): made of 32-bit ones by rounding to the nearest, ties to even, on every machine alike.

/// The largest 16-bit float.
pub const MAX: f32 = 65504.0;

/// The bits of the nearest 16-bit float; infinite beyond [`MAX`].
#[must_use]
pub fn of_float(value: f32) -> u16 {
    /// From here on the nearest one is infinite: halfway between [`MAX`] and 65536.
    const INFINITE: u32 = 0x477f_f000;
    /// 2^-14: from here on down the exponent stays and digits are lost.
    const SMALLEST_NORMAL: u32 = 0x3880_0000;
    /// The difference of the two formats' exponents, 127 - 15, in its place.
    const EXPONENTS: u32 = 112 << 23;

    let bits = value.to_bits();
    let (sign, magnitude) = ((bits >> 16) & 0x8000, bits & 0x7fff_ffff);
    let half = if value.is_nan() {
        0x7e00
    } else if magnitude >= INFINITE {
        0x7c00
    } else if magnitude >= SMALLEST_NORMAL {
        // A carry out of the digits is one more in the exponent, as it should be.
        let odd = (magnitude >> 13) & 1;
        (magnitude - EXPONENTS + 0x0fff + odd) >> 13
    } else {
        // The last digit of a number just above 0.5 is worth 2^-24, as that of a 16-bit float below 2^-14 is: the sum is
        // rounded there.
        (f32::from_bits(magnitude) + 0.5).to_bits() - 0.5_f32.to_bits()
    };
    u16::try_from(sign | half).unwrap_or(u16::MAX)
}

/// The value of a 16-bit float.
#[must_use]
pub fn to_float(bits: u16) -> f32 {
    let (digits, exponent) = (f32::from(bits & 0x03ff), (bits >> 10) & 0x1f);
    let magnitude = match exponent {
        0 => digits * 2.0_f32.powi(-24),
        31 if digits > 0.0 => f32::NAN,
        31 => f32::INFINITY,
        _ => (1024.0 + digits) * 2.0_f32.powi(i32::from(exponent) - 25),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that are numbers, from the lowest to the highest of each sign.
    fn numbers() -> impl Iterator<Item = u16> {
        (0..=0x7bff).chain(0x8000..=0xfbff)
    }

    #[test]
    fn every_one_of_them_survives_the_way_there_and_back() {
        for bits in numbers() {
            assert_eq!(of_float(to_float(bits)), bits, "{bits:#06x}");
        }
    }

    #[test]
    fn what_lies_between_two_goes_to_the_nearer_and_from_the_middle_to_the_even_one() {
        for bits in numbers().filter(|bits| bits & 0x7fff < 0x7bff) {
            let (here, next) = (to_float(bits), to_float(bits + 1));
            let middle = f32::midpoint(here, next);
            assert_eq!(of_float(middle), if bits % 2 == 0 { bits } else { bits + 1 }, "{bits:#06x}");
            // The neighbours of the middle among 32-bit floats; towards zero is towards `here`.
            assert_eq!(of_float(f32::from_bits(middle.to_bits() - 1)), bits);
            assert_eq!(of_float(f32::from_bits(middle.to_bits() + 1)), bits + 1);
        }
    }

    #[test]
    fn known_values_have_their_bits() {
        for (value, bits) in
            [(0.0, 0), (-0.0, 0x8000), (1.0, 0x3c00), (-2.0, 0xc000), (MAX, 0x7bff), (65519.9, 0x7bff), (1e-8, 0)]
        {
            assert_eq!(of_float(value), bits, "{value}");
        }
        for value in [65520.0, 1e30, f32::INFINITY] {
            assert_eq!((of_float(value), of_float(-value)), (0x7c00, 0xfc00));
        }
        assert!(to_float(of_float(f32::NAN)).is_nan());
        assert_eq!(to_float(0x7c00), f32::INFINITY);
    }
}
