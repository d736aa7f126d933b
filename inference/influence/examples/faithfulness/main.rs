//! How faithful attribution is, and what it costs: the part of `cargo xtask bench attribution` that computes with a model.
//!
//! Run: cargo run --release --package agora-influence --example faithfulness -- JSON
//! One argument says what to do ([`Ask`]); one JSON document comes out on stdout, progress on stderr. What takes long is
//! kept in files of the folder that is named, so that a killed run goes on.

mod cost;
mod datanet;
mod detection;
mod facts;
mod gaming;
mod lds;
mod methods;
mod retrain;
mod tasks;
mod variants;

use serde::Deserialize;

/// Whatever goes wrong ends the program.
type Failure = Box<dyn std::error::Error>;

/// What can be asked.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Ask {
    /// Who finds the class of a query: DataInf's tasks.
    Detection(detection::Ask),
    /// The adapter, the methods' scores, and what a Python peer needs to give its own.
    Scores(lds::Ask),
    /// Models trained on random halves and without what a method names; reads the scores that are there.
    Retrain(lds::Ask),
    /// What an attribution costs beside the answer that it is of.
    Cost(cost::Ask),
    /// Who is paid in markets that somebody games.
    Gaming(gaming::Ask),
}

fn main() -> Result<(), Failure> {
    let text = std::env::args().nth(1).ok_or("what is to be done, as JSON?")?;
    let document = match serde_json::from_str(&text)? {
        Ask::Detection(ask) => detection::run(&ask)?,
        Ask::Scores(ask) => lds::scores(&ask)?,
        Ask::Retrain(ask) => lds::retrain(&ask)?,
        Ask::Cost(ask) => cost::run(&ask)?,
        Ask::Gaming(ask) => gaming::run(&ask)?,
    };
    println!("{document}");
    Ok(())
}
