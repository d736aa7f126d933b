//! Frames of a stream keep their bytes, and hostile ones are refused with a code.
//!
//! `AGORA_GOLDEN=write cargo test -p agora-economy --test all frames::` writes the golden files anew; do that only with a new
//! version of the format.

use agora_economy::ports::bus::flow::{CREDIT_MAX, ReceiveWindow, SendWindow};
use agora_economy::ports::bus::frame::*;
use agora_economy::ports::bus::{FRAME_BYTES_MAX, Key, Pattern, Subject};
use agora_economy::testkit::{PAYER, SESSION, atoms, key};
use agora_inference_api::{Likelihood, Likelihoods};
use agora_types::batch::Entry;
use agora_types::channel::{ChannelConfig, Voucher};
use agora_types::command::{Command, Head, WithdrawStart};
use agora_types::eip712::Network;
use agora_types::{Address, CallId, ChannelId, Code, CommandId, Hash, QuoteId, Timestamp};

fn network() -> Network {
    Network { chain_id: 4_020_711, asset: Address::new([0x4f; 20]) }
}

fn config() -> ChannelConfig {
    ChannelConfig {
        payer: key(PAYER).address(),
        payer_authorizer: key(SESSION).address(),
        receiver: Address::new([3; 20]),
        receiver_authorizer: Address::new([4; 20]),
        token: network().asset,
        withdraw_delay: 900,
        salt: Hash::ZERO,
    }
}

fn voucher() -> Voucher {
    Voucher::sign(&network(), config().id(&network()), atoms(5_000), &key(SESSION))
}

/// Any command: the frame carries an entry as it is.
fn entry() -> Entry {
    let head = Head {
        signer: key(PAYER).address(),
        id: CommandId::new([0x21; 16]),
        expires_at: Timestamp::from_nanos(1_900_000_000_000_000_000),
    };
    let command = Command::WithdrawStart(WithdrawStart { head, channel: config().id(&network()) });
    Entry::sign(&network(), command, &key(PAYER))
}

fn open(request: Vec<u8>, deposit: Option<Entry>) -> Body {
    Body::Open(Box::new(Open {
        channel: config(),
        deposit,
        voucher: voucher(),
        quote: QuoteId::new([0x31; 16]),
        request_hash: Hash::sha256("request"),
        salt: [0x41; 16],
        request,
        credit: 8,
        single: None,
    }))
}

fn open_single(request: Vec<u8>) -> Body {
    let Body::Open(plain) = open(request, None) else { unreachable!() };
    let kit = agora_economy::testkit::Kit::default();
    let authorization = kit.upto(config().receiver, 900, agora_economy::testkit::HOST, 7);
    let signature = key(PAYER).sign(&authorization.digest(&network()));
    let single = agora_types::authorization::Single { authorization, signature };
    let open = plain.with_single(&network(), key(agora_economy::testkit::HOST).address(), single);
    assert_eq!(open.check_consent(&network()), Ok(()));
    Body::Open(Box::new(open))
}

fn chunk(data: Vec<u8>) -> Body {
    Body::Chunk(Chunk {
        seq: 3,
        tokens_in: 12,
        tokens_out: 4,
        tokens_hidden: 0,
        spent_cumulative: atoms(900),
        data,
        likelihoods: None,
    })
}

/// A chunk that tells how likely its token was.
fn told(top: usize) -> Body {
    let Body::Chunk(chunk) = chunk(b"Salvage".to_vec()) else { unreachable!("a chunk") };
    let likelihoods = Likelihoods {
        chosen: Likelihood::new(b"Salvage", 693_147),
        top: (0..top).map(|at| Likelihood::new(&[0xE2, 0x82], 70_000 * u32::try_from(at).unwrap())).collect(),
    };
    Body::Chunk(Chunk { likelihoods: Some(Box::new(likelihoods)), ..chunk })
}

fn frame(body: Body) -> Frame {
    Frame::new(CallId::new([0x11; 16]), body)
}

fn samples() -> Vec<(&'static str, Frame)> {
    let need = NeedVoucher {
        channel_id: ChannelId::new([0x51; 32]),
        required_cumulative: atoms(7_000),
        accepted_cumulative: atoms(5_000),
        deposit: atoms(100_000),
        spent_cumulative: atoms(4_000),
        deadline: Timestamp::from_nanos(1_800_000_030_000_000_000),
    };
    vec![
        ("open", frame(open(b"What is salvage?".to_vec(), None))),
        ("open-deposit", frame(open(b"What is salvage?".to_vec(), Some(entry())))),
        ("open-single", frame(open_single(b"What is salvage?".to_vec()))),
        ("chunk", frame(chunk(b"Salvage is".to_vec()))),
        ("chunk-told", frame(told(2))),
        ("credit", frame(Body::Credit(16))),
        ("need-voucher", frame(Body::NeedVoucher(need))),
        ("voucher", frame(Body::Voucher(voucher()))),
        ("final", frame(Body::Final(b"a signed receipt".to_vec()))),
        ("failed", Frame::failed(CallId::new([0x11; 16]), Code::ExceedsBalance, "window 3")),
    ]
}

#[test]
fn every_frame_keeps_its_bytes_and_reads_back() {
    for (name, frame) in samples() {
        let bytes = frame.to_wire().unwrap();
        let path = format!("tests/data/frames/{name}.hex");
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if std::env::var("AGORA_GOLDEN").is_ok_and(|word| word == "write") {
            let lines: Vec<&[u8]> = text.as_bytes().chunks(120).collect();
            std::fs::write(&path, lines.join(&b'\n')).unwrap();
        }
        let golden: String = std::fs::read_to_string(&path).unwrap().split_whitespace().collect();
        assert_eq!(text, golden, "the bytes of `{name}` have changed");
        assert_eq!(Frame::from_wire(&bytes).unwrap(), frame);
    }
}

