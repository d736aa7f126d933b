//! Where the tokens of one step stand, told to the device in one piece.

use std::sync::Arc;

use super::adapters::Changes;
use super::device::{Device, DeviceError};
use super::memory::{Memory, Room, bytes};
use crate::{PAGE, Page};

/// A token of a step.
#[derive(Debug, Clone, Copy)]
pub struct Token {
    /// Its number in the vocabulary.
    pub token: u32,
    /// Which of the step's sequences it belongs to.
    pub sequence: usize,
    /// Where in that sequence.
    pub position: usize,
}

/// A sequence of a step.
#[derive(Debug, Clone, Copy)]
pub struct Sequence<'a> {
    /// Its pages on the device, from its first position to those of the step.
    pub pages: &'a [Arc<Page>],
    /// What its adapter changes.
    pub changes: Option<&'a Changes>,
}

/// Tokens of any sequences, each with its own adapter, that are computed together.
#[derive(Debug)]
pub struct Step<'a> {
    memory: &'a Memory,
    sequences: Vec<Sequence<'a>>,
    /// The largest token.
    token_most: u32,
    position_most: usize,
    /// Of the smallest page.
    page_size: usize,
    count: usize,
    wanted: usize,
    wanted_most: usize,
    /// Where each list begins in the memory.
    places: [usize; 6],
}

impl<'a> Step<'a> {
    /// Tells the device. `wanted` are the tokens, by their place in the step, that [`super::gather`] chooses.
    ///
    /// # Errors
    /// [`DeviceError::Memory`], [`DeviceError::Failed`].
    ///
    /// # Panics
    /// If a sequence has no page for a token's position, or a page does not lie on a device.
    pub fn new(
        device: &Arc<dyn Device>,
        room: &'a mut Room,
        tokens: &[Token],
        sequences: Vec<Sequence<'a>>,
        wanted: &[usize],
    ) -> Result<Self, DeviceError> {
        let (mut pages, mut starts) = (Vec::new(), Vec::new());
        let mut page_size = usize::MAX;
        for sequence in &sequences {
            starts.push(narrow(pages.len()));
            for page in sequence.pages {
                let memory = page.memory();
                page_size = page_size.min(memory.size());
                pages.push(memory.address(0));
            }
        }
        let (mut changes, mut numbers) = (Vec::new(), Vec::new());
        for token in tokens {
            let sequence = &sequences[token.sequence];
            assert!(token.position / PAGE < sequence.pages.len(), "a token has its page");
            changes.push(sequence.changes.map_or(0, Changes::table));
        }
        numbers.extend(tokens.iter().map(|token| token.token));
        numbers.extend(tokens.iter().map(|token| narrow(token.position)));
        numbers.extend(tokens.iter().map(|token| starts[token.sequence]));
        numbers.extend(wanted.iter().map(|token| narrow(*token)));
        let mut places = [0; 6];
        let sizes = [8 * pages.len(), 8 * tokens.len(), 4 * tokens.len(), 4 * tokens.len(), 4 * tokens.len()];
        for (at, size) in sizes.into_iter().enumerate() {
            places[at + 1] = places[at] + size;
        }
        let mut all: Vec<u8> = pages.iter().chain(&changes).flat_map(|address| address.to_le_bytes()).collect();
        all.extend_from_slice(bytes(&numbers));
        let memory = room.make(device, all.len() / 4)?;
        memory.write(0, &all)?;
        Ok(Self {
            memory,
            sequences,
            token_most: tokens.iter().map(|token| token.token).max().unwrap_or_default(),
            position_most: tokens.iter().map(|token| token.position).max().unwrap_or_default(),
            page_size,
            count: tokens.len(),
            wanted: wanted.len(),
            wanted_most: wanted.iter().copied().max().unwrap_or_default(),
            places,
        })
    }

    /// Tokens.
    pub fn tokens(&self) -> usize {
        self.count
    }

    /// Wanted tokens.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    pub(super) fn device(&self) -> &Arc<dyn Device> {
        self.memory.device()
    }

    pub(super) fn token_most(&self) -> u32 {
        self.token_most
    }

    pub(super) fn position_most(&self) -> usize {
        self.position_most
    }

    pub(super) fn wanted_most(&self) -> usize {
        self.wanted_most
    }

    pub(super) fn page_size(&self) -> usize {
        self.page_size
    }

    /// What the sequences' adapters change.
    pub(super) fn changes(&self) -> impl Iterator<Item = &'a Changes> + '_ {
        self.sequences.iter().filter_map(|sequence| sequence.changes)
    }

    pub(super) fn page_list(&self) -> u64 {
        self.memory.address(self.places[0])
    }

    pub(super) fn change_list(&self) -> u64 {
        self.memory.address(self.places[1])
    }

    pub(super) fn token_list(&self) -> u64 {
        self.memory.address(self.places[2])
    }

    pub(super) fn position_list(&self) -> u64 {
        self.memory.address(self.places[3])
    }

    pub(super) fn start_list(&self) -> u64 {
        self.memory.address(self.places[4])
    }

    pub(super) fn wanted_list(&self) -> u64 {
        self.memory.address(self.places[5])
    }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("positions and pages of a step fit 32 bits")
}
