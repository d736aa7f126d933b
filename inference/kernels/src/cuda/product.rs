//! `y = x W^T` on a device.
#![allow(unsafe_code)]

use std::sync::Arc;

use super::device::{Device, DeviceError, Kernel};
use super::memory::{Memory, Room, launch};
use crate::{BLOCK, Matrix};

/// Rows of activations for which [`Kernel::MultiplyFour`] reads its weights once.
const TOGETHER: usize = 4;

/// Rounded rows, as [`crate::Rows`] on the processor.
#[derive(Debug, Default)]
pub struct Activations {
    rows: usize,
    columns: usize,
    pairs: Room,
    scales: Room,
    sums: Room,
}

impl Activations {
    /// Rounds the first rows of `x`.
    ///
    /// # Errors
    /// [`DeviceError::Memory`], [`DeviceError::Failed`].
    ///
    /// # Panics
    /// If the columns do not fill blocks of 32, or there are not so many numbers.
    pub fn fill(&mut self, x: &Memory, rows: usize, columns: usize) -> Result<(), DeviceError> {
        assert!(columns > 0 && columns.is_multiple_of(BLOCK), "activations come in whole blocks");
        let (count, device) = (rows * columns / BLOCK, x.device());
        (self.rows, self.columns) = (rows, columns);
        let from = x.place(rows * columns);
        let pairs = self.pairs.make(device, count * BLOCK / 2)?.place(count * BLOCK / 2);
        let scales = self.scales.make(device, count)?.place(count);
        let sums = self.sums.make(device, count)?.place(count);
        // SAFETY: a block per thread, of memory that was measured for so many just now.
        unsafe { launch(device, Kernel::Round, count, &[from, pairs, scales, sums]) }
    }
}

impl Matrix {
    /// Moves the weights to a device; from then on only [`multiply`] and [`super::embed`] can use them.
    ///
    /// # Errors
    /// [`DeviceError::Memory`], [`DeviceError::Failed`]; the weights are still here then.
    pub fn place(&mut self, device: &Arc<dyn Device>) -> Result<(), DeviceError> {
        self.move_to(|lines, scales| {
            let memory = Memory::new(device, lines.len() + scales.len())?;
            memory.write(0, lines)?;
            memory.write(lines.len(), scales)?;
            Ok(memory)
        })
    }
}

/// `y = x W^T`: a number per row of `x` and row of the matrix, which lies on the device.
///
/// # Errors
/// [`DeviceError::Memory`], [`DeviceError::Failed`].
///
/// # Panics
/// If sides do not fit, or the matrix is not there.
pub fn multiply(x: &mut Activations, matrix: &Matrix, y: &Memory) -> Result<(), DeviceError> {
    assert_eq!(matrix.columns(), x.columns, "a matrix and its activations have the same columns");
    let (rows, outputs, blocks) = (x.rows, matrix.rows(), x.rows * x.columns / BLOCK);
    let (kernel, together) = if rows == 1 { (Kernel::MultiplyOne, 1) } else { (Kernel::MultiplyFour, TOGETHER) };
    let device = y.device();
    let pairs = x.pairs.make(device, blocks * BLOCK / 2)?.place(blocks * BLOCK / 2);
    let (scales, sums) = (x.scales.make(device, blocks)?.place(blocks), x.sums.make(device, blocks)?.place(blocks));
    let (weights, weights_scales) = matrix.addresses();
    let (across, to) = (matrix.across() as u64, y.place(rows * outputs));
    let form = matrix.form() as u64;
    let arguments = [form, weights, weights_scales, outputs as u64, across, pairs, scales, sums, rows as u64, to];
    // SAFETY: a thread per output and group of rows; weights and activations have the columns that were compared, outputs
    // their place.
    unsafe { launch(device, kernel, outputs * rows.div_ceil(together), &arguments) }
}