#[test]
fn the_smallest_frame_is_what_the_text_of_the_format_says() {
    // {0: 1, 1: h'1111…', 2: [2, [16]]}
    let mut expected = vec![0xa3, 0x00, 0x01, 0x01, 0x50];
    expected.extend([0x11; 16]);
    expected.extend([0x02, 0x82, 0x02, 0x81, 0x10]);
    assert_eq!(frame(Body::Credit(16)).to_wire().unwrap(), expected);
}

#[test]
fn cut_bent_and_lengthened_frames_are_refused_and_never_panic() {
    for (name, frame) in samples() {
        let bytes = frame.to_wire().unwrap();
        for end in 0..bytes.len() {
            assert!(Frame::from_wire(&bytes[..end]).is_err(), "{name} cut to {end} bytes was read");
        }
        for at in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[at] ^= 0x80;
            if let Ok(read) = Frame::from_wire(&bent) {
                assert_ne!(read, frame, "{name}: two byte forms of one frame");
            }
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(Frame::from_wire(&longer).unwrap_err().code, Code::WireNotCanonical);
    }
}

#[test]
fn each_limit_has_its_code() {
    let code = |frame: &Frame| frame.to_wire().unwrap_err().code;
    assert_eq!(code(&frame(chunk(vec![0; DATA_BYTES_MAX + 1]))), Code::WireTooLarge);
    assert!(frame(told(20)).to_wire().is_ok());
    assert_eq!(code(&frame(told(21))), Code::WireTooLarge);
    assert_eq!(code(&frame(open(vec![0; DATA_BYTES_MAX + 1], None))), Code::WireTooLarge);
    assert_eq!(code(&frame(Body::Final(vec![0; RECEIPT_BYTES_MAX + 1]))), Code::WireTooLarge);
    assert!(frame(chunk(vec![0; DATA_BYTES_MAX])).to_wire().is_ok());
    assert_eq!(Frame::from_wire(&vec![0; FRAME_BYTES_MAX + 1]).unwrap_err().code, Code::BusFrameTooLarge);
    assert_eq!(code(&Frame { version: 2, ..frame(Body::Credit(1)) }), Code::WireUnsupported);
    let long = Frame::failed(CallId::new([1; 16]), Code::BusTimeout, &"é".repeat(DETAIL_BYTES_MAX));
    assert!(long.to_wire().is_ok(), "an own error's detail is cut at a character");
}

#[test]
fn subjects_keys_and_patterns_are_checked_where_they_are_made() {
    let subject = Subject::parse("agora.v1.31337.host-1.serve").unwrap();
    assert_eq!(subject.to_string(), "agora.v1.31337.host-1.serve");
    assert_eq!(subject, Subject::new(31_337, "host-1", "serve").unwrap());
    let long = "a".repeat(65);
    for wrong in [
        "",
        "agora",
        "agora.v1.1.a",
        "agora.v1.1.a.b.c",
        "agora.v2.1.a.b",
        "agora.v1.01.a.b",
        "agora.v1.+1.a.b",
        "agora.v1.1.*.b",
        "agora.v1.1.a.>",
        "agora.v1.1..b",
        "agora.v1.1.a.b c",
        "$SRV.v1.1.a.b",
        &format!("agora.v1.1.{long}.b"),
    ] {
        assert_eq!(Subject::parse(wrong).unwrap_err().code, Code::BusBadSubject, "{wrong}");
    }
    assert!(Key::new("listings", "a.b").is_err() && Key::new("", "a").is_err());
    assert!(Pattern::new(1, Some("*"), None).is_err());
    assert!(!Pattern::new(1, None, None).unwrap().matches(&subject), "no pattern spans networks");
    assert!(Pattern::new(31_337, None, Some("serve")).unwrap().matches(&subject));
    assert!(!Pattern::new(31_337, Some("host-2"), None).unwrap().matches(&subject));
}

#[test]
fn a_sender_stops_without_credit_and_a_lost_credit_is_healed_by_the_next() {
    let mut receiver = ReceiveWindow::new(4);
    let mut sender = SendWindow::new(receiver.through());
    let mut grants = Vec::new();
    for expected in 0..4 {
        let seq = sender.take().unwrap();
        assert_eq!(seq, expected);
        grants.extend(receiver.accept(seq).unwrap());
    }
    assert_eq!(sender.take().unwrap_err().code, Code::BusNoCredit);
    assert!(grants.len() > 1, "more than one grant, so that the first can be lost");
    sender.grant(*grants.last().unwrap());
    sender.grant(grants[0]);
    assert!(sender.is_open());
    assert_eq!(sender.take().unwrap(), 4);
    sender.grant(u64::MAX);
    let more = std::iter::from_fn(|| sender.take().ok()).count();
    assert_eq!(more as u64, CREDIT_MAX, "a hostile grant is cut");
}

#[test]
fn a_receiver_tells_gaps_repeats_and_chunks_past_the_grant_apart() {
    let mut receiver = ReceiveWindow::new(4);
    receiver.accept(0).unwrap();
    let before = receiver.clone();
    assert_eq!(receiver.accept(2).unwrap_err().code, Code::BusGap);
    assert_eq!(receiver.accept(0).unwrap_err().code, Code::BusRepeated);
    assert_eq!(receiver.accept(1_000).unwrap_err().code, Code::BusNoCredit);
    assert_eq!(receiver, before, "a refused chunk changes nothing");
}
