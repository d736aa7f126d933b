//! A training on the tiny models: it learns, goes on where it was stopped, and gives the same bits.

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use agora_factory::{
    Checkpoint, CheckpointError, Example, HeldOut, Layers, Manifest, Progress, Settings, SettingsError, Target,
    TrainError, Training, train,
};
use agora_openlora::OpenLora;
use agora_receipts::receipt::DatanetRef;
use agora_types::{Canonical as _, DatanetId, Hash};
use support::{bits, examples, families, machine, settings, tiny, trained};

#[test]
fn a_training_learns_what_its_examples_teach_and_says_how_far_it_is() {
    let weights = tiny("llama");
    let (settings, examples) = (settings(), examples(40));
    let mut heard: Vec<Progress> = Vec::new();
    let training = Training { settings: &settings, examples: &examples, checkpoint: None };
    let mut machine = machine(&weights, 2);
    let trained =
        train(&mut machine, &training, &AtomicBool::new(false), &mut |progress| heard.push(*progress)).unwrap();
    assert!(trained.done);
    assert_eq!((trained.counts.examples, trained.counts.held_out), (36, 4));
    let steps = trained.counts.steps;
    assert_eq!(trained.losses.len(), steps as usize);
    assert_eq!(heard.len(), steps as usize + 6);
    let made: Vec<u32> = heard.iter().filter(|one| one.held_out_loss.is_none()).map(|one| one.step).collect();
    assert_eq!(made, (1..=steps).collect::<Vec<_>>());
    let measured: Vec<f64> = heard.iter().filter_map(|one| one.held_out_loss).collect();
    assert_eq!(measured, trained.held_out.iter().map(|held| held.loss).collect::<Vec<_>>());
    let (first, last) = (trained.losses[0], *trained.losses.last().unwrap());
    assert!(last < 0.7 * first, "{first} to {last}");
    assert!(measured[5] < measured[0], "{measured:?}");
    for one in &heard {
        assert!(one.steps == steps && one.epochs == 5 && (1..=5).contains(&one.epoch));
        assert!(one.learning_rate <= settings.learning_rate);
        assert_eq!(one.seconds_left.is_some(), one.tokens_per_second > 0.0);
    }
    assert_eq!(heard.last().unwrap().seconds_left, Some(0.0));
    // Each epoch reads all that is learnt from.
    let learnt = trained.counts.tokens / 5;
    assert_eq!(trained.counts.tokens % 5, 0);
    assert!(learnt < examples.iter().map(|example| example.tokens() as u64).sum());
}

#[test]
fn a_training_that_was_stopped_at_any_step_ends_in_the_same_bits() {
    let weights = tiny("llama");
    let (settings, examples) = (settings(), examples(40));
    let mut machine = machine(&weights, 2);
    let whole = trained(&mut machine, (&settings, &examples), None).unwrap();
    for stops in [vec![1], vec![3, 4], vec![7, 7, 20], (1..25).collect()] {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("checkpoint");
        let training = Training { settings: &settings, examples: &examples, checkpoint: Some(&path) };
        for stop in &stops {
            let cancel = AtomicBool::new(false);
            let mut hear = |progress: &Progress| cancel.store(progress.step >= *stop, Ordering::Relaxed);
            let part = train(&mut machine, &training, &cancel, &mut hear).unwrap();
            assert!(!part.done);
            let made = part.counts.steps as usize;
            assert_eq!(part.losses, whole.losses[..made]);
        }
        let rest = trained(&mut machine, (&settings, &examples), Some(&path)).unwrap();
        assert!(rest.done);
        assert_eq!(bits(&rest), bits(&whole), "stopped at {stops:?}");
        assert_eq!(rest.counts, whole.counts);
        // It is done, and stays so.
        let mut heard = 0;
        let again = train(&mut machine, &training, &AtomicBool::new(false), &mut |_| heard += 1).unwrap();
        assert_eq!((bits(&again), heard), (bits(&whole), 0));
    }
}

