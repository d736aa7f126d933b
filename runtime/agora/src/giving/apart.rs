//! A stranger's Parquet file, read by a process of its own.
//!
//! What such a file says of itself decides how much memory is taken and how deep is recursed while it is read, and who has
//! too little of either is ended by the system. So a node does not read one itself. It starts this program again with the
//! hidden command `read-parquet`, which takes bounds that it cannot leave, then reads question and file from stdin and
//! writes rows to stdout. Whatever becomes of it, all the node sees is rows without an end, and it refuses the file.

use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use agora_datanets::Item;
use agora_datanets::readers::{Limits, Mapping, Row};
use agora_shell::{Failure, Outcome};
use agora_types::Code;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::read::{Found, found};
use crate::cli::datanet::documents::LeftOut;

/// The hidden command.
pub(crate) const COMMAND: &str = "read-parquet";
/// Memory and time of the process.
const MEMORY_MAX: u64 = 1 << 30;
const CPU_MAX_S: u64 = 30;
/// Most bytes of a question: names of fields.
const ASKED_MAX: u64 = 256 << 10;
/// Most bytes of its rows.
const ROWS_MAX: u64 = 64 << 20;

/// What is to be read.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    items_max: u32,
    text: Option<String>,
    prompt: Option<String>,
    response: Option<String>,
    messages: Option<String>,
}

/// A line of the answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Item {
        line: u64,
        item: Item,
    },
    Bad {
        line: u64,
        why: String,
    },
    /// All is said.
    End,
}

impl Asked {
    fn of(mapping: &Mapping, items_max: u32) -> Self {
        let none = Self { items_max, ..Self::default() };
        match mapping.clone() {
            Mapping::Auto => none,
            Mapping::Text { text } => Self { text: Some(text), ..none },
            Mapping::Pair { prompt, response } => Self { prompt: Some(prompt), response: Some(response), ..none },
            Mapping::Messages { messages } => Self { messages: Some(messages), ..none },
        }
    }

    fn mapping(self) -> Mapping {
        match (self.text, self.prompt, self.response, self.messages) {
            (Some(text), ..) => Mapping::Text { text },
            (_, Some(prompt), Some(response), _) => Mapping::Pair { prompt, response },
            (.., Some(messages)) => Mapping::Messages { messages },
            _ => Mapping::Auto,
        }
    }
}

/// The process, which is not left behind.
struct Reader(Child);

