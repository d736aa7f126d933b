//! Which numbers of an adapter count, and how they lie in matrices of their own.

use std::collections::BTreeSet;

use agora_gradient::Layout;
use agora_openlora::weights::Role;

use crate::InfluenceError;
use crate::failure::bad_input;

/// The two matrices of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A: a row of the inputs per rank.
    A,
    /// B turned around: a row of the outputs per rank.
    B,
}

/// One matrix of `rank` rows of `width` numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Which layer.
    pub layer: usize,
    /// Which of its matrices is changed.
    pub role: Role,
    /// Which matrix of the change.
    pub side: Side,
    /// Rows.
    pub rank: usize,
    /// Numbers of a row.
    pub width: usize,
    /// Where it begins in a gradient of the last layers.
    pub start: usize,
}

impl Block {
    /// Numbers in all.
    pub fn size(&self) -> usize {
        self.rank * self.width
    }

    /// Its part of a gradient of the last layers.
    pub fn of<'a>(&self, gradient: &'a [f32]) -> &'a [f32] {
        &gradient[self.start..][..self.size()]
    }
}

/// The blocks of the last layers, ascending by layer and role, A before B: the numbering of a gradient's entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocks {
    blocks: Vec<Block>,
    offset: usize,
    size: usize,
}

impl Blocks {
    /// Those of an adapter from a layer on.
    ///
    /// # Errors
    /// `attribution.bad_input` if the adapter changes nothing there.
    pub fn new(layout: &Layout, layer_first: usize) -> Result<Self, InfluenceError> {
        let mut places = layout.places().iter().skip_while(|place| place.layer < layer_first).peekable();
        let offset = places.peek().map(|place| place.start);
        let offset =
            offset.ok_or_else(|| bad_input(format!("an adapter without a change from layer {layer_first} on")))?;
        let mut blocks = Vec::new();
        for place in places {
            for (side, range, width) in [(Side::A, place.a(), place.inputs), (Side::B, place.b(), place.outputs)] {
                let (layer, role, rank) = (place.layer, place.role, place.rank);
                blocks.push(Block { layer, role, side, rank, width, start: range.start - offset });
            }
        }
        Ok(Self { blocks, offset, size: layout.size() - offset })
    }

    /// In their order.
    pub fn all(&self) -> &[Block] {
        &self.blocks
    }

    /// Numbers of the adapter that lie before them.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Numbers of a gradient.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Names of the changed modules, rising, each once.
    pub fn modules(&self) -> Vec<String> {
        let names: BTreeSet<&str> = self.blocks.iter().map(|block| block.role.peft().1).collect();
        names.into_iter().map(str::to_owned).collect()
    }
}
