//! Checkpoints: one file from which a training goes on as if it had never stopped.
//!
//! Layout, all numbers little-endian: the magic, the version (u32), base, settings and examples hashes (32 bytes each),
//! epoch (u32), step (u32), the counts of numbers, losses and measurements (u64 each); then the adapter's numbers, both
//! moments (f32 each), the losses (f64 each), the measurements (step as u32, loss as f64); then SHA-256 over all before.
//!
//! The file is written beside its place, made durable and then renamed: a crash leaves the old one or the new one, and at
//! most a `.part` that the next write replaces. One training writes one checkpoint; two at once are the caller's mistake.

use std::fs::{File, rename};
use std::io::{Read as _, Write as _};
use std::path::Path;

use agora_gradient::BF16X2;
use agora_types::{Canonical as _, Hash};

use crate::Settings;

const MAGIC: &[u8; 16] = b"agora/checkpoint";
const VERSION: u32 = 1;
const HEADER_SIZE: usize = MAGIC.len() + 4 + 3 * Hash::SIZE + 2 * 4 + 3 * 8;
const HELD_OUT_SIZE: usize = 12;

/// What a training is of: a checkpoint of anything else is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The base model.
    pub base: Hash,
    /// The settings, and how products are rounded if not as on every machine.
    pub settings: Hash,
    /// The examples in their order.
    pub examples: Hash,
}

impl Origin {
    /// Of settings, and the rounding of a machine's products ([`agora_gradient::Machine::rounding`]).
    pub fn new(base: Hash, (settings, rounding): (&Settings, Option<&str>), examples: Hash) -> Self {
        let settings = match rounding {
            None => settings.hash(),
            Some(word) => Hash::sha256([settings.hash().as_bytes(), word.as_bytes()].concat()),
        };
        Self { base, settings, examples }
    }
}

/// The loss of the examples that are held out, at some step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeldOut {
    /// Steps that were made before.
    pub step: u32,
    /// Mean over the tokens of their responses, in nats.
    pub loss: f64,
}

/// Where a training is.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// What it is of.
    pub origin: Origin,
    /// The epoch of the next step.
    pub epoch: u32,
    /// Steps that were made.
    pub step: u32,
    /// The adapter's numbers.
    pub numbers: Vec<f32>,
    /// Mean gradients.
    pub first: Vec<f32>,
    /// Mean squared gradients.
    pub second: Vec<f32>,
    /// The loss of each step.
    pub losses: Vec<f64>,
    /// What was measured, in rising order of steps.
    pub held_out: Vec<HeldOut>,
}

