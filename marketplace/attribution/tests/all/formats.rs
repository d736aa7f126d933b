//! Stable bytes, their schemas, and bounds.

use agora_attribution::spans::Run;
use agora_attribution::*;
use agora_types::{Canonical as _, Code, DatanetId, Hash};
use proptest::prelude::*;

use crate::world::{Published, World, evidence_of};

#[track_caller]
fn golden_bytes(name: &str, bytes: &[u8]) {
    let path = format!("tests/data/{name}.hex");
    if std::env::var("AGORA_GOLDEN").is_ok_and(|word| word == "write") {
        let text = hex::encode(bytes);
        let lines: Vec<&str> = text.as_bytes().chunks(120).map(|line| std::str::from_utf8(line).unwrap()).collect();
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    }
    let text: String = std::fs::read_to_string(&path).unwrap().split_whitespace().collect();
    assert_eq!(hex::encode(bytes), text, "the bytes of `{name}` have changed");
}

#[track_caller]
fn golden(name: &str, schema: &str, bytes: &[u8]) {
    golden_bytes(name, bytes);
    cddl::validate_cbor_from_slice(schema, bytes, None).unwrap_or_else(|error| panic!("{name}: {error}"));
}

fn published() -> (Published, Vector) {
    let mut world = World::new(7, 3, 2, 24);
    world.rows.push(world.rows[2].clone());
    world.examples.push(Example { kind: Kind::Translation, weight: 50, ..crate::world::example(9, 40, 0) });
    let query = world.query(1);
    (world.publish(Method::InfluenceEkfacNnls, true), query)
}

fn evidence(published: &Published, query: &Vector) -> Evidence {
    let matrix = published.matrix();
    let public = Public::new(&published.spec, Some(&matrix), &published.table).unwrap();
    let cluster = published.table.examples[0].position;
    evidence_of(&public, query, &[Run { start: 4, length: 9, match_length: 11, cluster }])
}

#[test]
fn spec_rows_matrix_and_evidence_keep_their_bytes_and_are_described_by_their_schemas() {
    let (published, query) = published();
    let spec = &published.spec;
    golden("attribution-spec", include_str!("../../cddl/attribution-spec.cddl"), &spec.to_bytes());
    assert_eq!(AttributionSpec::from_bytes(&spec.to_bytes()).as_ref(), Ok(spec));
    let table = &published.table;
    golden("attribution-rows", include_str!("../../cddl/attribution-rows.cddl"), &table.to_bytes());
    assert_eq!(RowTable::from_bytes(&table.to_bytes()).as_ref(), Ok(table));
    golden_bytes("attribution-matrix", &published.file);
    // From those files to these bytes: the same on any processor.
    let evidence = evidence(&published, &query);
    golden("attribution-evidence", include_str!("../../cddl/attribution-evidence.cddl"), &evidence.to_bytes());
    assert_eq!(Evidence::from_bytes(&evidence.to_bytes()).as_ref(), Ok(&evidence));
    let roots = [spec.hash(), evidence.hash(), evidence.influence_root(), evidence.verbatim_root()];
    golden_bytes("attribution-hashes", &roots.map(|root| *root.as_bytes()).concat());
    let sampled = evidence.for_call(spec, &crate::sample::three(), 5);
    assert_eq!(sampled, Err(Code::AttributionInput), "the spec measures every call");
    let withheld = evidence.clone().withheld();
    assert_eq!(withheld.influence_root(), evidence.influence_root());
    let schema = include_str!("../../cddl/attribution-evidence.cddl");
    cddl::validate_cbor_from_slice(schema, &withheld.to_bytes(), None).unwrap();
}

#[test]
fn the_view_for_people_reads_back() {
    let (published, query) = published();
    let evidence = evidence(&published, &query);
    let text = serde_json::to_string(&evidence).unwrap();
    assert_eq!(serde_json::from_str::<Evidence>(&text).unwrap(), evidence);
    assert!(text.contains("\"influence-ekfac-nnls\""));
    let text = serde_json::to_string(&published.spec).unwrap();
    assert_eq!(serde_json::from_str::<AttributionSpec>(&text).unwrap(), published.spec);
}

