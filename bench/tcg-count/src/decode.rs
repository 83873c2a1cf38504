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

/// Where a direct near call or jump with a 32-bit displacement at `address` leads to.
///
/// Jumps count because a call in tail position is one.
pub fn branch_target(address: u64, bytes: &[u8]) -> Option<u64> {
    let [0xe8 | 0xe9, displacement @ ..] = bytes else {
        return None;
    };
    let displacement = i32::from_le_bytes(displacement.try_into().ok()?);
    let next = address.wrapping_add(5);
    Some(next.wrapping_add_signed(i64::from(displacement)))
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
    fn branch_across_the_top_of_memory_wraps() {
        assert_eq!(branch_target(u64::MAX - 4, &[0xe8, 1, 0, 0, 0]), Some(1));
    }
}
