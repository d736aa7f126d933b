//! The measurer behind the port that hosts call.

use agora_attribution::{Method, Verdict, level2};
use agora_economy::ports::attribution::{Answer, Attributor as _};
use agora_inference_api::Request;
use agora_influence::{Index, Measurer, Settings, tokens_of};
use agora_types::{Amount, Canonical as _, Code, Hash};
use futures::executor::block_on;

use crate::support::World;

#[test]
fn a_host_asks_for_answers_of_several_indexes_and_gets_what_the_index_says() {
    let world = World::new();
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    world.build(1, &world.settings(Method::InfluenceEkfacNnls), first.path());
    world.build(1, &world.settings(Method::Bm25), second.path());
    let open = |folder: &tempfile::TempDir| Index::open(folder.path(), world.adapter.clone()).unwrap();
    let measurer = Measurer::start(1, 4).unwrap();
    let specs = [&first, &second].map(|folder| open(folder).spec_hash());
    assert!(!measurer.knows(&specs[0]));
    measurer.add(open(&first), world.weights.clone()).unwrap();
    assert!(measurer.knows(&specs[0]) && !measurer.knows(&specs[1]));
    measurer.add(open(&second), world.weights.clone()).unwrap();
    assert!(specs.iter().all(|spec| measurer.knows(spec)));

    let request = Request::ask("who taught this?", 64).to_bytes();
    let answer = |spec: Hash, response: &str| Answer {
        spec,
        request: request.clone(),
        response: response.as_bytes().to_vec(),
        pool: Amount::from_atoms(5_000),
    };
    let evidence = block_on(measurer.attribute(answer(specs[0], "a few words"))).unwrap();
    let index = open(&first);
    let matrix = index.matrix().unwrap();
    let public = index.public(matrix.as_ref()).unwrap();
    assert_eq!(level2(&public, &evidence), Verdict::Agrees);
    let asked = tokens_of(&world.weights, &request, b"a few words").unwrap();
    let own = index.attribute(&public, &mut world.bench(2), &asked, Amount::from_atoms(5_000)).unwrap();
    assert_eq!(evidence, own);
    assert_eq!(block_on(measurer.attribute(answer(specs[1], "a few words"))).unwrap().summary.spec, specs[1]);

    let refused = |answer: Answer| block_on(measurer.attribute(answer)).unwrap_err().code;
    assert_eq!(refused(answer(Hash::sha256("unknown"), "a")), Code::AttributionInput);
    assert_eq!(refused(Answer { request: vec![1, 2], ..answer(specs[0], "a") }), Code::AttributionInput);
    assert_eq!(refused(Answer { response: vec![0xff], ..answer(specs[0], "a") }), Code::AttributionInput);

    // More than may wait are refused at once; who waits is answered.
    let waiting: Vec<_> = (0..40).map(|_| measurer.attribute(answer(specs[0], "a few words"))).collect();
    let outcomes: Vec<_> = waiting.into_iter().map(block_on).collect();
    let busy = outcomes.iter().filter(|one| one.as_ref().is_err_and(|error| error.code == Code::EngineBusy)).count();
    assert!(busy > 0 && outcomes.iter().flatten().all(|one| *one == evidence), "{busy} of 40 were refused");
    assert_eq!(busy + outcomes.iter().flatten().count(), 40);
}

#[test]
fn an_index_that_comes_opens_no_other_and_one_that_is_asked_is_opened_once() {
    let world = World::new();
    let measurer = Measurer::start(1, 4).unwrap();
    // Of one adapter, as it is after it was indexed again.
    let add = |sample_one_in: u32| {
        let folder = tempfile::tempdir().unwrap();
        world.build(1, &Settings { sample_one_in, ..world.settings(Method::Bm25) }, folder.path());
        let index = Index::open(folder.path(), world.adapter.clone()).unwrap();
        let spec = index.spec_hash();
        measurer.add(index, world.weights.clone()).unwrap();
        spec
    };
    let specs: Vec<Hash> = (1..=5).map(add).collect();
    assert_eq!(measurer.openings(), 0, "five came one after another");
    let ask = |spec: Hash| {
        let request = Request::ask("who taught this?", 64).to_bytes();
        let answer = Answer { spec, request, response: b"a few words".to_vec(), pool: Amount::from_atoms(5_000) };
        assert_eq!(block_on(measurer.attribute(answer)).unwrap().summary.spec, spec);
        measurer.openings()
    };
    assert_eq!([specs[0], specs[0], specs[3], specs[0]].map(ask), [1, 1, 2, 2]);
    let newest = add(6);
    assert_eq!(measurer.openings(), 2);
    assert_eq!([newest, specs[3], newest].map(ask), [3, 4, 4], "only who is asked is opened again");
    assert_eq!(measurer.spec_of(&world.adapter.hash).unwrap().hash(), newest, "the last that came measures new calls");
    assert!(specs.iter().all(|spec| measurer.knows(spec)), "earlier ones measure calls that name them");
}
