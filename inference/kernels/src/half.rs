//! Half-precision numbers (IEEE 754 binary16) without vector instructions, bit for bit as processors convert them.

/// The number that the bits stand for, exactly.
#[inline]
pub const fn from_half(bits: u16) -> f32 {
    let bits = bits as u32;
    let (sign, exponent, fraction) = ((bits & 0x8000) << 16, (bits >> 10) & 31, bits & 0x3FF);
    let magnitude = match exponent {
        // Subnormal: a multiple of 2^-24, exact in f32.
        0 => (fraction as f32 * f32::from_bits(0x3380_0000)).to_bits(),
        // A signalling not-a-number becomes a quiet one.
        31 => 0x7F80_0000 | (fraction << 13) | if fraction > 0 { 0x40_0000 } else { 0 },
        _ => ((exponent + 112) << 23) | (fraction << 13),
    };
    f32::from_bits(sign | magnitude)
}

/// The nearest half-precision number, of two equally near ones the even; infinity above 65,519.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "each arm leaves at most sixteen bits")]
pub const fn to_half(number: f32) -> u16 {
    let bits = number.to_bits();
    let (sign, magnitude) = ((bits >> 16) as u16 & 0x8000, bits & 0x7FFF_FFFF);
    let rounded = if magnitude > 0x7F80_0000 {
        0x7E00 | (magnitude >> 13) & 0x3FF
    } else if magnitude >= 0x4780_0000 {
        0x7C00
    } else if magnitude < 0x3880_0000 {
        // Below 2^-14: adding 2^-1 (whose last place is 2^-24) rounds to multiples of 2^-24.
        (f32::from_bits(magnitude) + 0.5).to_bits() - 0x3F00_0000
    } else {
        // A carry out of the fraction raises the exponent, up to infinity: just what rounding means.
        let odd = (magnitude >> 13) & 1;
        (magnitude - 0x3800_0000 + 0xFFF + odd) >> 13
    };
    sign | rounded as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_way_there_and_back() {
        for bits in 0..=u16::MAX {
            let number = from_half(bits);
            if number.is_nan() {
                assert!(from_half(to_half(number)).is_nan());
            } else {
                assert_eq!(to_half(number), bits, "{number}");
            }
        }
    }

    #[test]
    fn a_number_between_two_halves_goes_to_the_nearer_and_from_the_middle_to_the_even() {
        for bits in 0..0x7BFF_u16 {
            let (low, high) = (from_half(bits), from_half(bits + 1));
            let middle = low + (high - low) / 2.0;
            let even = if bits % 2 == 0 { bits } else { bits + 1 };
            assert_eq!(to_half(middle), even, "{middle}");
            assert_eq!(to_half(f32::from_bits(middle.to_bits() - 1)), bits);
            assert_eq!(to_half(f32::from_bits(middle.to_bits() + 1)), bits + 1);
            assert_eq!(to_half(-middle), even | 0x8000);
        }
        assert_eq!((to_half(65_519.0), to_half(65_520.0), to_half(f32::MAX)), (0x7BFF, 0x7C00, 0x7C00));
    }
}
