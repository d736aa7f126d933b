//! Memory of a device.
#![allow(unsafe_code)]

use std::sync::Arc;

use super::device::{Device, DeviceError, Kernel};
use crate::lanes::{Line, TILE};

/// Numbers without gaps, of which every bit pattern is one.
///
/// # Safety
/// As the sentence says.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: whole numbers.
unsafe impl Plain for u8 {}
// SAFETY: whole numbers.
unsafe impl Plain for u32 {}
// SAFETY: every pattern is a number or not-a-number.
unsafe impl Plain for f32 {}
// SAFETY: sixteen whole numbers.
unsafe impl Plain for [u16; TILE] {}
// SAFETY: 64 bytes of whole numbers, aligned to 64.
unsafe impl Plain for Line {}

/// The bytes of numbers.
pub(crate) fn bytes<T: Plain>(numbers: &[T]) -> &[u8] {
    // SAFETY: the same memory for the same time; plain numbers are bytes without gaps.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

/// Bytes in the memory of a device, which are freed with this.
#[derive(Debug)]
pub struct Memory {
    device: Arc<dyn Device>,
    address: u64,
    size: usize,
}

impl Memory {
    /// `size` bytes; what is in them is not said.
    ///
    /// # Errors
    /// [`DeviceError::Memory`], [`DeviceError::Failed`].
    pub fn new(device: &Arc<dyn Device>, size: usize) -> Result<Self, DeviceError> {
        Ok(Self { address: device.allocate(size)?, device: Arc::clone(device), size })
    }

    /// A copy of numbers.
    ///
    /// # Errors
    /// As [`Memory::new`].
    pub fn of(device: &Arc<dyn Device>, numbers: &[f32]) -> Result<Self, DeviceError> {
        let memory = Self::new(device, size_of_val(numbers))?;
        memory.write(0, bytes(numbers))?;
        Ok(memory)
    }

    /// Bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Reads the first numbers, when all that was asked of the device before is done.
    ///
    /// # Errors
    /// [`DeviceError::Failed`], also for what failed since the last read.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn read(&self, to: &mut [f32]) -> Result<(), DeviceError> {
        assert!(size_of_val(to) <= self.size, "what is read lies inside the memory");
        // SAFETY: the same memory for the same time; every pattern of bytes makes numbers.
        let to = unsafe { std::slice::from_raw_parts_mut(to.as_mut_ptr().cast(), size_of_val(to)) };
        // SAFETY: inside, as just checked.
        unsafe { self.device.read(self.address, to) }
    }

    /// Writes bytes from `at` on.
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        assert!(at <= self.size && bytes.len() <= self.size - at, "what is written lies inside the memory");
        // SAFETY: inside, as just checked.
        unsafe { self.device.write(self.address + at as u64, bytes) }
    }

    /// Its address there, for a kernel that uses `count` numbers of four bytes.
    pub(crate) fn place(&self, count: usize) -> u64 {
        assert!(count <= self.size / size_of::<f32>(), "a kernel stays inside its memory");
        self.address
    }

    /// The address of byte `at`.
    pub(crate) fn address(&self, at: usize) -> u64 {
        assert!(at <= self.size, "an address lies inside its memory");
        self.address + at as u64
    }

    pub(crate) fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated by `new`, and nobody can name it any more; the device lets launches finish first.
        unsafe { self.device.free(self.address) }
    }
}

/// Room on a device, kept between steps and made anew when it is too small.
#[derive(Debug, Default)]
pub struct Room(Option<Memory>);

impl Room {
    /// At least `count` numbers of four bytes.
    ///
    /// # Errors
    /// As [`Memory::new`].
    pub fn make(&mut self, device: &Arc<dyn Device>, count: usize) -> Result<&Memory, DeviceError> {
        let size = count.checked_mul(size_of::<f32>()).ok_or(DeviceError::Memory(usize::MAX))?;
        if self.0.as_ref().is_none_or(|memory| memory.size() < size) {
            // The old one first, so that both are never needed at once.
            self.0 = None;
            self.0 = Some(Memory::new(device, size)?);
        }
        Ok(self.0.as_ref().expect("made just now"))
    }
}

/// Runs a kernel `threads` times; it has them as its first argument.
///
/// # Safety
/// As [`Device::launch`].
pub(crate) unsafe fn launch(
    device: &Arc<dyn Device>,
    kernel: Kernel,
    threads: usize,
    arguments: &[u64],
) -> Result<(), DeviceError> {
    if threads == 0 {
        return Ok(());
    }
    // A kernel counts its threads in 32 bits, the last group's too.
    let Some(count) = u32::try_from(threads).ok().filter(|count| *count <= u32::MAX / 2) else {
        return Err(DeviceError::Failed { call: kernel.symbol(), reason: format!("{threads} threads are too many") });
    };
    let all: Vec<u64> = std::iter::once(u64::from(count)).chain(arguments.iter().copied()).collect();
    // SAFETY: the caller's promise.
    unsafe { device.launch(kernel, count, &all) }
}

/// A number as an argument.
pub(crate) fn number(number: f32) -> u64 {
    u64::from(number.to_bits())
}
