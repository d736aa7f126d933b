//! Adapters on a device: tokens of all adapters in one pair of launches.
#![allow(unsafe_code)]

use std::sync::Arc;

use super::device::{Device, DeviceError, Kernel};
use super::memory::{Memory, Room, bytes, launch};
use super::step::Step;
use crate::Change;

/// Bytes of a table's entry: where A, B and the factors begin, and the rank.
const ENTRY: usize = 4 * size_of::<u64>();
/// Where each part begins.
const ALIGNMENT: usize = 64;

/// All that one adapter changes, in the memory of a device: a table with an entry for every matrix, and what it names.
#[derive(Debug)]
pub struct Changes {
    memory: Memory,
    /// Rank, inputs and outputs of each matrix that it changes.
    shapes: Vec<Option<(usize, usize, usize)>>,
}

impl Changes {
    /// Copies an adapter; it has a place for each matrix of the model, in an order of the caller's.
    ///
    /// # Errors
    /// [`DeviceError::Memory`], [`DeviceError::Failed`].
    pub fn new(device: &Arc<dyn Device>, changes: &[Option<&Change>]) -> Result<Self, DeviceError> {
        let mut size = changes.len() * ENTRY;
        let mut places = Vec::new();
        for change in changes {
            places.push(change.map(|change| {
                change.parts().map(|part| {
                    let at = size.next_multiple_of(ALIGNMENT);
                    size = at + part.len();
                    at
                })
            }));
        }
        let memory = Memory::new(device, size)?;
        let mut all = vec![0; size];
        for (at, (change, places)) in changes.iter().zip(places).enumerate() {
            let (Some(change), Some(places)) = (change, places) else { continue };
            let words = places.map(|at| memory.address(at)).into_iter().chain([change.rank() as u64]);
            for (word, to) in words.zip(all[at * ENTRY..].as_chunks_mut::<8>().0) {
                *to = word.to_le_bytes();
            }
            for (place, part) in places.into_iter().zip(change.parts()) {
                all[place..][..part.len()].copy_from_slice(part);
            }
        }
        memory.write(0, &all)?;
        let shape = |change: &Change| (change.rank(), change.sides().0, change.sides().1);
        Ok(Self { memory, shapes: changes.iter().map(|change| change.map(shape)).collect() })
    }

    /// Bytes on the device.
    pub fn size(&self) -> usize {
        self.memory.size()
    }

    pub(super) fn table(&self) -> u64 {
        self.memory.address(0)
    }
}

impl Change {
    /// Its bytes: A, B and the factors.
    fn parts(&self) -> [&[u8]; 3] {
        let (a, b, factors) = self.halves();
        [bytes(a), bytes(b), bytes(factors)]
    }
}

/// Adds what the tokens' adapters do to one matrix, each token's its own: as [`Change::add`] of each. `x` has rows of
/// `inputs`, `y` of `outputs`.
///
/// # Errors
/// [`DeviceError::Memory`], [`DeviceError::Failed`].
///
/// # Panics
/// If sizes do not fit, or an adapter has no place for the matrix.
pub fn adapt(
    step: &Step<'_>,
    matrix: usize,
    (x, inputs): (&Memory, usize),
    room: &mut Room,
    (y, outputs): (&Memory, usize),
) -> Result<(), DeviceError> {
    let mut ranks = 0;
    for changes in step.changes() {
        let Some((rank, wide, high)) = changes.shapes[matrix] else { continue };
        assert_eq!((wide, high), (inputs, outputs), "rows fit the change");
        ranks = ranks.max(rank);
    }
    if ranks == 0 {
        return Ok(());
    }
    let (device, tokens, list) = (step.device(), step.tokens(), step.change_list());
    let (x, y) = (x.place(tokens * inputs), y.place(tokens * outputs));
    let inner = room.make(device, tokens * ranks)?.place(tokens * ranks);
    let shrink = [list, matrix as u64, x, inputs as u64, ranks as u64, inner];
    // SAFETY: an inner number per token and rank; a table has an entry for the matrix, and the sides were compared.
    unsafe { launch(device, Kernel::Shrink, tokens * ranks, &shrink) }?;
    let expand = [list, matrix as u64, inner, ranks as u64, outputs as u64, y];
    // SAFETY: an output per thread, otherwise as above.
    unsafe { launch(device, Kernel::Expand, tokens * outputs, &expand) }
}
