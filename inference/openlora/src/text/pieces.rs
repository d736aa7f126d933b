//! What the tokens of a vocabulary show, in two allocations: a small one for each token would hold on to the memory of
//! whatever was read before it.

/// A list of byte strings.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Pieces {
    /// Adds one.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        self.ends.push(self.bytes.len());
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// One of them; empty if there are not so many.
    pub(super) fn get(&self, at: u32) -> &[u8] {
        let at = at as usize;
        let start = if at == 0 { Some(&0) } else { self.ends.get(at - 1) };
        match (start, self.ends.get(at)) {
            (Some(start), Some(end)) => &self.bytes[*start..*end],
            (Some(_) | None, Some(_) | None) => &[],
        }
    }

    /// Gives back room that was not needed.
    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}
