//! An index of a tiny model, from its bytes to its evidence.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use agora_attribution::{Method, Verdict, level2};
use agora_influence::{Asked, Index, InfluenceError, Settings, Teaching, build};
use agora_types::{Amount, Code};

use crate::support::{World, datanets};

const MEASURED: [Method; 6] = [
    Method::InfluenceEkfacNnls,
    Method::GradientDot,
    Method::GradientCosine,
    Method::Datainf,
    Method::Bm25,
    Method::EmbeddingSimilarity,
];

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entry = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    fs::read_dir(folder).unwrap().map(entry).collect()
}

fn pool() -> Amount {
    Amount::from_atoms(1_000_000)
}

#[test]
fn the_same_examples_give_the_same_bytes_on_any_number_of_threads() {
    let world = World::new();
    for method in MEASURED {
        let settings = world.settings(method);
        let build = |threads: usize, settings: &Settings| {
            let folder = tempfile::tempdir().unwrap();
            world.build(threads, settings, folder.path());
            files(folder.path())
        };
        let first = build(1, &settings);
        assert_eq!(build(1, &settings), first, "{method}: again");
        assert_eq!(build(2, &settings), first, "{method}: two threads");
        assert_eq!(build(2, &Settings { gradients_size_max: 0, ..settings }), first, "{method}: through a file");
    }
}

#[test]
fn every_method_ranks_an_example_first_for_its_own_answer_and_level_2_agrees() {
    let world = World::new();
    for method in MEASURED {
        let folder = tempfile::tempdir().unwrap();
        world.build(1, &world.settings(method), folder.path());
        let index = Index::open(folder.path(), world.adapter.clone()).unwrap();
        let matrix = index.matrix().unwrap();
        let public = index.public(matrix.as_ref()).unwrap();
        assert_eq!(index.table().owners[12], 0, "{method}: a copy belongs to who came first, by its row");
        let mut right = 0;
        for (row, example) in world.examples[..12].iter().enumerate() {
            let mut evidence = Vec::new();
            for threads in [1, 2] {
                let mut bench = world.bench(threads);
                evidence.push(index.attribute(&public, &mut bench, &example.asked, pool()).unwrap());
            }
            assert_eq!(evidence[0], evidence[1], "{method}: threads");
            let evidence = &evidence[0];
            let verdict = level2(&public, evidence);
            match method {
                Method::Bm25 => assert!(matches!(verdict, Verdict::CannotTell(_)), "{verdict:?}"),
                _ => assert_eq!(verdict, Verdict::Agrees, "{method}, row {row}"),
            }
            let most = evidence.entries.iter().max_by_key(|entry| entry.influence).unwrap();
            right += usize::from(most.row as usize == row);
            // The text is the response: it is copied from one to the other end.
            assert_eq!(evidence.spans.len(), 1, "{method}, row {row}");
            assert_eq!(evidence.spans[0].length as usize, example.asked.response.len());
            assert_eq!(evidence.spans[0].cluster, example.about.position);
            assert_eq!(evidence.paid.atoms() + evidence.commons.atoms(), 1_000_000);
            if method == Method::InfluenceEkfacNnls {
                assert!(most.row as usize == row && evidence.summary.explained > (1 << 32) / 10 * 9, "row {row}");
                assert_eq!(most.account, example.about.account);
            }
        }
        println!("{method}: {right} of 12 examples are first for their own answers");
        // The long one is first for everything, by dot products: that is why nobody should be paid by them.
        let least = if matches!(method, Method::GradientDot | Method::Datainf) { 6 } else { 12 };
        assert!(right >= least, "{method}: {right} of 12");
    }
}

#[test]
fn what_nothing_taught_is_explained_less_and_pays_nothing_up_to_the_95th_percentile() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    world.build(2, &world.settings(Method::InfluenceEkfacNnls), folder.path());
    let index = Index::open(folder.path(), world.adapter.clone()).unwrap();
    let matrix = index.matrix().unwrap();
    let public = index.public(matrix.as_ref()).unwrap();
    let mut bench = world.bench(2);
    for asked in &world.null {
        let evidence = index.attribute(&public, &mut bench, asked, pool()).unwrap();
        assert!(evidence.spans.is_empty());
        let highest = index.spec().calibration.null_p95;
        assert_eq!(evidence.paid.is_zero(), evidence.summary.explained <= highest);
        assert!(evidence.summary.explained <= highest, "ten queries: the 95th percentile is the highest");
    }
}

