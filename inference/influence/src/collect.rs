//! The examples' gradients on their way through a build: in memory, or where they are too many, in a file.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::InfluenceError;
use crate::files::{SCRATCH, failed, floats};

/// Gradients that are handed over together.
const TOGETHER: usize = 16;

/// Gradients of one size, in the order of their examples.
pub(crate) struct Gradients {
    size: usize,
    kept: Kept,
}

enum Kept {
    Memory(Vec<f32>),
    /// Removed at the end; what a crash leaves behind is overwritten by the next build.
    File {
        file: File,
        path: PathBuf,
    },
}

impl Gradients {
    /// Room for `count` gradients of `size` numbers.
    pub(crate) fn new(size: usize, count: usize, size_max: usize, folder: &Path) -> Result<Self, InfluenceError> {
        if size.saturating_mul(count).saturating_mul(4) <= size_max {
            return Ok(Self { size, kept: Kept::Memory(Vec::with_capacity(size * count)) });
        }
        let path = folder.join(SCRATCH);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        Ok(Self { size, kept: Kept::File { file: file.map_err(failed(&path))?, path } })
    }

    /// One more, behind the others.
    pub(crate) fn push(&mut self, gradient: &[f32]) -> Result<(), InfluenceError> {
        assert_eq!(gradient.len(), self.size, "gradients of one adapter have one size");
        match &mut self.kept {
            Kept::Memory(numbers) => numbers.extend_from_slice(gradient),
            Kept::File { file, path } => file.write_all(&bytes(gradient)).map_err(failed(path))?,
        }
        Ok(())
    }

    /// Hands over all of them, a few at a time; what `work` makes of them stays.
    pub(crate) fn each(&mut self, work: &mut dyn FnMut(&mut [f32])) -> Result<(), InfluenceError> {
        match &mut self.kept {
            Kept::Memory(numbers) => numbers.chunks_mut(TOGETHER * self.size).for_each(work),
            Kept::File { file, path } => {
                let whole = 4 * (TOGETHER * self.size) as u64;
                let all = || {
                    let size = file.metadata()?.len();
                    let mut buffer = Vec::new();
                    for start in (0..size).step_by(usize::try_from(whole).expect("a few gradients fit the memory")) {
                        file.seek(SeekFrom::Start(start))?;
                        buffer.clear();
                        (&*file).take(whole).read_to_end(&mut buffer)?;
                        let mut numbers = floats(&buffer);
                        work(&mut numbers);
                        file.seek(SeekFrom::Start(start))?;
                        file.write_all(&bytes(&numbers))?;
                    }
                    Ok(())
                };
                let mut all = all;
                all().map_err(failed(path))?;
            }
        }
        Ok(())
    }
}

impl Drop for Gradients {
    fn drop(&mut self) {
        if let Kept::File { path, .. } = &self.kept {
            // Nothing depends on it; the next build overwrites it.
            let _ = std::fs::remove_file(path);
        }
    }
}

pub(crate) fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_what_memory_keeps() {
        let folder = tempfile::tempdir().unwrap();
        let numbers = |at: usize| [at as f32, 0.5, -1.0];
        let run = |size_max: usize| {
            let mut gradients = Gradients::new(3, 40, size_max, folder.path()).unwrap();
            (0..40).for_each(|at| gradients.push(&numbers(at)).unwrap());
            gradients.each(&mut |some| some.iter_mut().for_each(|number| *number *= 2.0)).unwrap();
            let mut all = Vec::new();
            gradients.each(&mut |some| all.extend_from_slice(some)).unwrap();
            all
        };
        let memory = run(1 << 20);
        assert_eq!(memory[39 * 3..], [78.0, 1.0, -2.0]);
        assert_eq!(run(0), memory);
        assert!(!folder.path().join(SCRATCH).exists());
    }
}
