//! A list whose entries keep their places when others are taken out.

use std::collections::BTreeMap;

/// Entries by place, from 0 on. A place is never given again.
#[derive(Clone, Debug)]
pub(super) struct Slots<T> {
    entries: BTreeMap<usize, T>,
    next: usize,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            next: 0,
        }
    }
}

impl<T> Slots<T> {
    /// Adds an entry; its place.
    pub(super) fn push(&mut self, entry: T) -> usize {
        let place = self.next;
        self.next += 1;
        self.entries.insert(place, entry);
        place
    }

    /// How many places there are, with those of entries that were taken out.
    pub(super) const fn places(&self) -> usize {
        self.next
    }

    pub(super) fn get(&self, place: usize) -> Option<&T> {
        self.entries.get(&place)
    }

    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.entries.get_mut(&place)
    }

    pub(super) fn remove(&mut self, place: usize) {
        self.entries.remove(&place);
    }

    /// What is there, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.values()
    }

    /// The same with their places.
    pub(super) fn with_places(&self) -> impl Iterator<Item = (usize, &T)> {
        self.entries.iter().map(|(&place, entry)| (place, entry))
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;

    #[test]
    fn places_stay() {
        let mut slots = Slots::default();
        assert_eq!(
            (slots.push('a'), slots.push('b'), slots.push('c')),
            (0, 1, 2)
        );
        slots.remove(1);
        assert_eq!(slots.push('d'), 3);
        assert_eq!(slots.places(), 4);
        assert_eq!((slots.get(1), slots.get(3)), (None, Some(&'d')));
        assert!(slots.with_places().eq([(0, &'a'), (2, &'c'), (3, &'d')]));
    }
}
