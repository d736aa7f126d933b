//! Small vector functions on a device, and the way in and out.
#![allow(unsafe_code)]

use super::device::{DeviceError, Kernel};
use super::memory::{Memory, Room, launch, number};
use super::step::Step;
use crate::Matrix;

/// Sums of a row of squares.
const LANES: usize = 8;

/// The embeddings of the step's tokens, times `factor`.
///
/// # Errors
/// [`DeviceError::Failed`].
///
/// # Panics
/// If a token is not a row of the matrix, which lies on the device, or `to` is too small.
pub fn embed(step: &Step<'_>, matrix: &Matrix, factor: f32, to: &Memory) -> Result<(), DeviceError> {
    assert!((step.token_most() as usize) < matrix.rows(), "a token has its row");
    let (threads, form) = (step.tokens() * matrix.columns(), matrix.form() as u64);
    let (lines, scales) = matrix.addresses();
    let (across, to) = (matrix.across() as u64, to.place(threads));
    let arguments = [step.token_list(), form, lines, scales, across, number(factor), to];
    // SAFETY: a number of `to` per thread; every token has its row.
    unsafe { launch(step.device(), Kernel::Embed, threads, &arguments) }
}

/// The rows of the step's wanted tokens, one after another.
///
/// # Errors
/// [`DeviceError::Failed`].
///
/// # Panics
/// If there are not so many rows.
pub fn gather(step: &Step<'_>, from: &Memory, width: usize, to: &Memory) -> Result<(), DeviceError> {
    let threads = step.wanted() * width;
    let (from, to) = (from.place((step.wanted_most() + 1) * width), to.place(threads));
    // SAFETY: a number of `to` per thread; every wanted row is in `from`.
    unsafe { launch(step.device(), Kernel::Gather, threads, &[step.wanted_list(), from, width as u64, to]) }
}

/// As [`crate::rms_norm`], for the first rows of `x`; `to` may be `x`.
///
/// # Errors
/// [`DeviceError::Memory`], [`DeviceError::Failed`].
///
/// # Panics
/// If there are not so many numbers, or a row is not a multiple of eight.
pub fn rms_norm(
    x: &Memory,
    rows: usize,
    weight: &Memory,
    epsilon: f32,
    room: &mut Room,
    to: &Memory,
) -> Result<(), DeviceError> {
    let (device, width) = (x.device(), weight.size() / size_of::<f32>());
    assert!(width > 0 && width.is_multiple_of(LANES), "a row has a multiple of eight numbers");
    let sums = room.make(device, rows * LANES)?.place(rows * LANES);
    let (from, to) = (x.place(rows * width), to.place(rows * width));
    // SAFETY: a sum per thread, each of a row of `x`.
    unsafe { launch(device, Kernel::Squares, rows * LANES, &[from, width as u64, sums]) }?;
    let arguments = [from, sums, weight.place(width), width as u64, number(epsilon), to];
    // SAFETY: a number per thread, and the sums of its row.
    unsafe { launch(device, Kernel::Norm, rows * width, &arguments) }
}

/// `to += from` for `count` numbers, where `from` begins anew after `width`.
///
/// # Errors
/// [`DeviceError::Failed`].
///
/// # Panics
/// If there are not so many.
pub fn add(from: &Memory, width: usize, to: &Memory, count: usize) -> Result<(), DeviceError> {
    assert!(width > 0, "something is added");
    let arguments = [from.place(width), width as u64, to.place(count)];
    // SAFETY: a number of `to` per thread; `from` is read below `width`.
    unsafe { launch(to.device(), Kernel::Add, count, &arguments) }
}

/// As [`crate::rotate`], or if `halves` as [`crate::rotate_halves`], for the step's tokens, each with `heads` of `size`;
/// `turns` has those of every position.
///
/// # Errors
/// [`DeviceError::Failed`].
///
/// # Panics
/// If a position has no turns, or there are not so many heads.
pub fn rotate(
    step: &Step<'_>,
    turns: &Memory,
    (heads, size): (usize, usize),
    halves: bool,
    x: &Memory,
) -> Result<(), DeviceError> {
    assert!(size > 0 && size.is_multiple_of(2), "a head has pairs");
    let (turns, count) = (turns.place((step.position_most() + 1) * size), step.tokens() * heads * size);
    let (x, apart) = (x.place(count), if halves { size / 2 } else { 1 });
    let arguments = [step.position_list(), turns, heads as u64, size as u64, apart as u64, x];
    // SAFETY: a pair of `x` per thread; the turns reach to the last position.
    unsafe { launch(step.device(), Kernel::Rotate, count / 2, &arguments) }
}

/// As [`crate::gate`], or if `gelu` as [`crate::gate_gelu`], for `count` numbers.
///
/// # Errors
/// [`DeviceError::Failed`].
///
/// # Panics
/// If there are not so many.
pub fn gate(gelu: bool, gate: &Memory, up: &Memory, count: usize) -> Result<(), DeviceError> {
    let arguments = [u64::from(gelu), gate.place(count), up.place(count)];
    // SAFETY: a number of each per thread.
    unsafe { launch(gate.device(), Kernel::Gate, count, &arguments) }
}
