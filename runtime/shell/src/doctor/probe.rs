//! What the checks look at, and the real machine.

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::fetch::{self, ModelSource, State};

/// Whether a node is at a data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderLock {
    /// There is no such folder yet.
    Missing,
    /// No node is at it.
    Free,
    /// A node is at it.
    Held,
}

/// A machine. `None` means that it cannot be seen, not that it is bad.
pub trait Probe {
    /// The output of a program that ended well.
    fn run(&self, program: &str, arguments: &[&str]) -> Option<String>;
    /// Free bytes on the disk that a path is, or would be, on.
    fn disk_free(&self, path: &Path) -> Option<u64>;
    /// True when this user can write into a folder, or create it.
    fn writable(&self, folder: &Path) -> bool;
    /// Bytes of memory that this process may still use.
    fn memory(&self) -> Option<u64>;
    /// The vector instructions, and whether they are those that the engine wants.
    fn cpu(&self) -> Option<(String, bool)>;
    /// Most files that this process may open.
    fn open_files(&self) -> Option<u64>;
    /// Whether a node is at this data folder.
    fn lock(&self, network: &Path) -> FolderLock;
    /// What lies under a model's name.
    fn model(&self, model: &ModelSource, folder: &Path) -> Option<State>;
    /// True for a file.
    fn is_file(&self, path: &Path) -> bool;
    /// True when this address can be listened at.
    fn port_free(&self, address: SocketAddr) -> bool;
}

/// The machine that this runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Probe for System {
    fn run(&self, program: &str, arguments: &[&str]) -> Option<String> {
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    }

    fn disk_free(&self, path: &Path) -> Option<u64> {
        disk_free(&existing(path)?)
    }

    fn writable(&self, folder: &Path) -> bool {
        // Asked by doing: modes, owners, mounts and quotas together decide. The file has no name and leaves nothing.
        existing(folder).is_some_and(|folder| tempfile::tempfile_in(folder).is_ok())
    }

    fn memory(&self) -> Option<u64> {
        let read = |path: &str| fs::read_to_string(path).ok();
        let available = available_memory(&read("/proc/meminfo")?)?;
        // A container may have less than its machine.
        let limit = |path: &str| read(path)?.trim().parse::<u64>().ok();
        let left = limit("/sys/fs/cgroup/memory.max").zip(limit("/sys/fs/cgroup/memory.current"));
        Some(left.map_or(available, |(most, used)| available.min(most.saturating_sub(used))))
    }

    fn cpu(&self) -> Option<(String, bool)> {
        #[cfg(target_arch = "x86_64")]
        {
            let features = [
                ("avx2", std::arch::is_x86_feature_detected!("avx2")),
                ("fma", std::arch::is_x86_feature_detected!("fma")),
                ("f16c", std::arch::is_x86_feature_detected!("f16c")),
                ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
            ];
            let has: Vec<&str> = features.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
            let fast = features[..3].iter().all(|(_, has)| *has);
            Some((
                format!("x86_64 with {}", if has.is_empty() { "none of avx2, fma".into() } else { has.join(", ") }),
                fast,
            ))
        }
        #[cfg(target_arch = "aarch64")]
        {
            Some(("aarch64 with neon".to_owned(), true))
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        {
            None
        }
    }

    fn open_files(&self) -> Option<u64> {
        open_files()
    }

    fn lock(&self, network: &Path) -> FolderLock {
        // Held for an instant only. A node that starts in this very instant would be told that the folder is taken.
        match File::open(network.join("LOCK")).map(|lock| lock.try_lock_shared()) {
            Err(_) => FolderLock::Missing,
            Ok(Err(TryLockError::WouldBlock)) => FolderLock::Held,
            Ok(Ok(()) | Err(TryLockError::Error(_))) => FolderLock::Free,
        }
    }

    fn model(&self, model: &ModelSource, folder: &Path) -> Option<State> {
        fetch::state(model, folder).ok()
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn port_free(&self, address: SocketAddr) -> bool {
        TcpListener::bind(address).is_ok()
    }
}

/// The nearest folder above that exists: a new one would be made there.
fn existing(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    // A file in the way is no folder to make others in.
    let nearest = path.ancestors().find(|above| !matches!(above.try_exists(), Ok(false)))?;
    nearest.is_dir().then(|| nearest.to_path_buf())
}

#[cfg(unix)]
fn disk_free(folder: &Path) -> Option<u64> {
    let disk: io::Result<_> = rustix::fs::statvfs(folder).map_err(Into::into);
    disk.ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(unix))]
fn disk_free(_: &Path) -> Option<u64> {
    None
}

#[cfg(unix)]
fn open_files() -> Option<u64> {
    // No limit reads as `None`.
    Some(rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX))
}

#[cfg(not(unix))]
fn open_files() -> Option<u64> {
    None
}

/// `MemAvailable` of /proc/meminfo, in bytes.
fn available_memory(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(available_memory("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2_097_152));
        assert_eq!(available_memory("MemTotal: 9 kB\n"), None);
    }

    #[test]
    fn a_file_in_the_way_of_a_folder_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(System.writable(&folder.path().join("a/b/c")));
        assert!(!System.writable(&folder.path().join("file/b")));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "looking leaves nothing behind");
    }

    #[test]
    fn a_lock_is_seen_only_while_it_is_held() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(System.lock(folder.path()), FolderLock::Missing);
        let lock = File::create(folder.path().join("LOCK")).unwrap();
        assert_eq!(System.lock(folder.path()), FolderLock::Free);
        lock.lock().unwrap();
        assert_eq!(System.lock(folder.path()), FolderLock::Held);
        drop(lock);
        assert_eq!(System.lock(folder.path()), FolderLock::Free);
    }

    #[test]
    fn a_port_is_free_until_somebody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(!System.port_free(listener.local_addr().unwrap()));
    }
}
