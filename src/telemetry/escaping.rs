//! Log lines stay lines: what a peer's name or text could add to them, ends of lines, terminal sequences, invisible or
//! direction-changing characters, is written as an escape.
//!
//! `tracing_subscriber` escapes terminal sequences in values, so that those in a formatted line are its own colours. The rest is
//! done here, where no line can go past.

use std::fmt::Write as _;
use std::io;

use tracing_subscriber::fmt::MakeWriter;

use crate::id::is_printable;

/// What escapes look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notation {
    /// `\n`, `\u{1b}`.
    Plain,
    /// The same; colours of the line stay.
    Coloured,
    /// `\u001b`: the line is JSON.
    Json,
}

/// Makes writers whose lines are escaped. Each event is written at once, with its end of line.
#[derive(Debug, Clone)]
pub(super) struct Escaping<M> {
    inner: M,
    notation: Notation,
}

impl<M> Escaping<M> {
    pub(super) const fn new(inner: M, notation: Notation) -> Self {
        Self { inner, notation }
    }
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Escaping<M> {
    type Writer = EscapingWriter<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        EscapingWriter {
            inner: self.inner.make_writer(),
            notation: self.notation,
        }
    }
}

/// Writes one event.
pub(super) struct EscapingWriter<W> {
    inner: W,
    notation: Notation,
}

impl<W: io::Write> io::Write for EscapingWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match escaped(line, self.notation) {
            None => self.inner.write_all(line)?,
            Some(escaped) => self.inner.write_all(escaped.as_bytes())?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The line with escapes; `None` where it needs none.
fn escaped(line: &[u8], notation: Notation) -> Option<String> {
    let line = String::from_utf8_lossy(line);
    let (text, end) = match line.strip_suffix('\n') {
        Some(text) => (text, "\n"),
        None => (&*line, ""),
    };
    if text.chars().all(is_printable) {
        return None;
    }
    let mut escaped = String::with_capacity(line.len() + 16);
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let length = match notation {
            Notation::Coloured => colour(rest),
            Notation::Plain | Notation::Json => None,
        };
        let length = length.unwrap_or(letter.len_utf8());
        let (this, others) = rest.split_at(length);
        rest = others;
        match (letter, notation) {
            ('\u{1b}', Notation::Coloured) if length > 1 => escaped.push_str(this),
            (letter, _) if is_printable(letter) => escaped.push(letter),
            (letter, Notation::Plain | Notation::Coloured) => {
                escaped.extend(letter.escape_default());
            }
            (letter, Notation::Json) => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    // Writing to a string does not fail.
                    let _ = write!(escaped, "\\u{unit:04x}");
                }
            }
        }
    }
    escaped.push_str(end);
    Some(escaped)
}

/// The length of a sequence at the beginning that ends or sets a weight, slant or colour of letters (SGR: `ESC [ number m`). Others,
/// which hide text, are none.
fn colour(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let (number, _) = parameters.split_once('m')?;
    let is_colour = matches!(
        number,
        "0" | "1" | "2" | "3" | "31" | "32" | "33" | "34" | "35" | "36"
    );
    is_colour.then_some(number.len() + 3)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::prelude::*;

    use super::*;

    /// What an attacker would put into a name.
    const EVIL: &str = "a\nERROR forged\r\u{1b}[2J\u{1b}[31m\u{9b}2J\u{202e}\u{2028}\u{7}\tz";

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("lines").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(notation: Notation, ansi: bool) -> String {
        let lines = Lines::default();
        let made = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(ansi)
            .with_writer(Escaping::new(move || made.clone(), notation));
        let log = || {
            tracing::warn!(name = EVIL, shown = %EVIL, debug = ?EVIL, "text of a peer: {EVIL}");
            tracing::info!("second");
        };
        let registry = tracing_subscriber::registry();
        match notation {
            Notation::Plain | Notation::Coloured => {
                tracing::subscriber::with_default(registry.with(layer), log);
            }
            Notation::Json => {
                tracing::subscriber::with_default(
                    registry.with(layer.json().flatten_event(true)),
                    log,
                );
            }
        }
        let bytes = lines.0.lock().expect("lines").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn an_event_is_one_line_whatever_its_values_hold() {
        for (notation, ansi) in [
            (Notation::Plain, false),
            (Notation::Coloured, true),
            (Notation::Json, false),
        ] {
            let text = logged(notation, ansi);
            let lines: Vec<_> = text.lines().collect();
            assert_eq!(lines.len(), 2, "{text}");
            assert!(text.ends_with('\n') && lines[1].contains("second"));
            for line in &lines {
                let without_colours = line
                    .split("\u{1b}[")
                    .enumerate()
                    .map(|(at, part)| {
                        if at == 0 {
                            part
                        } else {
                            part.split_once('m').expect("a colour").1
                        }
                    })
                    .collect::<String>();
                assert!(without_colours.chars().all(is_printable), "{line:?}");
            }
            assert!(
                !text.contains("\u{1b}[2J") && !text.contains("\u{1b}[31m\u{9b}"),
                "{text:?}"
            );
            if !ansi {
                assert!(!text.contains('\u{1b}'), "{text:?}");
            }
        }
        let json = logged(Notation::Json, false);
        let first = json.lines().next().expect("a line");
        let event: serde_json::Value = serde_json::from_str(first).expect("JSON");
        assert_eq!(event["name"], EVIL, "nothing is lost");
    }

    #[test]
    fn ordinary_lines_are_written_as_they_are() {
        let lines = Lines::default();
        let mut writer = EscapingWriter {
            inner: lines.clone(),
            notation: Notation::Coloured,
        };
        let line = "2026-11-28 \u{1b}[33mWARN\u{1b}[0m host=größe → tor\n";
        writer.write_all(line.as_bytes()).expect("written");
        assert_eq!(*lines.0.lock().expect("lines"), line.as_bytes());
    }
}
