//! Processes below those that created them.

use std::collections::{HashMap, HashSet};

use super::{
    rows::{Key, Row, is_looked_for},
    scene::Scene,
    view::View,
};

/// Levels that are indented: who creates one process after another is not to fill the screen, or
/// the memory.
const INDENTED: usize = 16;

/// Puts rows in the order of a tree, with siblings sorted, and leaves out those that are not
/// looked for unless one below them is.
pub(super) fn rows<'a>(
    mut rows: Vec<Row<'a>>,
    scene: &Scene,
    view: &View,
    unicode: bool,
) -> Vec<Row<'a>> {
    // Places then are in the order of siblings.
    rows.sort_by(|a, b| view.order(a, b));
    let places: HashMap<u64, usize> = rows
        .iter()
        .enumerate()
        .filter_map(|(place, row)| Some((id(row)?, place)))
        .collect();
    let parents = parents(&rows, &places, scene);
    let shown = shown(&rows, &parents, view);
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); rows.len()];
    let mut roots = Vec::new();
    for (place, parent) in parents.iter().enumerate() {
        if !shown.contains(&place) {
            continue;
        }
        match parent.and_then(|parent| children.get_mut(parent)) {
            Some(siblings) => siblings.push(place),
            None => roots.push(place),
        }
    }
    let mut taken: Vec<Option<Row<'a>>> = rows.into_iter().map(Some).collect();
    let mut out = Vec::with_capacity(shown.len());
    // Whoever is told to be among its own ancestors is below no root.
    for start in roots.into_iter().chain(0..taken.len()) {
        if shown.contains(&start) {
            descend(start, &children, &mut taken, unicode, &mut out);
        }
    }
    out
}

/// What is still to be drawn: a place, the bars before it, and how it hangs on them.
struct Next {
    place: usize,
    bars: String,
    level: usize,
    is_last: bool,
}

fn descend<'a>(
    start: usize,
    children: &[Vec<usize>],
    taken: &mut [Option<Row<'a>>],
    unicode: bool,
    out: &mut Vec<Row<'a>>,
) {
    let [fork, end, bar] = if unicode {
        ["├─ ", "└─ ", "│  "]
    } else {
        ["|- ", "`- ", "|  "]
    };
    let mut stack = vec![Next {
        place: start,
        bars: String::new(),
        level: 0,
        is_last: true,
    }];
    while let Some(next) = stack.pop() {
        let Some(mut row) = taken.get_mut(next.place).and_then(Option::take) else {
            continue;
        };
        let mut bars = next.bars;
        if next.level > 0 {
            row.branch = format!("{bars}{}", if next.is_last { end } else { fork });
            if next.level < INDENTED {
                bars.push_str(if next.is_last { "   " } else { bar });
            }
        }
        out.push(row);
        let below = children.get(next.place).map_or(&[][..], Vec::as_slice);
        // The first sibling comes off the stack first.
        for (i, place) in below.iter().rev().enumerate() {
            stack.push(Next {
                place: *place,
                bars: bars.clone(),
                level: next.level + 1,
                is_last: i == 0,
            });
        }
    }
}

const fn id(row: &Row<'_>) -> Option<u64> {
    match row.key {
        Key::Process(id) => Some(id),
        Key::Alike(_) | Key::Counted(_) => None,
    }
}

/// The place of the closest ancestor that has a row.
fn parents(rows: &[Row<'_>], places: &HashMap<u64, usize>, scene: &Scene) -> Vec<Option<usize>> {
    // Also of those that ended and have no row.
    let creators: HashMap<u64, u64> = scene
        .ended
        .processes()
        .filter_map(|process| Some((process.id, process.parent?)))
        .collect();
    rows.iter()
        .map(|row| {
            let mut parent = row.process?.parent?;
            for _ in 0..=creators.len() {
                match places.get(&parent) {
                    Some(place) => return Some(*place),
                    None => parent = *creators.get(&parent)?,
                }
            }
            None
        })
        .collect()
}

/// The places of those that are looked for, and of their ancestors.
fn shown(rows: &[Row<'_>], parents: &[Option<usize>], view: &View) -> HashSet<usize> {
    let mut shown = HashSet::new();
    for (place, row) in rows.iter().enumerate() {
        if !is_looked_for(row, view) {
            continue;
        }
        let mut next = Some(place);
        while let Some(place) = next {
            if !shown.insert(place) {
                break;
            }
            next = parents.get(place).copied().flatten();
        }
    }
    shown
}