/// The most that a reader expects, so that a hostile file costs no memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Exactly so many numbers of the adapter.
    pub numbers: usize,
    /// Steps in all.
    pub steps: u32,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The disk failed.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// Not a checkpoint, cut short, or changed.
    #[error("{0}; remove it to begin anew")]
    Malformed(&'static str),
    /// Of a newer release.
    #[error("its format is version {0}, known is {VERSION}; use the release that wrote it, or remove it to begin anew")]
    Version(u32),
    /// Of another training.
    #[error("it is of {0}; use those, or remove it to begin anew")]
    Other(&'static str),
}

impl Checkpoint {
    /// Its bytes.
    ///
    /// # Panics
    /// If numbers and moments are not as many.
    pub fn to_bytes(&self) -> Vec<u8> {
        let size = self.numbers.len();
        assert!(self.first.len() == size && self.second.len() == size, "each number has its moments");
        let payload = 12 * size + 8 * self.losses.len() + HELD_OUT_SIZE * self.held_out.len();
        let mut bytes = Vec::with_capacity(HEADER_SIZE + payload + Hash::SIZE);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        for hash in [self.origin.base, self.origin.settings, self.origin.examples] {
            bytes.extend(hash.as_bytes());
        }
        bytes.extend(self.epoch.to_le_bytes());
        bytes.extend(self.step.to_le_bytes());
        for count in [size, self.losses.len(), self.held_out.len()] {
            bytes.extend((count as u64).to_le_bytes());
        }
        for numbers in [&self.numbers, &self.first, &self.second] {
            bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        }
        bytes.extend(self.losses.iter().flat_map(|loss| loss.to_le_bytes()));
        for measured in &self.held_out {
            bytes.extend(measured.step.to_le_bytes());
            bytes.extend(measured.loss.to_le_bytes());
        }
        bytes.extend(Hash::sha256(&bytes).as_bytes());
        bytes
    }

    /// Reads bytes that anybody may have written.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`], [`CheckpointError::Version`].
    pub fn from_bytes(bytes: &[u8], bounds: Bounds) -> Result<Self, CheckpointError> {
        let bad = CheckpointError::Malformed;
        let mut reader = Reader(bytes);
        if reader.take::<16>().ok_or(bad("it is no checkpoint"))? != *MAGIC {
            return Err(bad("it is no checkpoint"));
        }
        let version = reader.number().ok_or(bad("it is cut short"))?;
        if version != VERSION {
            return Err(CheckpointError::Version(version));
        }
        let read = reader.rest(bytes, bounds)?;
        let finite = [&read.numbers, &read.first, &read.second].iter().all(|all| all.iter().all(|one| one.is_finite()));
        let losses = read.losses.iter().chain(read.held_out.iter().map(|measured| &measured.loss));
        let mut steps = read.held_out.iter().map(|measured| measured.step);
        let rising = steps.clone().zip(steps.clone().skip(1)).all(|(before, after)| before < after);
        let fits = read.step <= bounds.steps
            && read.losses.len() == read.step as usize
            && steps.next_back().is_none_or(|last| last <= read.step)
            && read.second.iter().all(|one| *one >= 0.0);
        match finite && losses.into_iter().all(|loss| loss.is_finite()) && rising && fits {
            true => Ok(read),
            false => Err(bad("its numbers contradict each other")),
        }
    }

    /// Writes it whole or not at all; durable when this returns.
    ///
    /// # Errors
    /// [`CheckpointError::File`]; then the one before is as it was.
    pub fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = Path::new(&part);
        let mut file = File::create(part)?;
        file.write_all(&self.to_bytes())?;
        file.sync_all()?;
        rename(part, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
        Ok(())
    }

    /// Reads the one at a path; `None` if there is none.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn read(path: &Path, bounds: Bounds) -> Result<Option<Self>, CheckpointError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Losses are as many as steps, and nothing is measured more than once a step.
        let steps = bounds.steps as usize;
        let most = HEADER_SIZE + 12 * bounds.numbers + 8 * steps + HELD_OUT_SIZE * (steps + 1) + Hash::SIZE;
        let mut bytes = Vec::new();
        file.take(most as u64 + 1).read_to_end(&mut bytes)?;
        match bytes.len() <= most {
            true => Self::from_bytes(&bytes, bounds).map(Some),
            false => Err(CheckpointError::Malformed("it is larger than one of this training can be")),
        }
    }

    /// Refuses the checkpoint of another training than `origin`, which has settings `own`.
    ///
    /// # Errors
    /// [`CheckpointError::Other`].
    pub fn check(&self, origin: &Origin, own: &Settings) -> Result<(), CheckpointError> {
        let Origin { base, settings, examples } = self.origin;
        let otherwise = [None, Some(BF16X2)].map(|rounding| Origin::new(base, (own, rounding), examples).settings);
        match () {
            () if base != origin.base => Err(CheckpointError::Other("another base model")),
            () if settings != origin.settings && otherwise.contains(&settings) => Err(CheckpointError::Other(
                "products that are rounded otherwise (`--exact`, or a processor with or without a matrix unit)",
            )),
            () if settings != origin.settings => Err(CheckpointError::Other("other settings")),
            () if examples != origin.examples => Err(CheckpointError::Other("other examples")),
            () => Ok(()),
        }
    }
}

