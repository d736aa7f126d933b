//! Keys and values of one sequence.

use std::sync::Arc;

use agora_inference_api::EngineError;
use agora_kernels::{PAGE, Page, Simd};
use agora_types::Code;

use super::{Model, Shape, failed};

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

    /// Makes room for `count` positions more, where the model computes.
    ///
    /// # Errors
    /// `engine.busy` if there is no memory for it; `engine.stopped` if the device fails.
    pub(crate) fn reserve(&mut self, model: &Model, count: usize) -> Result<(), EngineError> {
        let (heads, size) = (model.shape.layers * model.shape.key_heads, model.shape.head_size);
        while self.pages.len() * PAGE < self.positions + count {
            let page = match &model.vectors {
                Some(vectors) => Page::on(vectors.device(), heads, size).map_err(failed)?,
                None => Page::new(heads, size)
                    .ok_or_else(|| EngineError::new(Code::EngineBusy, "no memory for the sequence"))?,
            };
            self.pages.push(Arc::new(page));
        }
        Ok(())
    }

    /// Makes sure that nobody else holds a page to which the next positions are written elsewhere than here.
    pub(crate) fn own(&mut self, count: usize) {
        for page in &mut self.pages[self.positions / PAGE..(self.positions + count).div_ceil(PAGE)] {
            assert!(Arc::get_mut(page).is_some(), "a page that is not full is held once");
        }
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