#[test]
fn methods_have_stable_names_of_at_most_32_bytes() {
    let names = Method::ALL.map(Method::name);
    let expected = [
        "influence-ekfac-nnls",
        "gradient-dot",
        "gradient-cosine",
        "datainf",
        "bm25",
        "embedding-similarity",
        "declared-weights",
    ];
    assert_eq!(names, expected);
    for method in Method::ALL {
        assert!(method.name().len() <= 32);
        assert_eq!(method.name().parse(), Ok(method));
        assert_eq!(serde_json::to_string(&method).unwrap(), format!("\"{method}\""), "JSON has the same name");
    }
    assert_eq!("infini-gram".parse::<Method>(), Err(Code::AttributionSpec));
}

#[test]
fn a_spec_out_of_bounds_is_refused() {
    let (published, _) = published();
    assert_eq!(published.spec.check(), Ok(()));
    type Change = fn(&mut AttributionSpec);
    let wrong: &[(&str, Change)] = &[
        ("no datanet", |s| s.datanets.clear()),
        ("a datanet twice", |s| s.datanets.push(s.datanets[0])),
        ("an empty datanet", |s| s.datanets[0].tree_size = 0),
        ("nothing measured", |s| s.method = Method::DeclaredWeights),
        ("a matrix for words", |s| s.method = Method::Bm25),
        ("curvature for cosines", |s| s.method = Method::GradientCosine),
        ("no curvature", |s| s.commitments.curvature_root = None),
        ("no matrix", |s| s.commitments.matrix_root = None),
        ("no modules", |s| s.gradient.modules.clear()),
        ("modules out of order", |s| s.gradient.modules.reverse()),
        ("a blank module", |s| s.gradient.modules[0] = "q proj".into()),
        ("no layers", |s| s.gradient.layer_first = s.gradient.layer_end),
        ("no entries", |s| s.gradient.dimension = 0),
        ("many entries", |s| s.gradient.dimension = 65_537),
        ("no shingles", |s| s.clusters.shingle_tokens = 0),
        ("everything alike", |s| s.clusters.cosine_min = 0),
        ("jaccard above one", |s| s.clusters.jaccard_min = WHOLE + 1),
        ("l1", |s| s.solver.l1_micro = 1_000_001),
        ("other sweeps", |s| s.solver.sweeps = 201),
        ("other ridge", |s| s.solver.ridge_nano = 0),
        ("more candidates", |s| s.solver.candidates_max = 512),
        ("no span", |s| s.verbatim.span_tokens_min = 0),
        ("no clusters", |s| s.verbatim.clusters_max = 0),
        ("probability", |s| s.verbatim.base_probability_max = WHOLE + 1),
        ("cap", |s| s.verbatim.weight_max = WHOLE + 1),
        ("calibration", |s| s.calibration.null_p95 = s.calibration.own_median),
        ("calibration above one", |s| s.calibration.own_median = WHOLE + 1),
        ("never", |s| s.sample_one_in = 0),
        ("hardly ever", |s| s.sample_one_in = 65),
        ("no code", |s| s.code_version.clear()),
        ("no examples", |s| s.commitments.examples = 0),
    ];
    for (what, change) in wrong {
        let mut spec = published.spec.clone();
        change(&mut spec);
        assert_eq!(spec.check(), Err(Code::AttributionSpec), "{what}");
    }
    let newer = AttributionSpec { version: 2, ..published.spec.clone() };
    assert_eq!(newer.check(), Err(Code::WireUnsupported));
    let mut words = published.spec.clone();
    words.method = Method::Bm25;
    (words.commitments.matrix_root, words.commitments.curvature_root) = (None, None);
    (words.gradient.dimension, words.gradient.modules) = (0, vec![]);
    assert_eq!(words.check(), Ok(()));
}

