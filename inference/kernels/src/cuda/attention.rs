//! Attention on a device.
#![allow(unsafe_code)]

use std::sync::Arc;

use super::device::{Device, DeviceError, Kernel};
use super::memory::{Memory, Room, launch, number};
use super::step::Step;
use crate::Page;
use crate::lanes::TILE;

/// Most scores that are kept at once, 128 MiB, unless one token has more; more tokens take several launches.
const SCORES_MAX: usize = 32 << 20;
/// Sums of a head's weights.
const LANES: usize = 8;

/// The heads of one layer.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// Of a query.
    pub query: usize,
    /// Of a key, among which the query's are shared out evenly.
    pub key: usize,
    /// Key heads of the layers before, in a page.
    pub before: usize,
    /// Numbers of a head, a multiple of 16.
    pub size: usize,
    /// Positions that a token sees, its own among them; none: all.
    pub window: Option<usize>,
    /// Multiplies the scores.
    pub scale: f32,
}

impl Heads {
    /// What the kernels rely on.
    fn check(&self, step: &Step<'_>) {
        let &Self { query, key, before, size, window, .. } = self;
        assert!(key > 0 && query.is_multiple_of(key), "query heads share key heads evenly");
        assert!(size > 0 && size.is_multiple_of(TILE), "a head has a multiple of sixteen numbers");
        assert!(Page::size(before + key, size) <= step.page_size(), "a page holds the layer's heads");
        assert!(window != Some(0), "a token sees itself");
    }

    fn window(&self) -> u64 {
        // As far as positions go, so that the kernel's 32 bits hold it.
        self.window.map_or(0, |window| window.min(1 << 31) as u64)
    }
}

impl Page {
    /// As [`Page::new`], in the memory of a device.
    ///
    /// # Errors
    /// [`DeviceError::Memory`], [`DeviceError::Failed`].
    ///
    /// # Panics
    /// If a head's size is not a multiple of 16.
    pub fn on(device: &Arc<dyn Device>, heads: usize, size: usize) -> Result<Self, DeviceError> {
        assert!(size > 0 && size.is_multiple_of(TILE), "a head has a multiple of sixteen numbers");
        Memory::new(device, Self::size(heads, size)).map(Self::of)
    }
}

/// Writes keys and values of the step's tokens to their pages. Nobody else may hold a page that is written.
///
/// # Errors
/// [`DeviceError::Failed`].
///
/// # Panics
/// If sizes do not fit.
pub fn remember(step: &Step<'_>, heads: &Heads, keys: &Memory, values: &Memory) -> Result<(), DeviceError> {
    heads.check(step);
    let count = step.tokens() * heads.key * heads.size;
    let (pages, starts, positions) = (step.page_list(), step.start_list(), step.position_list());
    let (key, size, before) = (heads.key as u64, heads.size as u64, heads.before as u64);
    let arguments = [pages, starts, positions, keys.place(count), values.place(count), key, size, before];
    // SAFETY: a number of keys and values per thread; every token's page holds the layer's heads.
    unsafe { launch(step.device(), Kernel::Remember, count, &arguments) }
}

/// As [`crate::attend`], for all query heads of all tokens of the step, each over what its own sequence holds.
///
/// # Errors
/// [`DeviceError::Memory`], [`DeviceError::Failed`].
///
/// # Panics
/// If sizes do not fit.
pub fn attend(
    step: &Step<'_>,
    heads: &Heads,
    query: &Memory,
    rooms: &mut [Room; 3],
    to: &Memory,
) -> Result<(), DeviceError> {
    heads.check(step);
    let (device, all) = (step.device(), step.tokens() * heads.query * heads.size);
    let (query, to) = (query.place(all), to.place(all));
    let room = heads.window.unwrap_or(usize::MAX).min(step.position_most() + 1);
    let together = (SCORES_MAX / (heads.query * room)).clamp(1, step.tokens().max(1));
    let [scores, peaks, sums] = rooms;
    let (pages, starts, positions) = (step.page_list(), step.start_list(), step.position_list());
    let (key, size, before) = (heads.key as u64, heads.size as u64, heads.before as u64);
    let (count, window, scale) = (heads.query as u64, heads.window(), number(heads.scale));
    let mut first = 0;
    while first < step.tokens() {
        let rows = together.min(step.tokens() - first) * heads.query;
        let scores = scores.make(device, rows * room)?.place(rows * room);
        let peaks = peaks.make(device, rows * LANES)?.place(rows * LANES);
        let sums = sums.make(device, rows * LANES)?.place(rows * LANES);
        let (token, wide) = (first as u64, room as u64);
        let score = [pages, starts, positions, query, count, key, size, before, window, scale, token, wide, scores];
        let peak = [positions, count, window, token, wide, scores, peaks];
        let weigh = [positions, count, window, token, wide, peaks, scores, sums];
        let mix = [pages, starts, positions, count, key, size, before, window, token, wide, scores, sums, to];
        // SAFETY: rows of the tokens from `first` on; a row has room for every position that its token sees, a page for
        // the layer's heads, and a sequence its pages up to each token.
        unsafe {
            launch(device, Kernel::Score, rows * room, &score)?;
            launch(device, Kernel::Peak, rows * LANES, &peak)?;
            launch(device, Kernel::Weigh, rows * LANES, &weigh)?;
            launch(device, Kernel::Mix, rows * heads.size, &mix)?;
        }
        first += together;
    }
    Ok(())
}
