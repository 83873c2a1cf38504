// SPDX-License-Identifier: GPL-2.0

//! Those who wait for an answer of the firmware.
//!
//! Messages carry no sequence number: an answer is known by its type alone. So at most one request
//! of each type may be under way.
//!
//! This file uses `core` only, so that it can be tested outside of the kernel.

/// Requests that may wait for their answers at the same time, each of another type.
pub const WAITERS: usize = 4;

/// Why nobody else may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Somebody waits for an answer of this type.
    Exists,
    /// [`WAITERS`] are waiting.
    Full,
}

struct Waiter<T> {
    reply: u16,
    answer: Option<T>,
}

/// The places of those who wait. `T` is what they get.
pub struct Waiters<T> {
    slots: [Option<Waiter<T>>; WAITERS],
}

impl<T> Default for Waiters<T> {
    /// Nobody waits.
    fn default() -> Self {
        Self {
            slots: [const { None }; WAITERS],
        }
    }
}

impl<T> Waiters<T> {
    /// Reserves a place for an answer of type `reply`. It has to be released.
    pub fn reserve(&mut self, reply: u16) -> Result<usize, Refusal> {
        if self.slots.iter().flatten().any(|w| w.reply == reply) {
            return Err(Refusal::Exists);
        }
        let mut slots = self.slots.iter_mut().enumerate();
        let (index, slot) = slots
            .find(|(_, slot)| slot.is_none())
            .ok_or(Refusal::Full)?;
        *slot = Some(Waiter {
            reply,
            answer: None,
        });
        Ok(index)
    }

    /// Gives a place up. An answer that still comes finds nobody.
    pub fn release(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = None;
        }
    }

    /// Whether somebody waits for an answer of type `reply`.
    pub fn expects(&self, reply: u16) -> bool {
        self.slots.iter().flatten().any(|w| w.reply == reply)
    }

    /// Hands over an answer, in place of one that was not fetched yet: that one may have been late,
    /// meant for somebody who has given up. Returns whether somebody waits for it.
    pub fn answer(&mut self, reply: u16, answer: T) -> bool {
        let waiter = self.slots.iter_mut().flatten().find(|w| w.reply == reply);
        waiter.map(|w| w.answer = Some(answer)).is_some()
    }

    /// Fetches the answer for place `index`, if it has come.
    pub fn take(&mut self, index: usize) -> Option<T> {
        self.slots.get_mut(index)?.as_mut()?.answer.take()
    }

    /// Gives everybody who has no answer yet the one that `answer` makes.
    pub fn answer_all(&mut self, mut answer: impl FnMut() -> T) {
        for waiter in self.slots.iter_mut().flatten() {
            waiter.answer.get_or_insert_with(&mut answer);
        }
    }
}
