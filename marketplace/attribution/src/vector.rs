//! Int8 vectors: gradients on the unit sphere as whole numbers, and their exact dot products.

use agora_types::Code;

/// Most entries of a vector.
///
/// With entries of at most 127 a squared norm is at most 65,536 * 127^2 = 1,057,030,144 < 2^30, and so is every dot
/// product: sums in i32 cannot overflow.
pub const DIMENSION_MAX: usize = 65_536;

/// A borrowed int8 vector (two's complement bytes, -127 to 127) with its squared norm.
///
/// Its direction alone means something: every rule divides by the norm, so the scale that a writer chose for a row does
/// not matter, and a row that was scaled up gains nothing. Only the methods `gradient-dot` and `datainf` read lengths.
///
/// **Quantisation contract.** An entry is `round(unit * s)`, halves away from zero, clamped to -127..=127, where `unit`
/// is the projected vector at length 1 and `s` the spec's `row_scale_milli` / 1000; `s = 127 / 4 * sqrt(K)` clamps
/// beyond four standard deviations. The squared norm is computed from the bytes, never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    bytes: &'a [u8],
    norm_squared: u32,
}

impl<'a> Row<'a> {
    /// Checks the bytes and measures them.
    ///
    /// # Errors
    /// `attribution.bad_input` for no entries, more than [`DIMENSION_MAX`], or an entry of -128.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Code> {
        if !(1..=DIMENSION_MAX).contains(&bytes.len()) || has_lowest(bytes) {
            return Err(Code::AttributionInput);
        }
        Ok(Self { bytes, norm_squared: norm_squared(bytes) })
    }

    /// From parts that were checked together before.
    pub(crate) fn checked(bytes: &'a [u8], norm_squared: u32) -> Self {
        Self { bytes, norm_squared }
    }

    /// Two's complement bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Number of entries.
    pub fn dimension(&self) -> usize {
        self.bytes.len()
    }

    /// Sum of the squared entries; below 2^30.
    pub fn norm_squared(&self) -> u32 {
        self.norm_squared
    }

    /// The exact dot product; its absolute value is below 2^30.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn dot(&self, other: &Row<'_>) -> i32 {
        assert_eq!(self.bytes.len(), other.bytes.len(), "vectors of one matrix have one length");
        dot(self.bytes, other.bytes)
    }
}

/// An int8 vector of one's own: a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vector {
    bytes: Vec<u8>,
    norm_squared: u32,
}

impl Vector {
    /// From two's complement bytes.
    ///
    /// # Errors
    /// As [`Row::new`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, Code> {
        let norm_squared = Row::new(&bytes)?.norm_squared();
        Ok(Self { bytes, norm_squared })
    }

    /// From signed entries.
    ///
    /// # Errors
    /// As [`Row::new`].
    pub fn from_entries(entries: &[i8]) -> Result<Self, Code> {
        Self::new(entries.iter().map(|entry| entry.cast_unsigned()).collect())
    }

    /// Borrowed.
    pub fn row(&self) -> Row<'_> {
        Row::checked(&self.bytes, self.norm_squared)
    }

    /// Two's complement bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// True when an entry is -128, which no writer makes and whose square would break the bounds' symmetry.
pub(crate) fn has_lowest(bytes: &[u8]) -> bool {
    // Without an early exit, so that it is compared many bytes at a time.
    bytes.iter().fold(false, |found, byte| found | (*byte == 0x80))
}

/// Sum of squares; below 2^30 for at most [`DIMENSION_MAX`] entries.
pub(crate) fn norm_squared(bytes: &[u8]) -> u32 {
    u32::try_from(dot(bytes, bytes)).expect("a sum of squares is not negative")
}

/// Sixteen sums side by side over i16 products of widened bytes: the form that compilers turn into multiply-and-add of
/// pairs. Wrapping, so that no overflow check stands in the way; the bound of [`DIMENSION_MAX`] says that none wraps.
fn dot(left: &[u8], right: &[u8]) -> i32 {
    const LANES: usize = 16;
    debug_assert!(left.len() == right.len() && left.len() <= DIMENSION_MAX, "a dot product fits i32");
    let wide = |byte: u8| i32::from(i16::from(byte.cast_signed()));
    let (left_chunks, left_rest) = left.as_chunks::<LANES>();
    let (right_chunks, right_rest) = right.as_chunks::<LANES>();
    let mut sums = [0i32; LANES];
    for (left, right) in left_chunks.iter().zip(right_chunks) {
        for lane in 0..LANES {
            sums[lane] = sums[lane].wrapping_add(wide(left[lane]).wrapping_mul(wide(right[lane])));
        }
    }
    let rest = left_rest.iter().zip(right_rest).map(|(left, right)| wide(*left).wrapping_mul(wide(*right)));
    sums.into_iter().chain(rest).fold(0, i32::wrapping_add)
}
