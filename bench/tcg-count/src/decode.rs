// SPDX-License-Identifier: GPL-2.0
//! The few x86-64 instruction forms the plugin has to know.

/// Longest x86 instruction, in bytes.
pub const MAX_INSN: usize = 15;

/// Recognizes the marker: a long no-operation whose 32-bit displacement is `0x504349NN`.
///
/// A program executes it to say "now" to the plugin, with a tag of its choice. Compilers pad with
/// the same instruction but a zero displacement.
pub fn marker_tag(bytes: &[u8]) -> Option<u8> {
    match *bytes {
        [0x0f, 0x1f, 0x84, 0x00, tag, 0x49, 0x43, 0x50] => Some(tag),
        _ => None,
    }
}

/// What [`branch_target`] returns for a call through a pointer.
pub const THROUGH_POINTER: u64 = 0;

/// Where the call or jump at `address` leads to, if the instruction is one that may be a call.
///
/// That is a direct near call, a direct near jump with a 32-bit displacement (a call in tail
/// position is one), and a near call through a register or memory, whose target is not known.
pub fn branch_target(address: u64, bytes: &[u8]) -> Option<u64> {
    match *bytes {
        [0xe8 | 0xe9, a, b, c, d] => {
            let displacement = i32::from_le_bytes([a, b, c, d]);
            let next = address.wrapping_add(5);
            Some(next.wrapping_add_signed(i64::from(displacement)))
        }
        // The register form may carry prefixes: REX, or DS as "no branch tracking".
        [0xff, modrm, ..] | [0x3e | 0x40..=0x4f, 0xff, modrm, ..] if (modrm >> 3) & 7 == 2 => {
            Some(THROUGH_POINTER)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marker_is_told_from_padding() {
        assert_eq!(
            marker_tag(&[0x0f, 0x1f, 0x84, 0x00, 7, 0x49, 0x43, 0x50]),
            Some(7)
        );
        assert_eq!(marker_tag(&[0x0f, 0x1f, 0x84, 0x00, 0, 0, 0, 0]), None);
        assert_eq!(marker_tag(&[0x0f, 0x1f, 0x84, 0x00, 7, 0x49, 0x43]), None);
        assert_eq!(marker_tag(&[]), None);
    }

    #[test]
    fn branches_lead_forward_and_back() {
        let at = 0xffff_ffff_c000_0100;
        assert_eq!(branch_target(at, &[0xe8, 0xfb, 0, 0, 0]), Some(at + 0x100));
        assert_eq!(branch_target(at, &[0xe9, 0xfb, 0xff, 0xff, 0xff]), Some(at));
        assert_eq!(branch_target(at, &[0xe8, 0xfb, 0, 0]), None);
        assert_eq!(branch_target(at, &[0x90]), None);
    }

    #[test]
    fn calls_through_pointers_are_seen() {
        // call *%rax; call *%r11; call *0x10(%rbx); jmp *%rax; push (%rax)
        assert_eq!(branch_target(1, &[0xff, 0xd0]), Some(THROUGH_POINTER));
        assert_eq!(branch_target(1, &[0x41, 0xff, 0xd3]), Some(THROUGH_POINTER));
        assert_eq!(branch_target(1, &[0xff, 0x53, 0x10]), Some(THROUGH_POINTER));
        assert_eq!(branch_target(1, &[0xff, 0xe0]), None);
        assert_eq!(branch_target(1, &[0xff, 0x30]), None);
    }

    #[test]
    fn branch_across_the_top_of_memory_wraps() {
        assert_eq!(branch_target(u64::MAX - 4, &[0xe8, 1, 0, 0, 0]), Some(1));
    }
}
