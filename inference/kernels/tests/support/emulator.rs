//! A device that is none: the kernels' own source as plain C++, a loop over threads for each launch.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use agora_kernels::cuda::{Device, DeviceError, Kernel};
use libloading::Library;

/// As a driver aligns memory, with as much around each piece that nobody may touch.
#[derive(Clone, Copy, PartialEq)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// What new memory and the lines around it are full of: as numbers no numbers, as an index out of every bound.
const UNTOUCHED: Line = Line([0xFF; 64]);

type Launch = unsafe extern "C" fn(u32, u32, *const *const c_void);

#[derive(Debug)]
pub(crate) struct Emulator {
    /// In the order of [`Kernel::ALL`].
    functions: Vec<Launch>,
    _library: Library,
    pieces: Mutex<BTreeMap<u64, Piece>>,
    /// Bytes that it has at most, and the count of launches after which all fail.
    bounds: Mutex<(usize, usize)>,
}

#[derive(Debug)]
struct Piece {
    lines: Vec<Line>,
    size: usize,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Line")
    }
}

impl Emulator {
    /// Compiles the kernels, or says why it cannot.
    pub(crate) fn new() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let library = folder.path().join("kernels.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../kernels/cuda/kernels.cu");
        let options = ["-O2", "-std=c++17", "-ffp-contract=off", "-shared", "-fPIC", "-x", "c++", source, "-o"];
        let compiler = Command::new("c++").args(options).arg(&library).output();
        let compiler = compiler.map_err(|error| format!("no C++ compiler: {error}"))?;
        assert!(compiler.status.success(), "{}", String::from_utf8_lossy(&compiler.stderr));
        // SAFETY: compiled just now; it runs nothing when it is loaded.
        let library = unsafe { Library::new(&library) }.map_err(|error| error.to_string())?;
        let function = |kernel: &Kernel| {
            let symbol = format!("emulate_{}", kernel.symbol());
            // SAFETY: `emulator.h` gives every function of this name the type.
            *unsafe { library.get::<Launch>(symbol.as_bytes()) }.expect("every kernel is emulated")
        };
        let functions = Kernel::ALL.iter().map(function).collect();
        let bounds = Mutex::new((usize::MAX, usize::MAX));
        Ok(Self { functions, _library: library, pieces: Mutex::default(), bounds })
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> usize {
        self.pieces().values().map(|piece| piece.size).sum()
    }

    /// From now on it has at most so much memory, and fails after so many launches.
    pub(crate) fn bound(&self, memory: usize, launches: usize) {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner) = (memory, launches);
    }

    fn pieces(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Piece>> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Panics if the bytes are not of one piece.
fn inside(pieces: &BTreeMap<u64, Piece>, address: u64, size: usize) {
    let (start, piece) = pieces.range(..=address).next_back().expect("an address of the device");
    assert!(address + size as u64 <= start + piece.size as u64, "a copy stays inside its memory");
}

impl Device for Emulator {
    fn name(&self) -> &str {
        "kernels.cu as plain C++"
    }

    fn allocate(&self, size: usize) -> Result<u64, DeviceError> {
        if self.used() + size > self.bounds.lock().unwrap_or_else(PoisonError::into_inner).0 {
            return Err(DeviceError::Memory(size));
        }
        let mut lines = vec![UNTOUCHED; size.div_ceil(64) + 2];
        let address = lines[1..].as_mut_ptr() as u64;
        self.pieces().insert(address, Piece { lines, size });
        Ok(address)
    }

    unsafe fn free(&self, address: u64) {
        let piece = self.pieces().remove(&address).expect("memory is freed once");
        let bytes: Vec<u8> = piece.lines.iter().flat_map(|line| line.0).collect();
        let untouched = bytes[..64].iter().chain(&bytes[64 + piece.size..]).all(|byte| *byte == 0xFF);
        assert!(untouched || std::thread::panicking(), "nobody writes beside its memory");
    }

    unsafe fn write(&self, address: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        let pieces = self.pieces();
        inside(&pieces, address, bytes.len());
        // SAFETY: inside, as just checked.
        unsafe { (address as *mut u8).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    unsafe fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let pieces = self.pieces();
        inside(&pieces, address, bytes.len());
        // SAFETY: inside, as just checked.
        unsafe { bytes.as_mut_ptr().copy_from_nonoverlapping(address as *const u8, bytes.len()) };
        Ok(())
    }

    unsafe fn launch(&self, kernel: Kernel, threads: u32, arguments: &[u64]) -> Result<(), DeviceError> {
        // One after another, as on a stream.
        let _order = self.pieces();
        let mut bounds = self.bounds.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(left) = bounds.1.checked_sub(1) else {
            return Err(DeviceError::Failed { call: "launch", reason: "the test wants it so".to_owned() });
        };
        bounds.1 = left;
        let places: Vec<*const c_void> = arguments.iter().map(|word| std::ptr::from_ref(word).cast()).collect();
        // SAFETY: the caller's promise. More threads than there are, as in a last group that is not full.
        unsafe { self.functions[kernel as usize](threads.div_ceil(128), 128, places.as_ptr()) };
        Ok(())
    }
}
