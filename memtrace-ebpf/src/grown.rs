//! What a window lacks while values grow.
//!
//! Most changes are increases, and each of them would raise the window's largest values. Nothing of a window is
//! written then: what an image or its tree has grown to is what it holds, until something of it falls. So the
//! programs take it into the window just before that ([`Image::keep_growth`], [`Tree::keep_growth`]), and before
//! the window is sent; who reads a window that is still open takes it in as well ([`Image::complete_window`],
//! [`Tree::complete_window`]). No comparison is lost: between two falls the largest value is the last one.

use core::cmp::{max, min};

use crate::{Image, MEMBERS, Member, Pages, Tree, rss};

/// When RSS changed last, from until when each member is integrated: that is up to its last change.
#[inline(always)]
fn changed_at(integral_at: &[u64; MEMBERS]) -> u64 {
    let [file, anon, _, shmem] = *integral_at;
    max(file, max(anon, shmem))
}

#[inline(always)]
fn raise(largest: &mut Pages, to: &Pages) {
    for member in 0..MEMBERS {
        if to[member] > largest[member] {
            largest[member] = to[member];
        }
    }
}

/// So many changes, as far as the number fits; at least the one that the window was opened for, which can be one of
/// sizes.
#[inline(always)]
fn count(changes: u64) -> u32 {
    max(1, min(changes, u32::MAX as u64) as u32)
}

const _: () = assert!(Member::Swap as usize == 2);

impl Image {
    /// Takes into the open window's maxima what the image has grown to. To be called before anything of it falls.
    #[inline(always)]
    pub fn keep_growth(&mut self) {
        raise(&mut self.window.max, &self.cur);
        let resident = rss(&self.cur);
        if resident > self.window.max_rss {
            self.window.max_rss = resident;
            self.window.max_rss_at = max(changed_at(&self.integral_at), self.window.start);
        }
    }

    /// Completes the window that is open, if one is, as of the image's last change: before it is sent, or
    /// after it was read.
    #[inline(always)]
    pub fn complete_window(&mut self) {
        if self.window.updates == 0 {
            return;
        }
        self.keep_growth();
        // A reading that was booked after a later one can have been the image's peak.
        if self.peak_rss > self.window.max_rss && self.peak_rss_at >= self.window.start {
            self.window.max_rss = self.peak_rss;
            self.window.max_rss_at = self.peak_rss_at;
        }
        self.window.last = self.cur;
        let changed_at = max(
            changed_at(&self.integral_at),
            self.integral_at[Member::Swap as usize],
        );
        self.window.header.at = max(self.window.header.at, changed_at);
        self.window.updates = count(self.events.saturating_sub(self.events_before));
    }
}

impl Tree {
    /// Takes into the open window's maxima what the tree has grown to, as a new maximum. To be called before anything of
    /// it falls.
    #[inline(always)]
    pub fn keep_growth(&mut self) {
        raise(&mut self.window.max, &self.cur);
        if self.rss > self.window.max_rss {
            self.window.max_rss = self.rss;
            self.window.max_rss_at = max(changed_at(&self.integral_at), self.window.start);
            self.window.at_max = self.cur;
            self.window.seq += 1;
        }
    }

    /// Completes the window that is open, if one is, as of the tree's last change: before it is sent, or after it
    /// was read.
    #[inline(always)]
    pub fn complete_window(&mut self) {
        if self.window.updates == 0 {
            return;
        }
        self.keep_growth();
        self.window.last = self.cur;
        self.window.shared = self.shared;
        self.window.uncertain = self.uncertain;
        self.window.header.at = max(self.window.header.at, self.latest);
        self.window.updates = count(self.events.saturating_sub(self.events_before)) as u64;
    }
}
