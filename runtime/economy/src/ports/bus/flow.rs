//! Flow control of one stream as two small rules: the sender counts what it may send, the receiver what it has.
//!
//! A grant is cumulative (`through`), so that a lost credit frame is healed by the next.

use agora_types::Code;

use super::BusError;

/// Most chunks that a receiver lets a sender have under way.
pub const CREDIT_MAX: u64 = 256;

/// The sender's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendWindow {
    next: u64,
    through: u64,
}

impl SendWindow {
    /// Starts at chunk 0 with the receiver's first grant, at most [`CREDIT_MAX`].
    pub fn new(first_grant: u64) -> Self {
        Self { next: 0, through: first_grant.min(CREDIT_MAX) }
    }

    /// The number of the next chunk, or `bus.no_credit`.
    pub fn take(&mut self) -> Result<u64, BusError> {
        if self.next >= self.through {
            return Err(BusError::new(Code::BusNoCredit, format!("chunk {}", self.next)));
        }
        let seq = self.next;
        self.next += 1;
        Ok(seq)
    }

    /// True when [`SendWindow::take`] would succeed.
    pub fn is_open(&self) -> bool {
        self.next < self.through
    }

    /// Notes a credit. An older one changes nothing; one too far ahead is cut to [`CREDIT_MAX`] chunks.
    pub fn grant(&mut self, through: u64) {
        self.through = self.through.max(through.min(self.next.saturating_add(CREDIT_MAX)));
    }
}

/// The receiver's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiveWindow {
    expected: u64,
    through: u64,
    size: u64,
}

impl ReceiveWindow {
    /// Lets `size` chunks be under way, 1 to [`CREDIT_MAX`], clamped.
    pub fn new(size: u64) -> Self {
        let size = size.clamp(1, CREDIT_MAX);
        Self { expected: 0, through: size, size }
    }

    /// What the sender may send now: chunks below this number.
    pub fn through(&self) -> u64 {
        self.through
    }

    /// Notes a chunk. `bus.gap` when chunks before it are missing, `bus.repeated` when it came already, and
    /// `bus.no_credit` when the sender went past its grant; the window is then unchanged.
    /// Answers with a new grant when half the window is used.
    pub fn accept(&mut self, seq: u64) -> Result<Option<u64>, BusError> {
        let expected = self.expected;
        if seq < expected {
            return Err(BusError::new(Code::BusRepeated, format!("chunk {seq}, expected {expected}")));
        }
        if seq >= self.through {
            return Err(BusError::new(Code::BusNoCredit, format!("chunk {seq}, granted up to {}", self.through)));
        }
        if seq > expected {
            return Err(BusError::new(Code::BusGap, format!("chunk {seq}, expected {expected}")));
        }
        self.expected += 1;
        if self.through - self.expected > self.size / 2 {
            return Ok(None);
        }
        self.through = self.expected + self.size;
        Ok(Some(self.through))
    }
}
