//! Keys and values of one sequence.

use std::sync::Arc;

use agora_kernels::{PAGE, Page, Simd};

use super::Shape;

/// What one sequence remembers: pages of sixteen positions, each with the keys and values of every layer.
///
/// A full page never changes again, so that other sequences that begin alike may hold it too.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    pages: Vec<Arc<Page>>,
    positions: usize,
}

impl Cache {
    /// Begins with the full pages of another sequence.
    pub(crate) fn new(pages: Vec<Arc<Page>>) -> Self {
        Self { positions: pages.len() * PAGE, pages }
    }

    /// Positions that are filled in every layer.
    pub(crate) fn positions(&self) -> usize {
        self.positions
    }

    /// The pages, from the first position on.
    pub(crate) fn pages(&self) -> &[Arc<Page>] {
        &self.pages
    }

    /// Makes room for `count` positions more; false if the system has no memory for it.
    pub(crate) fn reserve(&mut self, shape: &Shape, count: usize) -> bool {
        while self.pages.len() * PAGE < self.positions + count {
            let Some(page) = Page::new(shape.layers * shape.key_heads, shape.head_size) else { return false };
            self.pages.push(Arc::new(page));
        }
        true
    }

    /// Writes keys and values of the next positions of a layer, for which there is room.
    pub(crate) fn write(&mut self, simd: Simd, shape: &Shape, layer: usize, keys: &[f32], values: &[f32]) {
        let rows = keys.chunks_exact(shape.key_width()).zip(values.chunks_exact(shape.key_width()));
        for (position, (keys, values)) in (self.positions..).zip(rows) {
            let page = Arc::get_mut(&mut self.pages[position / PAGE]).expect("a page that is not full is held once");
            let heads = keys.chunks_exact(shape.head_size).zip(values.chunks_exact(shape.head_size));
            for (head, (key, value)) in (layer * shape.key_heads..).zip(heads) {
                page.write(simd, head, position % PAGE, key, value);
            }
        }
    }

    /// All layers have `count` positions more.
    pub(crate) fn advance(&mut self, count: usize) {
        self.positions += count;
    }
}
