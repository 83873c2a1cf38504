// SPDX-License-Identifier: GPL-2.0

//! Descriptors as text, for debugfs: a line each, as the upstream driver writes them.
//!
//! Numbers are hexadecimal, and the fields are taken as they are: what is in them may be anything.
//!
//! This file uses `core` only, so that it can be tested outside of the kernel.

use core::fmt::{
    Formatter,
    Result, //
};

use super::desc::Field;

/// The columns of work descriptors. What comes last depends on the type.
pub const TWD_COLUMNS: &str = "DESC LEN/MSS T METADATA/TIMESTAMP/BUFFER_ADDR";
/// The columns of transmit completions.
pub const TCD_COLUMNS: &str = "DESC D T Q STATUS TIMESTAMP        HEAD1  HEAD0 ";
/// The columns of buffer descriptors.
pub const BD_COLUMNS: &str = "DESC ID   BUFFER_ADDR";
/// What stands above the columns of receive completions.
pub const RCD_ABOVE: &str = "           OFFSET/ L L";
/// The columns of receive completions, the flags with a letter each.
pub const RCD_COLUMNS: &str = "DESC D T F C M T P 4 3 LEN/CSUM ID/TS/RSS";

type Done = Field<63, 63>;

/// Writes work descriptor `index`.
pub fn twd(out: &mut Formatter<'_>, index: usize, raw: u64) -> Result {
    let (len, kind) = (Field::<63, 48>::get(raw), Field::<47, 46>::get(raw));
    write!(out, "{index:04x} {len:#06x}  {kind:x} ")?;
    if kind != 0 {
        return writeln!(out, "{:#014x}", Field::<45, 0>::get(raw));
    }
    let completion = Field::<37, 37>::get(raw);
    let (cso, lso, ts) = (
        Field::<36, 36>::get(raw),
        Field::<35, 35>::get(raw),
        Field::<34, 34>::get(raw),
    );
    write!(out, "{completion:x} {cso:x} {lso:x} {ts:x} ")?;
    let (l4_hlen, csum_offset) = (Field::<31, 28>::get(raw), Field::<27, 24>::get(raw));
    let l4_type = Field::<33, 32>::get(raw);
    write!(out, "{l4_hlen:#x} {csum_offset:#x} {l4_type:x} ")?;
    let (l3_ihlen, l3_ohlen) = (Field::<23, 16>::get(raw), Field::<15, 8>::get(raw));
    let (l3_type, l2_hlen) = (Field::<7, 6>::get(raw), Field::<5, 0>::get(raw));
    writeln!(
        out,
        "{l3_ihlen:#04x} {l3_ohlen:#04x} {l3_type:x} {l2_hlen:#04x}"
    )
}

/// Writes transmit completion `index`, or nothing if it is of a type that there is not.
pub fn tcd(out: &mut Formatter<'_>, index: usize, raw: u64) -> Result {
    let kind = Field::<62, 61>::get(raw);
    if kind > 1 {
        return Ok(());
    }
    let (done, twq1) = (Done::get(raw), Field::<60, 60>::get(raw));
    let status = Field::<59, 48>::get(raw);
    write!(out, "{index:04x} {done:x} {kind:x} {twq1:x} {status:#05x} ")?;
    if kind == 1 {
        return writeln!(out, " {:#012x}", Field::<39, 0>::get(raw));
    }
    let (head1, head0) = (Field::<31, 16>::get(raw), Field::<15, 0>::get(raw));
    writeln!(out, "{:17} {head1:#06x} {head0:#06x}", "")
}

/// Writes buffer descriptor `index`. The address is shown as the number of its 4 KiB.
pub fn bd(out: &mut Formatter<'_>, index: usize, raw: u64) -> Result {
    let (id, page) = (Field::<63, 48>::get(raw), Field::<45, 12>::get(raw));
    writeln!(out, "{index:04x} {id:#04x} {page:#014x}")
}