#[test]
fn an_altered_file_is_refused_wherever_it_was_altered() {
    let world = World::new();
    for method in [Method::InfluenceEkfacNnls, Method::Bm25] {
        let folder = tempfile::tempdir().unwrap();
        world.build(1, &world.settings(method), folder.path());
        let open = || Index::open(folder.path(), world.adapter.clone());
        assert!(open().is_ok());
        for (name, bytes) in files(folder.path()) {
            let path = folder.path().join(&name);
            let size = bytes.len();
            for at in [0, 9, 17, 40, 63, 64, 96, size / 3, size / 2, size - 1].into_iter().filter(|at| *at < size) {
                let mut other = bytes.clone();
                other[at] ^= 0x11;
                fs::write(&path, &other).unwrap();
                // The spec's own bytes are vouched for by the hash in the receipt.
                match open() {
                    Ok(index) => {
                        let settled = Index::open(folder.path(), world.adapter.clone()).unwrap();
                        assert!(name == "spec.cbor" && settled.spec_hash() == index.spec_hash(), "{name}, byte {at}");
                    }
                    Err(error) => {
                        let code = error.code();
                        let good = [Code::AttributionMatrix, Code::AttributionSpec, Code::AttributionInput];
                        assert!(good.contains(&code) || code == Code::WireUnsupported, "{name}, byte {at}: {error}");
                    }
                }
            }
            for cut in [0, size / 2, size - 1] {
                fs::write(&path, &bytes[..cut]).unwrap();
                assert!(open().is_err(), "{name} cut to {cut}");
            }
            fs::write(&path, [&bytes[..], &[0]].concat()).unwrap();
            assert!(open().is_err(), "{name} and one byte more");
            fs::remove_file(&path).unwrap();
            assert!(open().is_err(), "no {name}");
            fs::write(&path, &bytes).unwrap();
        }
        let mut other = world.adapter.clone();
        other.hash = agora_types::Hash::sha256("another");
        assert_eq!(Index::open(folder.path(), other).unwrap_err().code(), Code::AttributionMatrix);
        assert!(open().is_ok());
    }
}

#[test]
fn what_cannot_be_built_is_refused_and_leaves_no_index() {
    let world = World::new();
    let datanets = datanets();
    let teaching = Teaching {
        adapter: &world.adapter,
        examples: &world.examples,
        datanets: &datanets,
        copies: &[],
        null: &world.null,
        own: &[],
    };
    let folder = tempfile::tempdir().unwrap();
    let mut bench = world.bench(1);
    let mut refused = |teaching: &Teaching<'_>, settings: &Settings| {
        let error = build(&mut bench, teaching, settings, folder.path(), &mut |_| {}).unwrap_err();
        assert!(!folder.path().join("spec.cbor").exists());
        error
    };
    let good = world.settings(Method::InfluenceEkfacNnls);
    let code = |error: InfluenceError| error.code();
    assert_eq!(code(refused(&Teaching { examples: &[], ..teaching }, &good)), Code::AttributionInput);
    assert_eq!(code(refused(&Teaching { copies: &[(0, 13)], ..teaching }, &good)), Code::AttributionInput);
    assert_eq!(code(refused(&Teaching { datanets: &[], ..teaching }, &good)), Code::AttributionSpec);
    assert_eq!(code(refused(&teaching, &Settings { dimension: 100, ..good.clone() })), Code::AttributionInput);
    assert_eq!(code(refused(&teaching, &world.settings(Method::DeclaredWeights))), Code::AttributionInput);
    let mut empty = world.examples.clone();
    empty[3].asked = Asked { prompt: vec![1], response: Vec::new() };
    assert_eq!(code(refused(&Teaching { examples: &empty, ..teaching }, &good)), Code::EngineBadRequest);
    // Own queries that are null ones: nothing is learnt that could be told apart.
    let own = &world.null;
    let null: Vec<Asked> = world.examples.iter().map(|example| example.asked.clone()).collect();
    let error = refused(&Teaching { null: &null, own, ..teaching }, &good);
    assert!(matches!(error, InfluenceError::Calibration { .. }), "{error}");
}
