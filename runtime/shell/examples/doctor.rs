//! The skeleton of a command: paths, settings, printer, then one document or one failure.
//!
//! `cargo run --release -p agora-shell --example doctor -- json` (or `text`, `yaml`, `settings`, `types`)

use std::process::ExitCode;

use agora_shell::doctor::{self, Subject, System};
use agora_shell::schema::Registry;
use agora_shell::settings::Overlay;
use agora_shell::{Format, Outcome, Paths, Printer, Settings};

fn main() -> ExitCode {
    let argument = std::env::args().nth(1).unwrap_or_default();
    let format = argument.parse::<Format>().ok();
    // Until the settings are read, failures are written in the form that the flag asks for.
    let printer = Printer::new(format.unwrap_or_default(), false);
    match run(&argument, format) {
        Ok(code) => code,
        Err(failure) => {
            printer.failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(argument: &str, output: Option<Format>) -> Outcome<ExitCode> {
    let paths = Paths::find(None)?;
    let flags = Overlay { output, ..Overlay::default() };
    let settings = Settings::load(flags, &paths, ".".as_ref())?;
    let printer = Printer::new(settings.output.value, false);
    match argument {
        "settings" => printer.print(&settings.document()).map(|_| ExitCode::SUCCESS),
        "types" => {
            let registry = Registry::of_shell();
            for name in registry.types() {
                println!("{}", registry.schema(name)?);
            }
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            let report = doctor::examine(&Subject::new(&paths, &settings), &System);
            printer.print(&report)?;
            Ok(if report.healthy() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}
