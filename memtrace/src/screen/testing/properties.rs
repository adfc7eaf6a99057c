//! What holds for whatever is told, pressed and resized.

use proptest::{collection::vec, prelude::*};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{drawn, text};
use crate::screen::{
    App, Look, Process,
    ended::{LARGEST, LATEST, NAMES},
    history::{LOOKS, SPANS},
};

#[derive(Debug, Clone)]
enum Step {
    Look(Look),
    Key(KeyCode),
    Draw(u16, u16),
}

fn some_process() -> impl Strategy<Value = Process> {
    let amount = || prop_oneof![0..1_u64 << 32, Just(u64::MAX)];
    (
        (0..30_u64, proptest::option::of(0..30_u64), any::<i32>()),
        (".{0,6}", ".{0,40}"),
        (amount(), amount(), amount(), proptest::option::of(amount())),
    )
        .prop_map(
            |((id, parent, pid), (name, command), (a, b, c, ended_ns))| Process {
                id,
                pid,
                parent,
                name,
                command,
                started_ns: a,
                before_ns: b,
                ended_ns,
                res: b,
                shr: c,
                swap: a,
                virt: b,
                peak: c,
                peak_at_ns: a,
            },
        )
}

fn some_look() -> impl Strategy<Value = Look> {
    let amount = || prop_oneof![0..1_u64 << 36, Just(u64::MAX)];
    (
        (amount(), amount(), amount(), amount()),
        (proptest::option::of(amount()), 0..3_u64),
        (vec(some_process(), 0..12), vec(some_process(), 0..12)),
    )
        .prop_map(
            |((at_ns, rss, peak_rss, peak_at_ns), (limit, lost), (processes, newly_ended))| Look {
                at_ns,
                rss,
                peak_rss,
                peak_at_ns,
                limit,
                alive: processes.len() as u64,
                ended: newly_ended.len() as u64,
                updates: Some(rss),
                lost,
                off: rss,
                processes,
                newly_ended,
            },
        )
}

fn some_key() -> impl Strategy<Value = KeyCode> {
    use KeyCode::{Backspace, Down, End, Enter, Esc, Home, Left, PageDown, PageUp, Right, Up};
    prop_oneof![
        proptest::sample::select(" jkstgreC/?1234aw\u{1b}日x".chars().collect::<Vec<_>>())
            .prop_map(KeyCode::Char),
        proptest::sample::select(vec![
            Backspace, Down, End, Enter, Esc, Home, Left, PageDown, PageUp, Right, Up
        ]),
    ]
}

fn some_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        some_look().prop_map(Step::Look),
        some_key().prop_map(Step::Key),
        some_key().prop_map(Step::Key),
        (1..140_u16, 1..50_u16).prop_map(|(width, height)| Step::Draw(width, height)),
    ]
}

/// How many ended ones the table has, each row for as many as it is of.
fn ended(app: &App) -> u64 {
    let rows = app.rows();
    rows.iter().map(|row| row.count - row.alive).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Nothing panics, nothing hostile is drawn, and small screens are no exception.
    #[test]
    fn anything_can_happen(steps in vec(some_step(), 1..40)) {
        let mut app = App::new("anything".to_owned());
        for step in steps {
            match step {
                Step::Look(look) => app.take(look),
                Step::Key(code) => {
                    app.key(KeyEvent::new(code, KeyModifiers::NONE));
                }
                Step::Draw(width, height) => {
                    let shown = text(&drawn(&mut app, width, height));
                    let hostile = |c: char| c != '\n' && crate::report::escape::is_hostile(c);
                    prop_assert!(!shown.contains(hostile), "{shown:?}");
                }
            }
        }
    }

    /// However many end, each is shown, on its own or counted, in every layout; and what is kept
    /// for that is bounded.
    #[test]
    fn all_that_ended_are_counted(
        looks in vec((0..900_usize, 0..700_u64), 1..12),
        names in 1..1_500_u64,
    ) {
        let mut app = App::new("many".to_owned());
        let mut told: u64 = 0;
        for (at, (count, peak)) in (1..).zip(looks) {
            let newly_ended = (0..count as u64)
                .map(|i| Process {
                    id: told + i,
                    name: format!("name {}", (told + i) % names),
                    peak: peak * i % 997,
                    ended_ns: Some(at),
                    ..Process::default()
                })
                .collect();
            told += count as u64;
            app.take(Look { at_ns: at, ended: told, newly_ended, ..Look::default() });
        }
        let (rows, points) = app.kept();
        prop_assert!(rows <= LATEST + LARGEST + NAMES + 1);
        prop_assert!(points <= LOOKS + SPANS);
        for key in ['x', 't', 'g'] {
            app.key(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE));
            prop_assert_eq!(ended(&app), told);
        }
    }
}