impl Drop for Reader {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The rows of a stranger's file, at most `items_max` items, read by `program`, which is this one. It blocks.
///
/// # Errors
/// `datanet.bad_input` where the file is not read to its end within the bounds, `node.io` where the program does not start.
pub(crate) fn read(program: &Path, file: &[u8], mapping: &Mapping, items_max: u32) -> Outcome<Vec<Found>> {
    let mut command = Command::new(program);
    command.arg(COMMAND).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut reader = Reader(command.spawn().map_err(Failure::io(program))?);
    let rows = rows(&mut reader.0, &Asked::of(mapping, items_max), file);
    let beyond = "the Parquet file is damaged, or takes more than this node gives to one";
    rows.ok().flatten().ok_or_else(|| Failure::new(Code::DataInvalid, beyond))
}

/// `None` where there was no end to them.
fn rows(reader: &mut Child, asked: &Asked, file: &[u8]) -> io::Result<Option<Vec<Found>>> {
    let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
    // It reads everything before it writes anything, so that neither waits for the other.
    let mut input = reader.stdin.take().ok_or_else(closed)?;
    let mut question = serde_json::to_vec(asked)?;
    question.push(b'\n');
    input.write_all(&question)?;
    input.write_all(file)?;
    drop(input);
    let output = reader.stdout.take().ok_or_else(closed)?;
    let mut rows = Vec::new();
    for line in BufReader::new(output.take(ROWS_MAX)).lines() {
        rows.push(match serde_json::from_str(&line?)? {
            Line::Item { line, item } => Ok(Row { line, item }),
            Line::Bad { line, why } => Err(LeftOut { line, why }),
            Line::End => return Ok(Some(rows)),
        });
    }
    Ok(None)
}

/// The hidden command: reads a file on behalf of the node that started this process.
pub(crate) fn serve() -> ExitCode {
    let served = confine().and_then(|()| answer(BufReader::new(io::stdin().lock()), io::stdout().lock()));
    served.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

/// Takes bounds for the rest of this process's life: memory, time, and no files.
fn confine() -> io::Result<()> {
    for (resource, most) in
        [(Resource::Data, MEMORY_MAX), (Resource::Cpu, CPU_MAX_S), (Resource::Fsize, 0), (Resource::Core, 0)]
    {
        let most = getrlimit(resource).maximum.map_or(most, |allowed| allowed.min(most));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

fn answer(mut input: impl io::BufRead, output: impl Write) -> io::Result<()> {
    let mut question = Vec::new();
    input.by_ref().take(ASKED_MAX).read_until(b'\n', &mut question)?;
    let asked: Asked = serde_json::from_slice(&question)?;
    let mut file = Vec::new();
    input.read_to_end(&mut file)?;
    let limits = Limits { items_max: asked.items_max, ..Limits::default() };
    let mut output = BufWriter::new(output);
    match agora_intake::read(file, asked.mapping(), limits) {
        Ok(rows) => rows.map(found).try_for_each(|row| say(&mut output, row))?,
        Err(error) => say(&mut output, found(Err(error)))?,
    }
    write(&mut output, &Line::End)?;
    output.flush()
}

fn say(output: &mut impl Write, row: Found) -> io::Result<()> {
    let line = match row {
        Ok(Row { line, item }) => Line::Item { line, item },
        Err(LeftOut { line, why }) => Line::Bad { line, why },
    };
    write(output, &line)
}

fn write(output: &mut impl Write, line: &Line) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    output.write_all(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(mapping: &Mapping, file: &[u8]) -> Vec<String> {
        let asked = Asked::of(mapping, 2);
        let question = [&serde_json::to_vec(&asked).unwrap(), b"\n".as_slice(), file].concat();
        let mut said = Vec::new();
        answer(question.as_slice(), &mut said).unwrap();
        assert_eq!(&asked.mapping(), mapping);
        String::from_utf8(said).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_file_becomes_lines_and_the_last_one_says_that_it_is() {
        let pairs = std::fs::read("../../marketplace/intake/tests/data/pairs.parquet").unwrap();
        let named = Mapping::Pair { prompt: "question".into(), response: "answer".into() };
        for mapping in [Mapping::Auto, named] {
            let said = served(&mapping, &pairs);
            assert_eq!(
                said[0],
                r#"{"item":{"line":1,"item":{"pair":{"prompt":"Who owns a wreck?","response":"Its owner keeps it."}}}}"#
            );
            assert!(said[2].starts_with(r#"{"bad":{"line":3,"#) && said[2].contains("is missing"), "{said:?}");
            assert_eq!((said.len(), said[3].as_str()), (4, r#""end""#));
        }
        let said = served(&Mapping::Text { text: "\0\n".into() }, b"no Parquet");
        assert!(said.len() == 2 && said[0].contains("not a file of this kind"), "{said:?}");
    }

    #[test]
    fn a_program_that_says_nothing_useful_has_read_nothing() {
        for program in ["/bin/true", "/bin/echo"] {
            let failed = read(Path::new(program), &[0; 1 << 20], &Mapping::Auto, 9).unwrap_err();
            assert_eq!(failed.code, Code::DataInvalid, "{program}");
        }
        let failed = read(Path::new("/nowhere/agora"), b"", &Mapping::Auto, 9).unwrap_err();
        assert_eq!(failed.code, Code::NodeIo);
    }
}