#[test]
fn a_stop_between_the_batches_of_a_step_keeps_the_last_whole_step() {
    let weights = tiny("llama");
    let (settings, examples) = (Settings { accumulation: 64, epochs: 40, ..settings() }, examples(40));
    let whole = trained(&mut machine(&weights, 1), (&settings, &examples), None).unwrap();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("checkpoint");
    let training = Training { settings: &settings, examples: &examples, checkpoint: Some(&path) };
    let mut machine = machine(&weights, 1);
    let mut rounds = 0;
    loop {
        rounds += 1;
        let cancel = AtomicBool::new(false);
        // Another thread stops it somewhere behind the first step that it hears of.
        let (tell, told) = std::sync::mpsc::channel();
        let part = std::thread::scope(|scope| {
            let cancel = &cancel;
            scope.spawn(move || {
                if told.recv().is_ok() {
                    cancel.store(true, Ordering::Relaxed);
                }
            });
            let part = train(&mut machine, &training, cancel, &mut |_| {
                let _ = tell.send(());
            });
            drop(tell);
            part.unwrap()
        });
        assert_eq!(part.losses, whole.losses[..part.counts.steps as usize]);
        if part.done {
            assert_eq!(bits(&part), bits(&whole), "in {rounds} rounds");
            return;
        }
    }
}

#[test]
fn threads_change_no_bit() {
    for family in ["llama", "gemma3"] {
        let weights = tiny(family);
        let (settings, examples) = (Settings { epochs: 1, ..settings() }, examples(40));
        let run = |threads| bits(&trained(&mut machine(&weights, threads), (&settings, &examples), None).unwrap());
        assert_eq!(run(1), run(2), "{family}");
        assert_eq!(run(2), run(2), "{family}: twice");
    }
}

const KILLED: &str = "AGORA_FACTORY_TEST_CHECKPOINT";

/// What the killed process does: a step for each line that it reads.
#[test]
fn the_process_that_is_killed() {
    let Some(path) = std::env::var_os(KILLED) else { return };
    let (settings, examples) = (settings(), examples(40));
    let training = Training { settings: &settings, examples: &examples, checkpoint: Some(Path::new(&path)) };
    let mut lines = std::io::stdin().lines();
    let mut hear = |progress: &Progress| {
        // Behind the harness' own words, on a line of its own.
        println!("\nstep {}", progress.step);
        let _ = lines.next();
    };
    train(&mut machine(&tiny("llama"), 2), &training, &AtomicBool::new(false), &mut hear).unwrap();
    println!("\nend");
}