/// What is not read yet.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const SIZE: usize>(&mut self) -> Option<[u8; SIZE]> {
        let (taken, rest) = self.0.split_first_chunk::<SIZE>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn count(&mut self) -> Option<usize> {
        usize::try_from(u64::from_le_bytes(self.take()?)).ok()
    }

    fn many<const SIZE: usize, T>(&mut self, count: usize, read: impl Fn([u8; SIZE]) -> T) -> Option<Vec<T>> {
        let (taken, rest) = self.0.split_at_checked(count.checked_mul(SIZE)?)?;
        self.0 = rest;
        Some(taken.as_chunks::<SIZE>().0.iter().map(|bytes| read(*bytes)).collect())
    }

    /// All behind the version.
    fn rest(mut self, whole: &[u8], bounds: Bounds) -> Result<Checkpoint, CheckpointError> {
        let short = CheckpointError::Malformed("it is cut short");
        let Some((content, sum)) = whole.split_last_chunk::<{ Hash::SIZE }>() else { return Err(short) };
        if Hash::sha256(content).as_bytes() != sum {
            return Err(CheckpointError::Malformed("its checksum is wrong"));
        }
        let (read, left) = match self.fields(bounds) {
            Some(read) => (read, self.0.len()),
            None => return Err(short),
        };
        match left == Hash::SIZE {
            true => Ok(read),
            false => Err(CheckpointError::Malformed("it does not have the numbers that it counts")),
        }
    }

    fn fields(&mut self, bounds: Bounds) -> Option<Checkpoint> {
        let mut hash = || self.take().map(Hash::new);
        let origin = Origin { base: hash()?, settings: hash()?, examples: hash()? };
        let (epoch, step) = (self.number()?, self.number()?);
        let (size, losses, held_out) = (self.count()?, self.count()?, self.count()?);
        if size != bounds.numbers {
            return None;
        }
        let mut floats = || self.many(size, f32::from_le_bytes);
        let (numbers, first, second) = (floats()?, floats()?, floats()?);
        let losses = self.many(losses, f64::from_le_bytes)?;
        let measured = |bytes: [u8; HELD_OUT_SIZE]| {
            let mut reader = Reader(&bytes);
            let step = reader.number().unwrap_or_default();
            HeldOut { step, loss: reader.take().map_or(f64::NAN, f64::from_le_bytes) }
        };
        let held_out = self.many(held_out, measured)?;
        Some(Checkpoint { origin, epoch, step, numbers, first, second, losses, held_out })
    }
}

#[cfg(test)]
mod tests {
    use agora_types::Hash;

    use super::{Bounds, Checkpoint, CheckpointError, HeldOut, Origin};
    use crate::Settings;
    use crate::random::{Purpose, stream};
    use agora_gradient::BF16X2;

    const BOUNDS: Bounds = Bounds { numbers: 5, steps: 10 };

    fn sample() -> Checkpoint {
        let hash = |name: &str| Hash::sha256(name);
        Checkpoint {
            origin: Origin { base: hash("base"), settings: hash("settings"), examples: hash("examples") },
            epoch: 1,
            step: 3,
            numbers: vec![1.0, -2.0, 0.5, -0.0, 3e-30],
            first: vec![0.1; 5],
            second: vec![0.0, 1e-20, 4.0, 1.0, 2.0],
            losses: vec![3.0, 2.5, 2.25],
            held_out: vec![HeldOut { step: 0, loss: 3.5 }, HeldOut { step: 3, loss: 3.25 }],
        }
    }

    /// With a checksum that fits.
    fn summed(mut bytes: Vec<u8>) -> Vec<u8> {
        let size = bytes.len().saturating_sub(Hash::SIZE);
        let sum = Hash::sha256(&bytes[..size]);
        bytes.truncate(size);
        bytes.extend(sum.as_bytes());
        bytes
    }

