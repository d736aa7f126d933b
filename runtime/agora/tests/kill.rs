//! A node is killed (SIGKILL) at random moments of a paid stream and started again: what its users can rely on.
//!
//! `AGORA_SEED=N` repeats a run, `AGORA_KILLS=N` makes it longer.

mod world;

use std::time::Duration;

use world::dice::{Dice, rounds};
use world::ground::{Ground, PATIENCE, TOKENS};

/// Rounds of kills with the stand-in engine; each kills at least once.
const KILLS: u64 = 20;

/// Kills in the middle of a stream, `rounds` times at least, and checks everything after each.
fn kill_rounds(ground: &Ground, dice: &mut Dice, rounds: u64) {
    let mut kills = 0;
    let mut in_stream = 0;
    let mut calls = 1;
    for round in 0..rounds {
        let mut node = ground.start();
        let question = format!("question {round}: how does a lighthouse help a ship at sea");
        let (mut client, steps) = ground.ask(&question);
        // A moment in the stream, or one before it.
        let wanted = dice.below(TOKENS + 8);
        let mut seen = 0;
        let mut opened = false;
        while seen < wanted {
            match steps.recv_timeout(PATIENCE) {
                Ok(step) => {
                    opened |= step["step"] == "opened";
                    seen = step["tokens"].as_u64().unwrap_or(seen);
                }
                Err(_) => break,
            }
        }
        std::thread::sleep(Duration::from_micros(dice.below(15_000)));
        node.kill();
        kills += 1;
        in_stream += u64::from(opened && seen < TOKENS);
        client.wait().unwrap();
        // Some lives are short: killed again while they repair what the first kill left.
        while dice.below(3) == 0 {
            let again = ground.start();
            std::thread::sleep(Duration::from_micros(dice.below(400_000)));
            again.kill();
            kills += 1;
        }
        node = ground.start();
        let context = format!("round {round}, killed after {seen} tokens");
        // Either the agent ends its event, or its owner stops it in the middle.
        if dice.below(3) > 0 {
            let agent = ground.settle();
            assert_eq!(agent["failures"], 0, "{context}: {agent}");
        }
        ground.json(&["agent", "stop", "researcher"]);
        let size = ground.json(&["receipt", "list"])["size"].as_u64().unwrap();
        let more = size / 2 - calls;
        assert!(more <= 1, "{context}: {more} calls were paid for one question");
        calls += more;
        ground.check(calls, &context);
        ground.deploy();
        node.stop(ground);
    }
    println!("{kills} kills, {in_stream} in a stream, {calls} calls");
}

#[test]
fn a_killed_node_charges_for_what_arrived_and_gives_the_rest_back() {
    let mut dice = Dice::new();
    let ground = Ground::found("fake:5");
    kill_rounds(&ground, &mut dice, rounds(KILLS));
}

#[test]
fn the_same_with_real_weights() {
    let mut dice = Dice::new();
    let ground = Ground::found("smollm2-135m");
    kill_rounds(&ground, &mut dice, 2);
}
