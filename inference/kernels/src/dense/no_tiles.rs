//! No matrix unit: on this processor or system none is known.

use std::ops::Range;

use super::{Target, View};
use crate::Pool;
use crate::lanes::TILE;

/// Rows of a task, and its depth at once.
pub(super) const ROWS_MAX: usize = usize::MAX;
pub(super) const DEPTH_MAX: usize = super::DEPTH_MAX;

/// Groups of columns of a task.
pub(super) fn groups(_: usize, _: usize) -> usize {
    1
}

/// There is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tiles {}

impl Tiles {
    pub(super) fn detect() -> Option<Self> {
        None
    }
}

/// As there is no unit, there are none.
pub(super) struct Halves(Tiles);

impl Halves {
    pub(super) fn new<'a>(tiles: Tiles, _: &mut Pool, _: impl Iterator<Item = View<'a>>) -> Self {
        Self(tiles)
    }

    pub(super) fn strip(
        &self,
        _: &View<'_>,
        _: &Range<usize>,
        _: &Range<usize>,
        _: &[[f32; TILE]],
        _: &mut Target<'_>,
        _: bool,
    ) {
        match self.0 {}
    }
}
