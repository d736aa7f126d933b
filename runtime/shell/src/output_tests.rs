//! What scripts and people can rely on when they read a command's output.

use agora_types::{Amount, Code};

use super::*;

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Fails(io::ErrorKind);

impl Write for Fails {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A balance.
#[derive(Serialize, JsonSchema)]
struct Balance {
    account: String,
    amount: Amount,
}

impl Document for Balance {
    const TYPE: &'static str = "agora/test-balance/v1";
    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        writeln!(out, "{} {} OPEN", style.bold(&self.account), self.amount)
    }
}

fn balance() -> Balance {
    Balance { account: "alice: # 1\nx".to_owned(), amount: Amount::from_open(12) }
}

fn printer(format: Format, quiet: bool, surroundings: Surroundings) -> (Printer, Page, Page) {
    let (out, err) = (Page::default(), Page::default());
    let printer = Printer::over(format, quiet, surroundings, Box::new(out.clone()), Box::new(err.clone()));
    (printer, out, err)
}

#[test]
fn data_goes_to_stdout_with_its_type_first_and_amounts_in_atoms() {
    let (printer, out, err) = printer(Format::Json, false, Surroundings::default());
    printer.print(&balance()).unwrap();
    printer.note("a message");
    assert!(out.text().starts_with("{\n  \"$type\": \"agora/test-balance/v1\""), "{}", out.text());
    let read: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
    assert_eq!(read["amount"], "12000000000000000000");
    assert_eq!(err.text(), "a message\n");
}

#[test]
fn a_stream_is_one_document_per_line() {
    let (printer, out, _) = printer(Format::Json, false, Surroundings::default());
    printer.stream(&balance()).unwrap();
    printer.stream(&balance()).unwrap();
    let lines: Vec<serde_json::Value> = out.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["$type"], Balance::TYPE);
}

#[test]
fn yaml_says_the_same_and_awkward_text_stays_text() {
    let (printer, out, _) = printer(Format::Yaml, false, Surroundings::default());
    printer.print(&balance()).unwrap();
    let text = out.text();
    assert!(text.starts_with("---\n$type: agora/test-balance/v1\n"), "{text}");
    // A number of atoms does not fit a float: it must stay a text.
    assert!(text.contains("amount: \"12000000000000000000\"") || text.contains("'12000000000000000000'"), "{text}");
    assert!(!text.contains("account: alice: #"), "{text}");
}

#[test]
fn colour_needs_a_terminal_that_wants_it() {
    let none = |_: &str| None;
    let variable =
        |wanted: &'static str, value: &'static str| move |name: &str| (name == wanted).then(|| value.to_owned());
    let colours = Surroundings { out_colour: true, err_colour: true, bars: true };
    assert_eq!(Surroundings::decide(none, true, true), colours);
    assert_eq!(Surroundings::decide(none, false, false), Surroundings::default());
    assert_eq!(Surroundings::decide(none, false, true), Surroundings { out_colour: false, ..colours });
    assert_eq!(Surroundings::decide(variable("NO_COLOR", ""), true, true), colours);
    assert_eq!(Surroundings::decide(variable("TERM", "dumb"), true, true), Surroundings::default());
    let no_colour = Surroundings::decide(variable("NO_COLOR", "1"), true, true);
    assert_eq!(no_colour, Surroundings { bars: true, ..Surroundings::default() });

    let (printer, out, _) = printer(Format::Text, false, colours);
    printer.print(&balance()).unwrap();
    assert!(out.text().contains("\x1b[1malice"));
    let (printer, out, _) = super::tests::printer(Format::Text, false, Surroundings::default());
    printer.print(&balance()).unwrap();
    assert!(!out.text().contains('\x1b'));
}

#[test]
fn quiet_silences_notes_but_neither_warnings_nor_failures() {
    let (printer, out, err) = printer(Format::Text, true, Surroundings::default());
    printer.note("hidden");
    printer.spinner("hidden").finish();
    printer.warn("seen");
    printer.failure(&Failure::new(Code::NodeNotRunning, "nobody at 127.0.0.1:7402"));
    assert_eq!(out.text(), "");
    assert_eq!(
        err.text(),
        "warning: seen\nerror: nobody at 127.0.0.1:7402\n  hint: no node answers; start one with `agora up`\n  \
         code: node.not_running (9003)\n"
    );
}

#[test]
fn a_failure_for_machines_is_one_json_document_on_stderr() {
    let (printer, out, err) = printer(Format::Json, false, Surroundings::default());
    printer.failure(&Failure::new(Code::NodeNotRunning, "nobody"));
    let read: serde_json::Value = serde_json::from_str(&err.text()).unwrap();
    assert_eq!((out.text().as_str(), err.text().lines().count()), ("", 1));
    assert_eq!(read["$type"], "agora/error/v1");
    assert_eq!((&read["code"], &read["number"]), (&"node.not_running".into(), &9003.into()));
}

#[test]
fn a_reader_that_leaves_ends_quietly_and_a_full_disk_does_not() {
    let over = |kind| {
        let printer = Printer::over(
            Format::Text,
            false,
            Surroundings::default(),
            Box::new(Fails(kind)),
            Box::new(Fails(io::ErrorKind::BrokenPipe)),
        );
        printer.note("nobody reads this, and that is no failure");
        printer.print(&balance())
    };
    assert_eq!(over(io::ErrorKind::BrokenPipe), Ok(Written::ReaderGone));
    assert_eq!(over(io::ErrorKind::StorageFull).unwrap_err().code, Code::NodeIo);
}