#[test]
fn the_largest_spec_and_evidence_fit_their_sizes() {
    let (published, query) = published();
    let mut spec = published.spec.clone();
    spec.datanets = (0..16).map(|n| DatanetRef { id: DatanetId::new([n; 32]), ..spec.datanets[0] }).collect();
    spec.gradient.modules = (0..64).map(|n| format!("{n:064}")).collect();
    spec.code_version = "x".repeat(64);
    assert_eq!(spec.check(), Ok(()));
    assert_eq!(AttributionSpec::from_bytes(&spec.to_bytes()), Ok(spec));
    let mut evidence = evidence(&published, &query);
    evidence.query = vec![1; DIMENSION_MAX];
    evidence.candidates = vec![Candidate { row: u32::MAX, dot: i32::MIN, weight: u64::MAX }; CANDIDATES_MAX];
    let last = |n: usize| Position { seq: u64::MAX - 10_000 + n as u64, index: u32::MAX, item: u32::MAX };
    let span = |n: usize| Span {
        start: 4_000_000_000 + u32::try_from(n).unwrap() * 70_000,
        length: 70_000,
        contribution: Hash::ZERO,
        match_length: u32::MAX,
        cluster: last(n),
    };
    evidence.spans = (0..SPANS_MAX).map(span).collect();
    let most = agora_types::Amount::from_atoms(u128::MAX);
    let entry = |n: usize| Entry {
        cluster: last(n),
        row: u32::MAX,
        weight: u32::MAX,
        influence: u64::MAX,
        verbatim: u64::MAX,
        share: u64::MAX,
        amount: most,
        ..evidence.entries[0]
    };
    evidence.entries = (0..ENTRIES_MAX).map(entry).collect();
    evidence.payouts = vec![Paid { account: crate::world::address(1), amount: most }; ENTRIES_MAX];
    assert!(Evidence::from_bytes(&evidence.to_bytes()).is_ok());
}

#[test]
fn evidence_out_of_bounds_is_refused() {
    let (published, query) = published();
    let good = evidence(&published, &query);
    type Change = fn(&mut Evidence);
    let wrong: &[(&str, Change)] = &[
        ("candidates", |e| e.candidates = vec![e.candidates[0]; CANDIDATES_MAX + 1]),
        ("a cluster twice", |e| e.entries.push(e.entries[0])),
        ("spans overlap", |e| e.spans.push(e.spans[0])),
        ("an empty span", |e| e.spans[0].length = 0),
        ("longer than its match", |e| e.spans[0].match_length = 8),
        ("past the answer", |e| e.spans[0].start = u32::MAX),
        ("an account twice", |e| e.payouts.push(e.payouts[0])),
        ("lowest entry", |e| e.query[0] = 0x80),
        ("long query", |e| e.query = vec![0; DIMENSION_MAX + 1]),
        ("a sample that is not summarised", |e| e.sample = Some(crate::sample::three())),
        ("a sample that is not there", |e| e.summary.sample_hash = Some(crate::sample::three().hash())),
    ];
    for (what, change) in wrong {
        let mut evidence = good.clone();
        change(&mut evidence);
        assert_eq!(evidence.check(), Err(Code::AttributionEvidence), "{what}");
    }
    assert_eq!(Evidence { version: 2, ..good }.check(), Err(Code::WireUnsupported));
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300), at in any::<usize>(), byte in any::<u8>(),
    ) {
        let _ = AttributionSpec::from_bytes(&bytes);
        let _ = RowTable::from_bytes(&bytes);
        let _ = Evidence::from_bytes(&bytes);
        let (published, query) = published();
        let mut spoilt = published.table.to_bytes();
        let place = at % spoilt.len();
        spoilt[place] = byte;
        if let Ok(table) = RowTable::from_bytes(&spoilt) {
            let _ = table.check();
            let matrix = published.matrix();
            let _ = Public::new(&published.spec, Some(&matrix), &table);
        }
        let mut spoilt = evidence(&published, &query).to_bytes();
        let place = at % spoilt.len();
        spoilt[place] = byte;
        if let Ok(evidence) = Evidence::from_bytes(&spoilt) {
            let matrix = published.matrix();
            let public = Public::new(&published.spec, Some(&matrix), &published.table).unwrap();
            let _ = level1(&published.spec, &evidence, &crate::recompute::receipt_of(&published.spec, &evidence));
            let _ = level2(&public, &evidence);
        }
    }
}
