//! A real process is killed at random moments; the file it leaves opens, and holds everything it spoke of.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use agora_economy::ports::log::{Index, LogStore as _};
use agora_store::RedbLog;
use agora_types::Hash;

/// Cargo puts the examples beside the folder of the tests.
fn appender() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("target/<profile>/deps");
    folder.join("examples").join(format!("appender{}", std::env::consts::EXE_SUFFIX))
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("ledger.redb");
    let mut before = 0;
    for round in 0..12u64 {
        let mut child = Command::new(appender()).arg(&path).stdout(Stdio::piped()).spawn().expect("the appender runs");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The moment: after a number of answers, then a number of microseconds into the next append.
        let answers = 1 + (round * 7) % 23;
        let mut acknowledged = None;
        for _ in 0..answers {
            acknowledged = lines.next().map(|line| line.unwrap().parse::<u64>().unwrap());
        }
        std::thread::sleep(std::time::Duration::from_micros(round * 137));
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it died is acknowledged as well.
        for line in lines.map_while(Result::ok) {
            acknowledged = line.parse().ok().or(acknowledged);
        }
        let acknowledged = acknowledged.expect("it appended");
        assert!(acknowledged >= before, "round {round}: it went on where it stopped");
        let log = RedbLog::open(&path, &Hash::sha256("kill")).expect("the log opens");
        let head = log.verify_all().expect("it is whole").expect("it is not empty");
        assert!(head.seq >= acknowledged, "round {round}: {acknowledged} was acknowledged, the head is {}", head.seq);
        assert!(head.seq <= acknowledged + 1, "round {round}: at most the one under way is there too");
        let records = log.records_from(Index::Receipt, &[], usize::MAX).unwrap();
        assert_eq!(records.len() as u64, head.seq + 1, "round {round}: batches and records are there together");
        before = head.seq + 1;
    }
}