/// Writes receive completion `index`.
pub fn rcd(out: &mut Formatter<'_>, index: usize, raw: u64) -> Result {
    let kind = Field::<62, 61>::get(raw);
    write!(out, "{index:04x} {:x} {kind:x} ", Done::get(raw))?;
    match kind {
        0 | 1 => {
            let (fin, off) = (Field::<60, 60>::get(raw), Field::<43, 32>::get(raw));
            let (len, id) = (Field::<28, 16>::get(raw), Field::<15, 0>::get(raw));
            writeln!(out, "{fin:x} {off:#06x}      {len:#06x}   {id:#06x}")
        }
        2 => {
            let (meta, ts) = (Field::<60, 59>::get(raw), Field::<58, 58>::get(raw));
            let (has_action, action) = (Field::<57, 57>::get(raw), Field::<45, 40>::get(raw));
            let stamp = Field::<39, 0>::get(raw);
            writeln!(
                out,
                "{meta:x} {ts:x} {has_action:x}      {action:#06x}   {stamp:#012x}"
            )
        }
        _ => {
            let (ecn, checked) = (Field::<60, 60>::get(raw), Field::<52, 52>::get(raw));
            let (mac, cut, parser) = (
                Field::<53, 53>::get(raw),
                Field::<54, 54>::get(raw),
                Field::<55, 55>::get(raw),
            );
            write!(out, "{ecn:x} {checked:x} {mac:x} {cut:x} {parser:x} ")?;
            let (l4, l3) = (Field::<51, 50>::get(raw), Field::<49, 48>::get(raw));
            let (csum, hash) = (Field::<47, 32>::get(raw), Field::<31, 0>::get(raw));
            writeln!(out, "{l4:x} {l3:x} {csum:#06x}   {hash:#010x}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Display;

    struct Line(fn(&mut Formatter<'_>, usize, u64) -> Result, usize, u64);

    impl Display for Line {
        fn fmt(&self, out: &mut Formatter<'_>) -> Result {
            (self.0)(out, self.1, self.2)
        }
    }

    fn line(what: fn(&mut Formatter<'_>, usize, u64) -> Result, index: usize, raw: u64) -> String {
        Line(what, index, raw).to_string()
    }

    #[test]
    fn work() {
        assert_eq!(
            line(twd, 0x1f, 0),
            "001f 0x0000  0 0 0 0 0 0x0 0x0 0 0x00 0x00 0 0x00\n"
        );
        let meta = 0x05a8 << 48 | 0b1011 << 34 | 1 << 32 | 5 << 28 | 8 << 24 | 0x0a_14_47;
        assert_eq!(
            line(twd, 1, meta),
            "0001 0x05a8  0 1 0 1 1 0x5 0x8 1 0x0a 0x14 1 0x07\n"
        );
        let last = 0x3c << 48 | 3 << 46 | 0x1234_5678;
        assert_eq!(line(twd, 0x3ff, last), "03ff 0x003c  3 0x000012345678\n");
        assert_eq!(line(twd, 0, !0), "0000 0xffff  3 0x3fffffffffff\n");
    }

    #[test]
    fn transmit_completions() {
        let heads = 1 << 63 | 1 << 60 | 3 << 48 | 0xabcd << 16 | 0x12;
        assert_eq!(
            line(tcd, 2, heads),
            "0002 1 0 1 0x003                   0xabcd 0x0012\n"
        );
        let stamp = 1 << 61 | 0x12_3456_789a;
        assert_eq!(line(tcd, 2, stamp), "0002 0 1 0 0x000  0x123456789a\n");
        assert_eq!(line(tcd, 2, 2 << 61), "");
        assert_eq!(line(tcd, 2, !0), "");
    }

    #[test]
    fn buffers() {
        assert_eq!(
            line(bd, 7, 7 << 48 | 0x2abc_d000),
            "0007 0x07 0x00000002abcd\n"
        );
        assert_eq!(line(bd, 0xffff, !0), "ffff 0xffff 0x0003ffffffff\n");
    }

    #[test]
    fn receive_completions() {
        let header = 1 << 63 | 1 << 60 | 0x100 << 32 | 98 << 16 | 5;
        assert_eq!(
            line(rcd, 0, header),
            "0000 1 0 1 0x0100      0x0062   0x0005\n"
        );
        let payload = 1 << 61 | 0xfff << 32 | 0x1fff << 16 | 0xffff;
        assert_eq!(
            line(rcd, 1, payload),
            "0001 0 1 0 0x0fff      0x1fff   0xffff\n"
        );
        let more = 2 << 61 | 1 << 59 | 1 << 58 | 0x21 << 40 | 0x55;
        assert_eq!(
            line(rcd, 2, more),
            "0002 0 2 1 1 0      0x0021   0x0000000055\n"
        );
        let end = 3 << 61 | 1 << 52 | 1 << 50 | 2 << 48 | 0xbeef << 32 | 0x1234_5678;
        assert_eq!(
            line(rcd, 3, end),
            "0003 0 3 0 1 0 0 0 1 2 0xbeef   0x12345678\n"
        );
        assert_eq!(
            line(rcd, 3, !0),
            "0003 1 3 1 1 1 1 1 3 3 0xffff   0xffffffff\n"
        );
    }
}
