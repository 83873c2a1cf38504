// SPDX-License-Identifier: GPL-2.0

//! The register dump of `ethtool -d`.
//!
//! A sequence of sections, each of them the numbers of its first and last register followed by
//! their values. Numbers count 32-bit registers. The tables of the classifier cannot be read in
//! the order of their addresses and come last, entry by entry.

use crate::fbnic_csr::Csr;

/// Version of the format.
const VERSION: u32 = 1;

/// First and last register of each section that is read in order.
const SECTIONS: [(u32, u32); 19] = [
    (0x00000, 0x0005f), // INTR
    (0x00400, 0x007fe), // INTR_CQ
    (0x00800, 0x00873), // QM_TX
    (0x00c00, 0x00c34), // QM_RX
    (0x04000, 0x04050), // TCE
    (0x04200, 0x0421f), // TCE_RAM
    (0x04400, 0x0443f), // TMI
    (0x04800, 0x0480d), // PTP
    (0x08000, 0x081b1), // RXB
    (0x08400, 0x0856b), // RPC
    (0x0c000, 0x0c020), // FAB
    (0x0c400, 0x0c452), // MASTER
    (0x10000, 0x10668), // PCS
    (0x10800, 0x108c8), // RSFEC
    (0x11000, 0x11028), // MAC
    (0x11800, 0x1184e), // SIG
    (0x2442e, 0x279d7), // PCIE_SS_COMPHY
    (0x31000, 0x310ea), // PUL_USER
    (0x40000, 0x5ffff), // QUEUE
];

/// First register of the classifier's tables, and the one after their last.
const RPC_RAM: (u32, u32) = (0x08800, 0x08f20);

/// A table of the classifier: word `w` of entry `e` is register `first + w * words_apart + e *
/// entries_apart`.
struct Table {
    first: u32,
    entries: u32,
    words: u32,
    words_apart: u32,
}

/// The tables in the order of the dump. Entries are one register apart.
const TABLES: [Table; 7] = [
    table(0x08880, 64, 14, 0x40),  // RPC_TCAM_ACT
    table(0x08b80, 32, 4, 0x20),   // RPC_TCAM_MACDA
    table(0x08c00, 8, 9, 0x08),    // RPC_TCAM_OUTER_IPSRC
    table(0x08c48, 8, 9, 0x08),    // RPC_TCAM_OUTER_IPDST
    table(0x08c90, 8, 9, 0x08),    // RPC_TCAM_IPSRC
    table(0x08cd8, 8, 9, 0x08),    // RPC_TCAM_IPDST
    table(0x08d20, 256, 2, 0x100), // RPC_RSS_TBL
];

const fn table(first: u32, entries: u32, words: u32, words_apart: u32) -> Table {
    Table {
        first,
        entries,
        words,
        words_apart,
    }
}

/// All registers of the dump in order, without the numbers that open a section.
fn rpc_ram() -> impl Iterator<Item = u32> {
    TABLES.iter().flat_map(|table| {
        (0..table.entries).flat_map(move |entry| {
            (0..table.words).map(move |word| table.first + word * table.words_apart + entry)
        })
    })
}

/// Returns the length of the dump in 32-bit words.
pub(super) fn len() -> usize {
    let linear: u32 = SECTIONS.iter().map(|(first, last)| last - first + 3).sum();
    let tables: u32 = TABLES.iter().map(|table| table.entries * table.words).sum();

    // CAST: Widening.
    (linear + tables + 2) as usize
}

/// Reads the registers into `out` and returns the version of the format.
pub(super) fn dump(csr: &Csr, out: &mut [u32]) -> u32 {
    // CAST: Widening.
    let read = |number: u32| csr.read32(number as usize * size_of::<u32>());

    let sections = SECTIONS
        .iter()
        .flat_map(|&(first, last)| [first, last].into_iter().chain((first..=last).map(read)));
    let tables = [RPC_RAM.0, RPC_RAM.1]
        .into_iter()
        .chain(rpc_ram().map(read));
    for (to, from) in out.iter_mut().zip(sections.chain(tables)) {
        *to = from;
    }
    VERSION
}