    #[test]
    fn a_checkpoint_is_read_as_it_was_written() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("checkpoint");
        assert!(Checkpoint::read(&path, BOUNDS).unwrap().is_none());
        sample().write(&path).unwrap();
        // Again, over the old one and over what a crash left.
        std::fs::write(home.path().join("checkpoint.part"), "half").unwrap();
        sample().write(&path).unwrap();
        let read = Checkpoint::read(&path, BOUNDS).unwrap().unwrap();
        assert_eq!(read.to_bytes(), sample().to_bytes());
        assert_eq!(read, sample());
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn bytes_that_anybody_wrote_never_panic_and_are_refused() {
        let bytes = sample().to_bytes();
        for size in 0..bytes.len() {
            assert!(Checkpoint::from_bytes(&bytes[..size], BOUNDS).is_err(), "{size} bytes");
            let _ = Checkpoint::from_bytes(&summed(bytes[..size].to_vec()), BOUNDS);
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x41;
            assert!(Checkpoint::from_bytes(&changed, BOUNDS).is_err(), "byte {at}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(Checkpoint::from_bytes(&summed(longer), BOUNDS).is_err());
        // With a good checksum: never a panic, and what is read is consistent.
        let mut random = stream(20_261_201, Purpose::Start);
        let mut read = 0;
        for _ in 0..20_000 {
            let mut changed = bytes.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len());
                changed[at] = random.next().to_le_bytes()[0];
            }
            if let Ok(checkpoint) = Checkpoint::from_bytes(&summed(changed), BOUNDS) {
                read += 1;
                assert_eq!(checkpoint.numbers.len(), 5);
                assert!(checkpoint.step <= 10 && checkpoint.numbers.iter().all(|number| number.is_finite()));
            }
        }
        assert!(read > 1_000, "a change of a number is a checkpoint too: {read}");
    }

    #[test]
    fn counts_that_are_not_there_cost_no_memory() {
        let bytes = sample().to_bytes();
        // The three counts stand before the numbers.
        let counts = super::HEADER_SIZE - 24;
        for at in [counts, counts + 8, counts + 16] {
            for count in [u64::MAX, 1 << 60, 1 << 40, 6, 4, 0] {
                let mut changed = bytes.clone();
                changed[at..at + 8].copy_from_slice(&count.to_le_bytes());
                assert!(Checkpoint::from_bytes(&summed(changed), BOUNDS).is_err(), "{count} at {at}");
            }
        }
    }

    #[test]
    fn a_file_larger_than_the_training_allows_is_not_read_whole() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("checkpoint");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        let refused = Checkpoint::read(&path, BOUNDS).unwrap_err();
        assert!(matches!(refused, CheckpointError::Malformed(_)), "{refused}");
    }

    #[test]
    fn another_version_and_another_training_are_named() {
        let mut bytes = sample().to_bytes();
        bytes[16] = 2;
        assert!(matches!(Checkpoint::from_bytes(&bytes, BOUNDS), Err(CheckpointError::Version(2))));
        let settings = Settings::default();
        let other = Origin { settings: Hash::ZERO, ..sample().origin };
        assert!(matches!(sample().check(&other, &settings), Err(CheckpointError::Other("other settings"))));
        assert!(sample().check(&sample().origin, &settings).is_ok());
    }

    #[test]
    fn a_training_does_not_go_on_with_other_rounding_than_it_began_with() {
        let settings = Settings::default();
        let origin = |rounding| Origin::new(sample().origin.base, (&settings, rounding), sample().origin.examples);
        for (began, goes_on) in [(None, Some(BF16X2)), (Some(BF16X2), None)] {
            let found = Checkpoint { origin: origin(began), ..sample() };
            assert!(found.check(&origin(began), &settings).is_ok());
            let refused = found.check(&origin(goes_on), &settings).unwrap_err().to_string();
            assert!(refused.starts_with("it is of products that are rounded otherwise"), "{refused}");
        }
    }
}
