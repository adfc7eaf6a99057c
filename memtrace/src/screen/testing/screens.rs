//! Whole screens, compared with files: who changes one sees it in the diff.
//! `MEMTRACE_BLESS=1 cargo test -p memtrace --lib screen` writes what is drawn now.

use std::{fs, path::PathBuf};

use ratatui::{
    crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    style::{Color, Modifier},
};

use super::{MIB, SECOND, build, building, drawn, press, process, screen};
use crate::screen::{App, Appearance, Look, Process, Request};

#[track_caller]
fn assert_drawn(name: &str, shown: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("src/screen/testing/screens")
        .join(name)
        .with_extension("txt");
    if std::env::var_os("MEMTRACE_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, shown).expect("the file can be written");
        return;
    }
    let expected = fs::read_to_string(&path).expect("a file; MEMTRACE_BLESS=1 makes it");
    let differs = expected.lines().zip(shown.lines()).find(|(a, b)| a != b);
    assert!(
        expected == shown,
        "{name} is not what is drawn, first {differs:?}; see the head of this file\n{shown}"
    );
}

/// What a look is like at the usual size, and on a larger terminal.
#[test]
fn a_build() {
    let mut app = building();
    assert_drawn("flat-80x24", &screen(&mut app, 80, 24));
    assert_drawn("flat-120x40", &screen(&mut app, 120, 40));
    press(&mut app, "t");
    assert_drawn("tree-80x24", &screen(&mut app, 80, 24));
    press(&mut app, "g1");
    assert_drawn("alike-80x24", &screen(&mut app, 80, 24));
}

/// A long command is told whole where there is room.
#[test]
fn long_commands_are_wrapped() {
    let mut app = App::new("long".to_owned());
    let command = format!("cc {}end", "-I/usr/include ".repeat(10));
    app.take(Look {
        processes: vec![process(1, "cc", &command, MIB)],
        ..Look::default()
    });
    press(&mut app, "\n");
    let shown = screen(&mut app, 80, 30);
    let packed = |text: &str| text.split_whitespace().collect::<String>();
    assert!(packed(&shown).contains(&packed(&command)), "{shown}");
    assert!(shown.contains(" parents   none"), "{shown}");
}

/// What covers the table.
#[test]
fn overlays() {
    let mut app = building();
    press(&mut app, "?");
    assert_drawn("help-80x24", &screen(&mut app, 80, 24));
    press(&mut app, "?v\n");
    assert_drawn("details-80x24", &screen(&mut app, 80, 24));
    press(&mut app, "\n/cc1");
    assert_drawn("filter-80x24", &screen(&mut app, 80, 24));
}

/// In ASCII nothing else is drawn.
#[test]
fn ascii() {
    let mut app = building().with_appearance(Appearance {
        colours: false,
        unicode: false,
    });
    press(&mut app, "t");
    let shown = screen(&mut app, 80, 24);
    assert!(shown.is_ascii(), "{shown}");
    assert_drawn("ascii-80x24", &shown);
}

/// While paused nothing moves; going back shows what was then.
#[test]
fn pausing_and_going_back() {
    let mut app = building();
    press(&mut app, " ");
    let paused = screen(&mut app, 80, 24);
    for look in 31..=40 {
        app.take(build(look));
    }
    assert_eq!(screen(&mut app, 80, 24), paused);
    for _ in 0..18 {
        press(&mut app, "<");
    }
    assert_drawn("back-80x24", &screen(&mut app, 80, 24));
    press(&mut app, " ");
    let now = screen(&mut app, 80, 24);
    assert!(now.contains("40.0 s") && now.contains("41 ended"), "{now}");
}

/// Far back the total is known, and it is said that no processes are.
#[test]
fn far_back() {
    let mut app = building();
    for look in 31..=300 {
        app.take(build(look));
    }
    press(&mut app, "4");
    screen(&mut app, 80, 24);
    for _ in 0..60 {
        press(&mut app, "<");
    }
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("of this moment are not kept"), "{shown}");
}

/// What is too small says so; a little larger has what matters most.
#[test]
fn small_terminals() {
    assert_eq!(screen(&mut building(), 1, 1), "t\n");
    assert_eq!(screen(&mut building(), 12, 3), "too small\n\n\n");
    assert_drawn("flat-40x10", &screen(&mut building(), 40, 10));
}

/// Before the first look there is something to look at.
#[test]
fn nothing_yet() {
    let shown = screen(&mut App::new("true".to_owned()), 80, 24);
    assert!(shown.contains("no processes"), "{shown}");
}

/// What is not exact cannot be overlooked, on any size and without colours.
#[test]
fn losses_are_told() {
    for (lost, off, words) in [
        (17, 0, "not exact: 17 lost"),
        (17, 4096, "not exact: 17 lost"),
        (0, 3 * MIB, "within 3.0 MiB"),
        (0, u64::MAX, "not exact"),
    ] {
        for (width, height) in [(80, 24), (60, 10), (30, 16), (30, 8)] {
            let mut app = App::new("true".to_owned());
            app.take(Look {
                lost,
                off,
                ..build(0)
            });
            let shown = screen(&mut app, width, height);
            assert!(shown.contains(words), "{shown}");
            assert!(
                !shown.contains(" exact \n") || words == "not exact",
                "{shown}"
            );
        }
    }
}

