//! What the doctor says about machines that lack something.

use super::*;

/// A machine where all is well, except what a test changes.
#[derive(Clone)]
struct Machine {
    programs: Vec<(&'static str, &'static str)>,
    disk: Option<u64>,
    writable: bool,
    memory: Option<u64>,
    cpu: bool,
    files: u64,
    lock: FolderLock,
    model: Option<State>,
    port: bool,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            programs: vec![
                ("rustc --version", concat!("rustc ", "1.95.0", " (0 2026-01-01)")),
                ("cc --version", "cc 14\nmore"),
                ("python3 --version", "Python 3.12.1"),
                ("python3 -m pip --version", "pip 24.0 from somewhere"),
                ("git --version", "git version 2"),
            ],
            disk: Some(100 * GIB),
            writable: true,
            memory: Some(8 * GIB),
            cpu: true,
            files: 65_536,
            lock: FolderLock::Free,
            model: Some(State::Verified),
            port: true,
        }
    }
}

impl Probe for Machine {
    fn run(&self, program: &str, arguments: &[&str]) -> Option<String> {
        let asked = format!("{program} {}", arguments.join(" "));
        self.programs.iter().find(|(name, _)| *name == asked).map(|(_, answer)| (*answer).to_owned())
    }
    fn disk_free(&self, _: &Path) -> Option<u64> {
        self.disk
    }
    fn writable(&self, _: &Path) -> bool {
        self.writable
    }
    fn memory(&self) -> Option<u64> {
        self.memory
    }
    fn cpu(&self) -> Option<(String, bool)> {
        Some(("features".to_owned(), self.cpu))
    }
    fn open_files(&self) -> Option<u64> {
        Some(self.files)
    }
    fn lock(&self, _: &Path) -> FolderLock {
        self.lock
    }
    fn model(&self, _: &ModelSource, _: &Path) -> Option<State> {
        self.model
    }
    fn is_file(&self, _: &Path) -> bool {
        false
    }
    fn port_free(&self, _: SocketAddr) -> bool {
        self.port
    }
}

fn subject() -> Subject {
    Subject::new(&Paths::below(Path::new("/home")), &Settings::defaults())
}

/// The names of the checks with this verdict.
fn named(machine: &Machine, verdict: Verdict) -> Vec<String> {
    let report = examine(&subject(), machine);
    for check in &report.checks {
        assert_eq!(check.advice.is_some(), check.verdict != Verdict::Ok, "advice where it is needed: {check:?}");
    }
    let named = report.checks.into_iter().filter(|check| check.verdict == verdict);
    named.map(|check| check.name).collect()
}

fn without(program: &str) -> Machine {
    let mut machine = Machine::default();
    machine.programs.retain(|(name, _)| !name.starts_with(program));
    machine
}

#[test]
fn a_complete_machine_has_nothing_to_say() {
    let report = examine(&subject(), &Machine::default());
    assert!(report.healthy() && report.checks.iter().all(|check| check.verdict == Verdict::Ok), "{report:?}");
    assert_eq!(report.checks.len(), 16);
}

#[test]
fn each_lack_is_named_alone() {
    let fails = |machine: &Machine| named(machine, Verdict::Fail);
    let warns = |machine: &Machine| named(machine, Verdict::Warn);
    assert_eq!(fails(&without("cc")), ["c-compiler"]);
    assert_eq!(fails(&without("python3 --")), ["python"]);
    assert_eq!(fails(&without("python3 -m")), ["python"]);
    assert_eq!(warns(&without("rustc")), ["rust"]);
    assert_eq!(warns(&without("git")), ["git"]);
    let good = Machine::default;
    assert_eq!(fails(&Machine { writable: false, ..good() }), ["data-folder", "config-folder", "cache-folder"]);
    assert_eq!(fails(&Machine { disk: Some(DATA_FREE - 1), ..good() }), ["data-disk"]);
    assert_eq!(warns(&Machine { disk: Some(DATA_FREE), ..good() }), ["build-disk"]);
    assert_eq!(warns(&Machine { disk: None, ..good() }), ["data-disk", "cache-disk", "build-disk"]);
    assert_eq!(warns(&Machine { memory: Some(MEMORY - 1), ..good() }), ["memory"]);
    assert_eq!(warns(&Machine { memory: None, ..good() }), ["memory"]);
    assert_eq!(warns(&Machine { cpu: false, ..good() }), ["cpu"]);
    assert_eq!(warns(&Machine { files: 1_024, ..good() }), ["open-files"]);
    assert_eq!(warns(&Machine { model: Some(State::Missing), ..good() }), ["model"]);
    assert_eq!(fails(&Machine { model: Some(State::WrongSize(1)), ..good() }), ["model"]);
    assert_eq!(fails(&Machine { model: None, ..good() }), ["model"]);
    assert_eq!(fails(&Machine { port: false, ..good() }), ["port"]);
}

#[test]
fn another_rust_is_a_warning_and_a_taken_port_with_a_node_is_none() {
    let mut machine = without("rustc");
    machine.programs.push(("rustc --version", "rustc 1.60.0 (0 2022-01-01)"));
    assert_eq!(named(&machine, Verdict::Warn), ["rust"]);
    let running = Machine { port: false, lock: FolderLock::Held, ..Machine::default() };
    assert_eq!(named(&running, Verdict::Fail), [""; 0]);
}

#[test]
fn the_text_has_a_line_for_each_check_and_one_for_each_advice() {
    let report = examine(&subject(), &without("cc"));
    let mut text = Vec::new();
    report.text(&mut text, &Style::default()).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.lines().count(), 17, "{text}");
    assert!(text.contains("FAIL  c-compiler"), "{text}");
}

#[test]
fn this_machine_can_be_examined() {
    let home = tempfile::tempdir().unwrap();
    let mut settings = Settings::defaults();
    settings.port.value = 0;
    let report = examine(&Subject::new(&Paths::below(home.path()), &settings), &System);
    let check = |name: &str| report.checks.iter().find(|check| check.name == name).unwrap();
    assert_eq!(check("data-folder").verdict, Verdict::Ok);
    assert_eq!(check("rust").verdict, Verdict::Ok, "tests run with the toolchain that the source names");
    assert_eq!(check("model").verdict, Verdict::Warn);
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "looking creates nothing");
}
