// SPDX-License-Identifier: GPL-2.0

//! Which queue belongs to which NAPI context.
//!
//! This file uses `core` only, so that it can be tested outside of the kernel.

use core::num::NonZero;

/// Most NAPI contexts that may each have one queue only.
const MAX_NAPI: u16 = 128;

/// The queues that one NAPI context serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorLayout {
    /// Number of the NAPI context, from 0.
    pub napi: u16,
    tx: Stride,
    rx: Stride,
}

/// Where frames go that XDP programs send back.
///
/// A context has one such queue for all of its receive queues: the second work queue of its first
/// transmit triad, or of a triad that it has for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpLayout {
    /// Number of the triad.
    pub triad: u16,
    /// The receive queue after which the queue is counted, the context's first.
    pub rxq: u16,
}

/// Queue numbers at equal distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stride {
    first: u16,
    count: u16,
    step: u16,
}

impl Stride {
    fn iter(self) -> impl Iterator<Item = u16> {
        (0..self.count).map(move |i| self.first.saturating_add(i.saturating_mul(self.step)))
    }

    /// Returns no queues.
    const NONE: Self = Self {
        first: 0,
        count: 0,
        step: 0,
    };

    /// Returns what is for context `position` of `total` when they share `queues`.
    fn share(queues: u16, position: u16, total: NonZero<u16>) -> Self {
        match queues.checked_sub(position) {
            None | Some(0) => Self::NONE,
            Some(rest) => Self {
                first: position,
                // Every `total`th of the rest, beginning with the first.
                count: 1 + (rest - 1) / total,
                step: total.get(),
            },
        }
    }
}

impl VectorLayout {
    /// Returns the numbers of the transmit queues.
    pub fn txqs(&self) -> impl Iterator<Item = u16> {
        self.tx.iter()
    }

    /// Returns where frames that were received here are sent back, if any are received.
    pub fn xdp(&self) -> Option<XdpLayout> {
        Some(XdpLayout {
            // No other context has a transmit queue of this number.
            triad: self.txqs().next().unwrap_or(self.napi),
            rxq: self.rxqs().next()?,
        })
    }

    /// Returns the numbers of the receive queues.
    pub fn rxqs(&self) -> impl Iterator<Item = u16> {
        self.rx.iter()
    }
}

/// Spreads the queues over the NAPI contexts.
///
/// With as many contexts as queues each gets one, transmit queues first. Otherwise queue `n` goes to
/// context `n` modulo their number, so that transmit and receive queues come in pairs.
pub fn spread(num_tx: u16, num_rx: u16, num_napi: u16) -> impl Iterator<Item = VectorLayout> {
    let total = NonZero::new(num_napi).unwrap_or(NonZero::<u16>::MIN);
    let separate =
        num_napi <= MAX_NAPI && u32::from(num_napi) == u32::from(num_tx) + u32::from(num_rx);
    (0..num_napi).map(move |napi| {
        let (tx, rx) = if separate {
            // Contexts past the transmit queues have receive queues only, and the other way round.
            let rx = napi.checked_sub(num_tx);
            (
                Stride::share(num_tx, napi, total),
                rx.map_or(Stride::NONE, |rx| Stride::share(num_rx, rx, total)),
            )
        } else {
            (
                Stride::share(num_tx, napi, total),
                Stride::share(num_rx, napi, total),
            )
        };
        VectorLayout { napi, tx, rx }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the queues of each context.
    fn queues(num_tx: u16, num_rx: u16, num_napi: u16) -> Vec<(Vec<u16>, Vec<u16>)> {
        spread(num_tx, num_rx, num_napi)
            .enumerate()
            .map(|(napi, layout)| {
                assert_eq!(usize::from(layout.napi), napi);
                (layout.txqs().collect(), layout.rxqs().collect())
            })
            .collect()
    }

    #[test]
    fn pairs() {
        assert_eq!(queues(2, 2, 2), [(vec![0], vec![0]), (vec![1], vec![1])]);
        assert_eq!(
            queues(5, 3, 2),
            [(vec![0, 2, 4], vec![0, 2]), (vec![1, 3], vec![1])]
        );
        assert_eq!(queues(1, 1, 1), [(vec![0], vec![0])]);
    }

    #[test]
    fn separate() {
        assert_eq!(queues(1, 1, 2), [(vec![0], vec![]), (vec![], vec![0])]);
        assert_eq!(
            queues(1, 2, 3),
            [(vec![0], vec![]), (vec![], vec![0]), (vec![], vec![1])]
        );
    }

    /// Checks that no two contexts use the same transmit triad, nor an XDP queue that is counted
    /// twice.
    fn triads_are_distinct(num_tx: u16, num_rx: u16, num_napi: u16) {
        let mut triads = Vec::new();
        let mut counted = Vec::new();
        for layout in spread(num_tx, num_rx, num_napi) {
            let own: Vec<_> = layout.txqs().collect();
            assert_eq!(layout.xdp().is_some(), layout.rxqs().next().is_some());
            if let Some(xdp) = layout.xdp() {
                assert!(own.is_empty() || own[0] == xdp.triad);
                triads.extend(own.is_empty().then_some(xdp.triad));
                counted.push(xdp.rxq);
            }
            triads.extend(own);
        }
        for mut list in [triads, counted] {
            let before = list.len();
            list.sort_unstable();
            list.dedup();
            assert_eq!(list.len(), before);
        }
    }

    #[test]
    fn every_queue_has_one_context() {
        for num_napi in 1..=20 {
            for num_tx in 1..=20 {
                for num_rx in 1..=20 {
                    let vectors = queues(num_tx, num_rx, num_napi);
                    triads_are_distinct(num_tx, num_rx, num_napi);
                    let mut tx: Vec<_> = vectors.iter().flat_map(|v| v.0.clone()).collect();
                    let mut rx: Vec<_> = vectors.iter().flat_map(|v| v.1.clone()).collect();
                    tx.sort_unstable();
                    rx.sort_unstable();
                    assert!(tx.into_iter().eq(0..num_tx));
                    assert!(rx.into_iter().eq(0..num_rx));
                }
            }
        }
        assert!(queues(1, 1, 0).is_empty());
    }
}
