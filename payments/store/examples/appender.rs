//! Appends batches without end and prints each position once it is durable; the kill test ends it at random moments.

use std::io::Write as _;

use agora_economy::ports::log::{Index, LogStore as _, Record};
use agora_store::RedbLog;
use agora_types::batch::{BATCH_VERSION, Batch, BatchHeader, Body};
use agora_types::{Canonical as _, Hash, Timestamp};

fn main() {
    let path = std::env::args().nth(1).expect("the path of the log");
    let genesis = Hash::sha256("kill");
    let mut log = RedbLog::open(path.as_ref(), &genesis).expect("the log opens after every kill");
    let mut head = log.head().expect("a head");
    let body = Body { entries: vec![], outcomes: vec![] }.to_bytes();
    loop {
        let seq = head.map_or(0, |head| head.seq + 1);
        let header = BatchHeader {
            version: BATCH_VERSION,
            kind: 0,
            seq,
            epoch: 0,
            time: Timestamp::from_secs(1_800_000_000 + seq).expect("a time"),
            prev: head.map_or(genesis, |head| head.hash),
            body_hash: Hash::sha256(&body),
            count: 0,
            body_size: u32::try_from(body.len()).expect("small"),
            state_root: Hash::ZERO,
            state_root_seq: 0,
            receipts_size: seq + 1,
            receipts_root: Hash::ZERO,
        };
        let batch = Batch { header, body: body.clone() };
        let record = Record { index: Index::Receipt, key: seq.to_be_bytes().to_vec(), value: vec![7; 300] };
        log.append(seq, &batch, &[record]).expect("the disk takes it");
        head = log.head().expect("a head");
        println!("{seq}");
        std::io::stdout().flush().expect("someone reads");
    }
}