#[test]
fn a_process_that_was_killed_again_and_again_ends_in_the_same_bits() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("checkpoint");
    let run = |lines: usize| {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_process_that_is_killed", "--nocapture"])
            .env(KILLED, &path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut to = child.stdin.take().unwrap();
        to.write_all("\n".repeat(lines).as_bytes()).unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        let mut last = String::new();
        let heard = from.lines().map(Result::unwrap).filter(|line| line.starts_with("step ") || line == "end");
        for (at, line) in heard.enumerate() {
            last = line;
            // One that waits for its next line, or is in the middle of what comes after.
            if at + 1 == lines {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        last
    };
    for lines in [2, 5, 9, 4, 7] {
        assert_ne!(run(lines), "end", "it was killed on its way");
        assert!(lines < 5 || path.exists());
    }
    assert_eq!(run(1_000), "end");
    let (settings, examples) = (settings(), examples(40));
    let mut machine = machine(&tiny("llama"), 2);
    let killed = trained(&mut machine, (&settings, &examples), Some(&path)).unwrap();
    let whole = trained(&mut machine, (&settings, &examples), None).unwrap();
    assert_eq!(bits(&killed), bits(&whole));
}

#[test]
fn the_checkpoint_of_another_training_is_refused_and_left_alone() {
    let weights = tiny("llama");
    let (own, taught) = (Settings { epochs: 1, ..settings() }, examples(20));
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("checkpoint");
    trained(&mut machine(&weights, 1), (&own, &taught), Some(&path)).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let refused = |settings: &Settings, examples: &[Example], family: &str| {
        let error = trained(&mut machine(&tiny(family), 1), (settings, examples), Some(&path)).unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        match error {
            TrainError::Checkpoint { source: CheckpointError::Other(what), .. } => what,
            other => panic!("{other}"),
        }
    };
    assert_eq!(refused(&Settings { learning_rate: 0.02, ..own.clone() }, &taught, "llama"), "other settings");
    let mut others = taught.clone();
    others[3].response[0] += 1;
    assert_eq!(refused(&own, &others, "llama"), "other examples");
    others = taught.clone();
    others.swap(0, 1);
    assert_eq!(refused(&own, &others, "llama"), "other examples");
    // Qwen's tiny model has matrices of the same sides.
    assert_eq!(refused(&own, &taught, "qwen2"), "another base model");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = trained(&mut machine(&weights, 1), (&own, &taught), Some(&path)).unwrap_err();
    assert!(matches!(error, TrainError::Checkpoint { source: CheckpointError::Malformed(_), .. }), "{error}");
}

#[test]
fn settings_out_of_bounds_are_named() {
    let weights = tiny("llama");
    let refused = |settings: Settings| settings.layout(weights.shape()).unwrap_err().to_string();
    let base = Settings::default;
    assert_eq!(refused(Settings { rank: 0, ..base() }), "`rank` is 0; from 1 to 256");
    assert_eq!(refused(Settings { epochs: 1_001, ..base() }), "`epochs` is 1001; from 1 to 1000");
    assert_eq!(
        refused(Settings { learning_rate: f64::NAN, ..base() }),
        "`learning_rate` is NaN; more than 0, at most 1"
    );
    assert_eq!(refused(Settings { beta2: 1.0, ..base() }), "`beta2` is 1; from 0 up to but not 1");
    assert_eq!(refused(Settings { held_out_share: 0.6, ..base() }), "`held_out_share` is 0.6; from 0 to 0.5");
    assert_eq!(refused(Settings { targets: vec![], ..base() }), "`targets` names no matrix");
    assert_eq!(
        refused(Settings { targets: vec![Target::Up, Target::Key, Target::Up], ..base() }),
        "`targets` names up_proj twice"
    );
    assert_eq!(refused(Settings { layers: Layers::Last(3), ..base() }), "`layers` are Last(3); the model has 2");
    assert_eq!(
        refused(Settings { layers: Layers::Between { first: 1, end: 1 }, ..base() }),
        "`layers` are Between { first: 1, end: 1 }; the model has 2"
    );
    let long = Settings { alpha: 8.0 / 3.0 + 1e-15, ..base() };
    assert!(matches!(long.check(), Err(SettingsError::TooManyDigits { field: "alpha", .. })));
    assert_eq!(Settings { rank: 16, alpha: 8.0, rslora: true, ..base() }.scale().to_bits(), 2.0_f32.to_bits());
    assert_eq!(Settings { rank: 16, alpha: 8.0, ..base() }.scale().to_bits(), 0.5_f32.to_bits());
}

#[test]
fn settings_are_the_same_in_json_in_cbor_and_by_their_hash() {
    let all = [
        Settings::default(),
        settings(),
        Settings { targets: Target::ALL.to_vec(), layers: Layers::Between { first: 0, end: 2 }, ..settings() },
        Settings { layers: Layers::Last(1), epsilon: 1.234_567_890_123_45e-9, ..settings() },
    ];
    for settings in all {
        settings.check().unwrap();
        let json = serde_json::to_string(&settings).unwrap();
        let read: Settings = serde_json::from_str(&json).unwrap();
        assert_eq!(read, settings, "{json}");
        assert_eq!(Settings::from_bytes(&settings.to_bytes()).unwrap(), settings);
        assert_eq!(read.hash(), settings.hash());
    }
    let partly: Settings =
        serde_json::from_str(r#"{"rank": 4, "targets": ["q_proj"], "layers": {"last": 2}}"#).unwrap();
    assert_eq!(
        partly,
        Settings { rank: 4, targets: vec![Target::Query], layers: Layers::Last(2), ..Settings::default() }
    );
    assert!(serde_json::from_str::<Settings>(r#"{"rnak": 4}"#).is_err());
    let schema = serde_json::to_string(&schemars::schema_for!(Settings)).unwrap();
    assert!(schema.contains("held_out_share") && schema.contains("down_proj"));
}

#[test]
fn examples_that_cannot_be_learnt_from_are_named() {
    let weights = tiny("llama");
    let refused = |settings: &Settings, examples: &[Example]| {
        trained(&mut machine(&weights, 1), (settings, examples), None).unwrap_err().to_string()
    };
    let settings = settings();
    assert_eq!(refused(&settings, &[]), "0 examples; 1 to 1048576 are possible");
    let with = |change: &dyn Fn(&mut Example)| {
        let mut examples = examples(3);
        change(&mut examples[1]);
        let error = refused(&settings, &examples);
        let begin = format!("example 1 ({}): ", examples[1].id);
        error.strip_prefix(&begin).unwrap_or_else(|| panic!("{error}")).to_owned()
    };
    assert_eq!(with(&|one| one.prompt.clear()), "a prompt and a response have at least one token each");
    assert_eq!(with(&|one| one.response[0] = 300), "token 300; the model has 300");
    assert_eq!(with(&|one| one.response = vec![1; 40]), "42 tokens; the model's context is 128, `batch_tokens` is 40");
    let one = vec![examples(1).remove(0); 8];
    let half = Settings { held_out_share: 0.5, ..settings.clone() };
    assert!(
        trained(&mut machine(&weights, 1), (&half, &one), None).is_ok(),
        "one contribution is never held out whole"
    );
}

#[test]
fn the_folder_of_an_adapter_serves_and_its_manifest_says_what_it_was_made_of() {
    let weights = tiny("llama");
    let (settings, examples) = (settings(), examples(40));
    let trained = trained(&mut machine(&weights, 1), (&settings, &examples), None).unwrap();
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("adapter");
    std::fs::create_dir(home.path().join("adapter.making")).unwrap();
    let datanets = [DatanetRef { id: DatanetId::new([7; 32]), root: Hash::sha256("root"), tree_size: 40 }];
    let papers = |manifest: &Manifest| vec![("note.txt", manifest.hash().to_string())];
    let manifest = trained.write(&weights, (&settings, &datanets), &papers, &folder).unwrap();
    let mut names: Vec<String> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let right = ["adapter_config.json", "adapter_model.safetensors", "loss.svg", "manifest.json", "note.txt"];
    assert_eq!(names, right);
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
    let json = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
    let read: Manifest = serde_json::from_str(&json).unwrap();
    assert_eq!(read, manifest);
    assert_eq!(Manifest::from_bytes(&manifest.to_bytes()).unwrap(), manifest);
    assert_eq!(std::fs::read_to_string(folder.join("note.txt")).unwrap(), read.hash().to_string());
    for file in &manifest.files {
        let bytes = std::fs::read(folder.join(&file.name)).unwrap();
        assert_eq!((bytes.len() as u64, Hash::sha256(&bytes)), (file.size, file.hash));
    }
    let engine = OpenLora::load(&families().join("llama"), None, agora_openlora::Settings::default(), &mut |_| {});
    let info = engine.unwrap().load_adapter("trained", &folder).unwrap();
    assert_eq!((info.hash, info.rank), (manifest.adapter_hash, 4));
    let read = weights.read_adapter(&folder).unwrap();
    assert_eq!(
        agora_gradient::Layout::read(weights.shape(), &read).unwrap(),
        (trained.layout.clone(), trained.numbers.clone())
    );
    // What is there is never written over.
    let again = trained.write(&weights, (&settings, &datanets), &papers, &folder).unwrap_err();
    assert!(matches!(again, TrainError::File { .. }), "{again}");
    assert_eq!(std::fs::read_to_string(folder.join("manifest.json")).unwrap(), json);
}

#[test]
fn numbers_that_grow_out_of_bounds_stop_the_training_and_keep_the_checkpoint() {
    let weights = tiny("llama");
    let (settings, examples) = (Settings { epochs: 1, ..settings() }, examples(20));
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("checkpoint");
    let mut machine = machine(&weights, 1);
    let whole = trained(&mut machine, (&settings, &examples), Some(&path)).unwrap();
    // One whose numbers are finite, but not what comes of them.
    let broken = Checkpoint {
        origin: whole.origin,
        epoch: 0,
        step: 0,
        numbers: vec![1e30; whole.numbers.len()],
        first: vec![0.0; whole.numbers.len()],
        second: vec![0.0; whole.numbers.len()],
        losses: Vec::new(),
        held_out: vec![HeldOut { step: 0, loss: 1.0 }],
    };
    broken.write(&path).unwrap();
    let error = trained(&mut machine, (&settings, &examples), Some(&path)).unwrap_err();
    assert!(matches!(error, TrainError::Engine(_) | TrainError::Diverged { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), broken.to_bytes());
}
