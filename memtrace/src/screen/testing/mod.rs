//! Screens as they are to look, and what holds for whatever is told and pressed.

mod batch;
mod history;
mod properties;
mod screens;
mod terminal;

use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::Buffer,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};

use super::{App, Look, Process};

const MIB: u64 = 1 << 20;
const SECOND: u64 = 1_000_000_000;

fn process(id: u64, name: &str, command: &str, res: u64) -> Process {
    Process {
        id,
        pid: 4_000 + i32::try_from(id).expect("small"),
        name: name.to_owned(),
        command: command.to_owned(),
        res,
        shr: res / 4,
        virt: res * 3,
        peak: res,
        ..Process::default()
    }
}

/// A build: a make, two compilers that grow, and short shells.
fn build(look: u64) -> Look {
    let at_ns = look * SECOND;
    let grown = |from: u64, to: u64| from + (to - from) * look.min(30) / 30;
    let compiler = |id: u64, res: u64| Process {
        parent: Some(1),
        started_ns: 2 * SECOND,
        peak_at_ns: at_ns,
        ..process(id, "cc1plus", &format!("cc1plus -O2 part{id}.cc"), res)
    };
    let mut processes = vec![process(1, "make", "make -j8", 6 * MIB)];
    let mut rss = 6 * MIB;
    if look >= 2 {
        let (a, b) = (grown(10, 640) * MIB, grown(5, 172) * MIB);
        processes.extend([compiler(2, a), compiler(3, b)]);
        rss += a + b;
    }
    if look == 12 {
        rss += 700 * MIB;
    }
    let newly_ended = vec![Process {
        parent: Some(1),
        started_ns: at_ns.saturating_sub(SECOND / 20),
        ended_ns: Some(at_ns),
        peak: (look % 7 + 1) * MIB,
        peak_at_ns: at_ns,
        ..process(100 + look, "sh", "/bin/sh -c 'true'", 0)
    }];
    let (peak_rss, peak_at_ns) = if look >= 12 {
        (1_200 * MIB, 12 * SECOND - SECOND / 2)
    } else {
        (rss, at_ns)
    };
    Look {
        at_ns,
        rss,
        peak_rss,
        peak_at_ns,
        limit: Some(1_536 * MIB),
        alive: processes.len() as u64,
        ended: look + 1,
        updates: Some(look * 12_345),
        lost: 0,
        off: 0,
        processes,
        newly_ended,
    }
}

/// A build that has been running for half a minute.
fn building() -> App {
    let mut app = App::new("make -j8".to_owned());
    for look in 0..=30 {
        app.take(build(look));
    }
    app
}

fn drawn(app: &mut App, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| app.draw(frame)).expect("drawn");
    terminal.backend().buffer().clone()
}

/// What is on a screen, without styles and without spaces at ends of lines.
fn text(buffer: &Buffer) -> String {
    let mut out = String::new();
    for y in 0..buffer.area.height {
        let mut line = String::new();
        let mut x = 0;
        while x < buffer.area.width {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            // Behind a wide character there is an empty cell that is not shown.
            x += u16::try_from(super::text::width(symbol))
                .expect("narrow")
                .max(1);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn screen(app: &mut App, width: u16, height: u16) -> String {
    text(&drawn(app, width, height))
}

fn press(app: &mut App, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '<' => KeyCode::Left,
            '>' => KeyCode::Right,
            '^' => KeyCode::Up,
            'v' => KeyCode::Down,
            key => KeyCode::Char(key),
        };
        assert_eq!(app.key(KeyEvent::new(code, KeyModifiers::NONE)), None);
    }
}
