//! The sides of a product: parts of row-major matrices, as they are or turned around, and weights.

use std::ops::Range;

use crate::Matrix;

/// A part of a row-major matrix of plain numbers.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub(super) numbers: &'a [f32],
    /// Numbers from a row to the next.
    pub(super) step: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl<'a> View<'a> {
    /// A whole matrix of rows of `width`.
    ///
    /// # Panics
    /// If the rows are not whole.
    pub fn new(numbers: &'a [f32], width: usize) -> Self {
        assert!(width > 0 && numbers.len().is_multiple_of(width), "a matrix has whole rows");
        Self { numbers, step: width, rows: numbers.len() / width, columns: width }
    }

    /// A part of it.
    ///
    /// # Panics
    /// If it does not lie inside.
    pub fn part(self, rows: Range<usize>, columns: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "the rows lie inside");
        assert!(columns.start <= columns.end && columns.end <= self.columns, "the columns lie inside");
        let numbers = match rows.is_empty() || columns.is_empty() {
            true => &[],
            false => &self.numbers[rows.start * self.step + columns.start..(rows.end - 1) * self.step + columns.end],
        };
        Self { numbers, step: self.step, rows: rows.len(), columns: columns.len() }
    }

    /// One row.
    pub(crate) fn row(&self, row: usize) -> &'a [f32] {
        &self.numbers[row * self.step..][..self.columns]
    }
}

/// The left side of a product.
#[derive(Debug, Clone, Copy)]
pub struct Left<'a> {
    pub(super) view: View<'a>,
    pub(super) turned: bool,
}

impl<'a> Left<'a> {
    /// Rows of `width` numbers.
    ///
    /// # Panics
    /// As [`View::new`].
    pub fn new(numbers: &'a [f32], width: usize) -> Self {
        View::new(numbers, width).into()
    }

    /// Columns that stand as rows of `width` numbers.
    ///
    /// # Panics
    /// As [`View::new`].
    pub fn turned(numbers: &'a [f32], width: usize) -> Self {
        Self { view: View::new(numbers, width), turned: true }
    }

    /// A part that is turned around.
    pub(crate) fn of_turned(view: View<'a>) -> Self {
        Self { view, turned: true }
    }

    /// Rows of the product.
    pub fn rows(&self) -> usize {
        if self.turned { self.view.columns } else { self.view.rows }
    }

    /// Numbers of a row.
    pub fn depth(&self) -> usize {
        if self.turned { self.view.rows } else { self.view.columns }
    }

    /// Some rows, and of these a stretch.
    pub(super) fn part(&self, rows: &Range<usize>, depth: &Range<usize>) -> Self {
        let (rows, depth) = (rows.clone(), depth.clone());
        let view = if self.turned { self.view.part(depth, rows) } else { self.view.part(rows, depth) };
        Self { view, turned: self.turned }
    }
}

impl<'a> From<View<'a>> for Left<'a> {
    fn from(view: View<'a>) -> Self {
        Self { view, turned: false }
    }
}

/// The right side of a product.
#[derive(Debug, Clone, Copy)]
pub enum Right<'a> {
    /// Plain numbers as they are.
    Plain(View<'a>),
    /// Plain numbers turned around: each row is a column of the product.
    Turned(View<'a>),
    /// Frozen weights as they are: from outputs back to inputs.
    Weights(&'a Matrix),
    /// Frozen weights turned around: from inputs to outputs.
    WeightsTurned(&'a Matrix),
}

impl<'a> Right<'a> {
    /// Rows of `width` numbers.
    ///
    /// # Panics
    /// As [`View::new`].
    pub fn new(numbers: &'a [f32], width: usize) -> Self {
        Self::Plain(View::new(numbers, width))
    }

    /// Columns that stand as rows of `width` numbers.
    ///
    /// # Panics
    /// As [`View::new`].
    pub fn turned(numbers: &'a [f32], width: usize) -> Self {
        Self::Turned(View::new(numbers, width))
    }

    /// Rows.
    pub fn depth(&self) -> usize {
        match self {
            Self::Plain(view) => view.rows,
            Self::Turned(view) => view.columns,
            Self::Weights(matrix) => matrix.rows(),
            Self::WeightsTurned(matrix) => matrix.columns(),
        }
    }

    /// Columns of the product.
    pub fn columns(&self) -> usize {
        match self {
            Self::Plain(view) => view.columns,
            Self::Turned(view) => view.rows,
            Self::Weights(matrix) => matrix.columns(),
            Self::WeightsTurned(matrix) => matrix.rows(),
        }
    }
}