/// Without colours there are none, but what is chosen is still seen.
#[test]
fn no_colours() {
    let mut app = building().with_appearance(Appearance {
        colours: false,
        unicode: true,
    });
    for keys in ["", "t", "g", "\n", "\n?"] {
        press(&mut app, keys);
        let buffer = drawn(&mut app, 100, 30);
        for cell in buffer.content() {
            assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset));
        }
        let reversed = |modifier: Modifier| modifier.contains(Modifier::REVERSED);
        assert!(buffer.content().iter().any(|cell| reversed(cell.modifier)));
    }
    let coloured = drawn(&mut building(), 100, 30);
    assert!(
        coloured
            .content()
            .iter()
            .any(|cell| cell.fg != Color::Reset)
    );
}

/// Names do what names do, nothing else; wide ones stay in their place.
#[test]
fn names_are_harmless() {
    let mut app = App::new("evil\u{1b}[2Jtitle".to_owned());
    let names = [
        "a\u{1b}]0;x\u{7}b",
        "\u{202e}gpj",
        "日本語日本語日本語日本語",
        "c\nd",
    ];
    app.take(Look {
        at_ns: SECOND,
        rss: MIB,
        peak_rss: MIB,
        alive: 4,
        updates: Some(0),
        processes: (0..)
            .zip(names)
            .map(|(id, name)| Process {
                parent: Some(0),
                ..process(id, name, "", MIB)
            })
            .collect(),
        ..Look::default()
    });
    for keys in ["", "t", "g", "\n", "\n"] {
        press(&mut app, keys);
        let shown = screen(&mut app, 80, 24);
        let hostile = |c: char| c != '\n' && crate::report::escape::is_hostile(c);
        assert!(!shown.contains(hostile), "{shown:?}");
        assert!(shown.contains(r"evil\u{1b}[2Jtitle"), "{shown}");
    }
    press(&mut app, "g");
    assert_drawn("names-80x24", &screen(&mut app, 80, 24));
}

/// Commands are told with what is hostile in them, visibly, in the table and in details.
#[test]
fn commands_are_harmless() {
    let mut app = App::new("evil".to_owned());
    app.take(Look {
        processes: vec![process(1, "sh", "sh \u{1b}[2J\u{202e}", MIB)],
        ..Look::default()
    });
    for keys in ["", "\n"] {
        press(&mut app, keys);
        let shown = screen(&mut app, 120, 40);
        assert!(shown.contains(r"sh \u{1b}[2J\u{202e}"), "{shown}");
    }
}

/// Only what the caller has to do is asked of it, and only once for each key.
#[test]
fn requests() {
    let key = |code, modifiers| KeyEvent::new(code, modifiers);
    let none = KeyModifiers::NONE;
    let mut app = building();
    assert_eq!(
        app.key(key(KeyCode::Char('w'), none)),
        Some(Request::Report)
    );
    app.say("report written to \u{1b}x".to_owned());
    let shown = screen(&mut app, 80, 24);
    assert!(shown.ends_with("report written to \\u{1b}x\n"), "{shown}");
    assert_eq!(app.key(key(KeyCode::Char('q'), none)), Some(Request::Quit));
    let mut released = key(KeyCode::Char('q'), none);
    released.kind = KeyEventKind::Release;
    assert_eq!(app.key(released), None);
    // What is typed is no command, but there is always a way out.
    press(&mut app, "/qw");
    assert_eq!(
        app.key(key(KeyCode::Char('c'), KeyModifiers::CONTROL)),
        Some(Request::Quit)
    );
}

/// The one that is selected stays so, wherever it moves to.
#[test]
fn the_selected_one_stays() {
    let mut app = building();
    press(&mut app, "v");
    let selected = |app: &App| app.selection.key.clone();
    let before = selected(&app);
    press(&mut app, "ssr");
    screen(&mut app, 80, 24);
    assert!(before.is_some());
    assert_eq!(selected(&app), before);
    let rows = app.rows();
    assert_eq!(Some(&rows[app.selection.place].key), before.as_ref());
}

/// Ended ones are hidden, shown again and forgotten; how many there were stays known.
#[test]
fn ended_ones() {
    let mut app = building();
    let shells = |app: &mut App| screen(app, 80, 60).matches("/bin/sh").count();
    assert_eq!(shells(&mut app), 31);
    press(&mut app, "e");
    assert_eq!(shells(&mut app), 0);
    press(&mut app, "eC");
    assert_eq!(shells(&mut app), 0);
    app.take(build(31));
    assert_eq!(shells(&mut app), 1);
    assert!(screen(&mut app, 80, 24).contains("32 ended"));
}
