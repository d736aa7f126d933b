//! Tiles: how a log publishes its hashes as files that never change (C2SP tlog-tiles).
//!
//! A tile of level L holds up to 256 hashes, each the root over 256^L leaves; entries are bundled 256 at a time beside
//! them. A full tile is final; a partial one, `.p/<W>`, may go once the full one exists.

use std::fmt;

/// Levels of the tree that one tile spans.
pub const HEIGHT: usize = 8;
/// Hashes of a full tile.
pub const WIDTH: usize = 1 << HEIGHT;
/// The highest level of a tile's name.
pub const LEVEL_MAX: u8 = 63;
/// Longest name that is read, in bytes.
const PATH_SIZE_MAX: usize = 64;

/// The place of one tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tile {
    level: u8,
    index: u64,
    width: u16,
}

impl Tile {
    /// A tile; `None` for a level above 63 or a width other than 1 to 256.
    pub fn new(level: u8, index: u64, width: u16) -> Option<Self> {
        (level <= LEVEL_MAX && (1..=WIDTH).contains(&usize::from(width))).then_some(Self { level, index, width })
    }

    /// Its level: hashes of level L are roots over 256^L leaves.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Its number within the level.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// How many hashes it holds, 1 to 256.
    pub fn width(&self) -> u16 {
        self.width
    }

    /// True when it will never change.
    pub fn is_full(&self) -> bool {
        usize::from(self.width) == WIDTH
    }

    /// `tile/<L>/<N>[.p/<W>]`.
    pub fn path(&self) -> String {
        format!("tile/{}/{}{}", self.level, Number(self.index), self.suffix())
    }

    /// `tile/entries/<N>[.p/<W>]`: the entries under this tile of level 0.
    pub fn entries_path(&self) -> String {
        format!("tile/entries/{}{}", Number(self.index), self.suffix())
    }

    /// Reads a [`Tile::path`]; refuses every other way to write it.
    pub fn from_path(path: &str) -> Option<Self> {
        let (level, rest) = path.get(..PATH_SIZE_MAX.min(path.len()))?.strip_prefix("tile/")?.split_once('/')?;
        let tile = Self::read(level.parse().ok()?, rest)?;
        (tile.path() == path).then_some(tile)
    }

    /// Reads a [`Tile::entries_path`] as its tile of level 0; refuses every other way to write it.
    pub fn from_entries_path(path: &str) -> Option<Self> {
        let tile = Self::read(0, path.get(..PATH_SIZE_MAX.min(path.len()))?.strip_prefix("tile/entries/")?)?;
        (tile.entries_path() == path).then_some(tile)
    }

    /// Lenient; its callers write the result again and compare.
    fn read(level: u8, rest: &str) -> Option<Self> {
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok()?),
            None => (rest, 256),
        };
        let digits: String = number.chars().filter(char::is_ascii_digit).collect();
        Self::new(level, digits.parse().ok()?, width)
    }

    fn suffix(&self) -> String {
        if self.is_full() { String::new() } else { format!(".p/{}", self.width) }
    }
}

/// The tiles to write when a log grows from `old` to `new` leaves: every one that is new or wider than before, level by
/// level, left to right. From 0: all tiles of the tree.
pub fn grown(old: u64, new: u64) -> impl Iterator<Item = Tile> {
    // Levels above 7 would need more than 2^64 leaves.
    (0u8..8).flat_map(move |level| {
        let hashes = |size: u64| size >> (8 * u32::from(level));
        let (before, now) = (hashes(old), hashes(new));
        let first = if now > before { before / 256 } else { now.div_ceil(256) };
        (first..now.div_ceil(256)).filter_map(move |index| {
            let width = (now - index * 256).min(256);
            Tile::new(level, index, u16::try_from(width).ok()?)
        })
    })
}

/// A tile's number in groups of three digits, all but the last behind an x: 1234067 is `x001/x234/067`.
struct Number(u64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups = vec![self.0 % 1000];
        let mut rest = self.0 / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        let (last, first) = groups.split_first().expect("at least one group");
        for group in first.iter().rev() {
            write!(f, "x{group:03}/")?;
        }
        write!(f, "{last:03}")
    }
}
