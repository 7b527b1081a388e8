// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of [`Line`], with a model of the terminal that shows it.

use super::*;
use proptest::prelude::*;

const UP: &str = "\x1b[A";
const DOWN: &str = "\x1b[B";
const RIGHT: &str = "\x1b[C";
const LEFT: &str = "\x1bOD";
const HOME: &str = "\x1b[1~";
const END: &str = "\x1b[F";
const DELETE: &str = "\x1b[3~";

/// What a terminal makes of what it is sent: its last row, and where the cursor is.
#[derive(Default)]
struct Terminal {
    row: Vec<u8>,
    cursor: usize,
}

impl Terminal {
    fn shows(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.iter().copied();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\r' => self.cursor = 0,
                b'\n' => *self = Self::default(),
                0x1b => {
                    assert_eq!(bytes.next(), Some(b'['));
                    let mut number = 0;
                    match bytes.by_ref().find(|byte| {
                        number = if byte.is_ascii_digit() {
                            number * 10 + usize::from(byte - b'0')
                        } else {
                            number
                        };
                        !byte.is_ascii_digit()
                    }) {
                        Some(b'K') => self.row.truncate(self.cursor),
                        Some(b'D') => self.cursor -= number,
                        other => panic!("an escape sequence that ends in {other:?}"),
                    }
                }
                BELL => {}
                byte => {
                    assert_eq!(
                        self.cursor,
                        self.row.len(),
                        "only what is at the end is written over nothing"
                    );
                    self.row.push(byte);
                    self.cursor += 1;
                }
            }
        }
    }
}

/// Types it all; gives the lines that were entered, and what is shown then.
fn type_into(line: &mut Line, keys: &str) -> (Vec<Entered>, Terminal) {
    let mut terminal = Terminal::default();
    let mut echo = Vec::new();
    line.show(&mut echo);
    let mut entered = Vec::new();
    for byte in keys.bytes() {
        if let Some(line_entered) = line.typed(byte, &mut echo) {
            entered.push(line_entered);
            line.show(&mut echo);
        }
    }
    terminal.shows(&echo);
    (entered, terminal)
}

fn entered(keys: &str) -> Vec<Entered> {
    type_into(&mut Line::default(), keys).0
}

fn lines(expected: &[&str]) -> Vec<Entered> {
    expected.iter().map(|&line| Entered::Line(line.into())).collect()
}

#[test]
fn a_line_ends_with_carriage_return_or_line_feed_or_both() {
    assert_eq!(entered("a\rb\nc\r\nd\r\n\r\n"), lines(&["a", "b", "c", "d", ""]));
}

#[test]
fn characters_go_in_and_out_where_the_cursor_is() {
    assert_eq!(entered(&format!("vn{LEFT}{LEFT}{RIGHT}\x7fw{HOME}x{DELETE}{END}!\r")), lines(&["xn!"]));
    assert_eq!(entered(&format!("stats{LEFT}{LEFT}\x08\x08-{END}x\r")), lines(&["s-tsx"]));
}

#[test]
fn control_keys_take_away_a_word_or_all_before_the_cursor() {
    assert_eq!(entered("vm kill  a \x17b\r"), lines(&["vm kill  b"]));
    assert_eq!(entered(&format!("vm kill a{LEFT}\x15b\r")), lines(&["ba"]));
    assert_eq!(entered("vm kill a\x03help\r"), lines(&["help"]));
    assert_eq!(entered("b\x01a\x05c\r"), lines(&["abc"]));
}

#[test]
fn lines_before_come_back_and_so_does_what_was_being_typed() {
    let mut line = Line::default();
    let (first, _) = type_into(&mut line, "one\rtwo\r\rtwo\rthr");
    assert_eq!(first, lines(&["one", "two", "", "two"]));
    let (_, terminal) = type_into(&mut line, UP);
    assert_eq!(terminal.row, b"satori> two");
    let (_, terminal) = type_into(&mut line, &UP.repeat(3));
    assert_eq!(terminal.row, b"satori> one", "the same line twice is kept once");
    let (second, _) = type_into(&mut line, &format!("{}ee{UP}{UP}{DOWN}\r", DOWN.repeat(5)));
    assert_eq!(second, lines(&["two"]));
    assert_eq!(type_into(&mut line, &format!("{DOWN}x\r")).0, lines(&["x"]));
}

#[test]
fn only_so_many_lines_are_kept() {
    let mut line = Line::default();
    for number in 0..100 {
        type_into(&mut line, &format!("{number}\r"));
    }
    assert_eq!(type_into(&mut line, &format!("{}\r", UP.repeat(200))).0, lines(&["68"]));
}

#[test]
fn a_line_that_is_too_long_is_refused_whole() {
    let long = "x".repeat(LONGEST);
    assert_eq!(entered(&format!("{long}\r")), lines(&[&long]));
    assert_eq!(entered(&format!("{long}y\x7f\rz\r")), [Entered::TooLong, Entered::Line("z".into())]);
    assert_eq!(entered(&format!("{long}y\x15z\r")), lines(&["z"]), "Ctrl-U begins anew");
}

#[test]
fn an_escape_sequence_without_end_is_given_up() {
    assert_eq!(entered("a\x1b[\rb\x1b\rc\x1bO\r"), lines(&["a", "b", "c"]), "Enter is Enter");
    let endless = format!("\x1b[{}", "1;".repeat(40));
    let Entered::Line(rest) = &entered(&format!("{endless}\r"))[0] else { panic!("it is a line") };
    assert!(rest.len() > 50, "what follows is text again: {rest}");
    assert_eq!(entered("a\x1b[200~b\x1bxc\r"), lines(&["abc"]), "unknown ones are nothing");
}

proptest! {
    #[test]
    fn the_terminal_shows_what_will_be_entered(
        keys in prop::collection::vec(
            prop_oneof![
                4 => "[a-c ]",
                1 => prop::sample::select(vec![UP, DOWN, LEFT, RIGHT, HOME, END, DELETE, "\x7f", "\x17", "\x15", "\r"])
                    .prop_map(String::from),
            ],
            0..80,
        )
    ) {
        let mut line = Line::default();
        let (_, terminal) = type_into(&mut line, &keys.concat());
        let cursor = line.cursor;
        let mut echo = Vec::new();
        let Some(Entered::Line(text)) = line.typed(b'\r', &mut echo) else { panic!("Enter enters") };
        prop_assert_eq!(terminal.row, [PROMPT.as_bytes(), text.as_bytes()].concat());
        prop_assert_eq!(terminal.cursor, PROMPT.len() + cursor);
    }

    #[test]
    fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut line = Line::default();
        let mut echo = Vec::new();
        for byte in bytes {
            let _ = line.typed(byte, &mut echo);
            prop_assert!(line.cursor <= line.text.len());
        }
    }
}
