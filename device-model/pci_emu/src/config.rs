// SPDX-License-Identifier: GPL-2.0
//! 4 KiB of configuration space: a type 0 header with power management, PCI Express, MSI-X,
//! Device Serial Number and Advanced Error Reporting.

/// Bytes of PCI Express configuration space.
const SIZE: usize = 4096;

const COMMAND: usize = 0x04;
const COMMAND_MEMORY: u16 = 1 << 1;
const COMMAND_MASTER: u16 = 1 << 2;
const COMMAND_PARITY: u16 = 1 << 6;
const COMMAND_SERR: u16 = 1 << 8;
const COMMAND_INTX_DISABLE: u16 = 1 << 10;
const STATUS: usize = 0x06;
const STATUS_CAPABILITIES: u16 = 1 << 4;
const STATUS_W1C: u16 = 0xf900;
const BAR0: usize = 0x10;
const CAPABILITIES_POINTER: usize = 0x34;
const INTERRUPT_LINE: usize = 0x3c;

const PM: usize = 0x40;
const PM_PMCSR: usize = PM + 4;
const EXPRESS: usize = 0x50;
const EXPRESS_DEVICE_CONTROL: usize = EXPRESS + 0x08;
const DEVICE_CONTROL_FLR: u16 = 1 << 15;
const MSIX: usize = 0xb0;
const DSN: usize = 0x100;
const AER: usize = 0x110;

/// What distinguishes one function from another.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Vendor of the device and of the subsystem.
    pub vendor: u16,
    /// Device, also used as subsystem.
    pub device: u16,
    /// Class code: class, subclass, programming interface.
    pub class: u32,
    /// Sizes of the 64-bit memory BARs 0, 2 and 4 in bytes, powers of two.
    pub bar_sizes: [u64; 3],
    /// MSI-X vectors.
    pub vectors: u16,
    /// Register offset of the MSI-X pending bits in BAR2; the table is at 0.
    pub pba_offset: u32,
    /// Device serial number; without one there is no such capability.
    pub serial: Option<u64>,
}

/// What a configuration write asks of the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// Function-level reset.
    pub reset: bool,
    /// The command register may have changed; see [`ConfigSpace::bus_master`].
    pub command: bool,
}

/// Configuration space with write masks.
pub struct ConfigSpace {
    identity: Identity,
    data: Vec<u8>,
    /// Bits that a write changes.
    writable: Vec<u8>,
    /// Bits that a write of one clears.
    clear: Vec<u8>,
}

impl ConfigSpace {
    /// The space after power-on.
    pub fn new(identity: Identity) -> Self {
        let mut space = Self {
            identity,
            data: vec![0; SIZE],
            writable: vec![0; SIZE],
            clear: vec![0; SIZE],
        };
        space.header();
        space.power_management();
        space.express();
        space.msix();
        space.extended();
        space
    }

    /// Back to the state after power-on; the serial number stays.
    pub fn reset(&mut self) {
        *self = Self::new(self.identity);
    }

    /// Whether the device may start transfers.
    pub fn bus_master(&self) -> bool {
        self.get16(COMMAND) & COMMAND_MASTER != 0
    }

    /// Copies from `offset` on into `buf`; bytes past the end read as ones.
    pub fn read(&self, offset: u64, buf: &mut [u8]) {
        buf.fill(0xff);
        let from = usize::try_from(offset).unwrap_or(SIZE).min(SIZE);
        let there = self.data.get(from..).unwrap_or(&[]);
        for (to, byte) in buf.iter_mut().zip(there) {
            *to = *byte;
        }
    }

    /// Writes `buf` from `offset` on, as far as the masks allow.
    pub fn write(&mut self, offset: u64, buf: &[u8]) -> Effect {
        let from = usize::try_from(offset).unwrap_or(SIZE).min(SIZE);
        let bytes = self
            .data
            .iter_mut()
            .zip(&self.writable)
            .zip(&self.clear)
            .skip(from);
        for (((byte, writable), clear), new) in bytes.zip(buf) {
            *byte = (*byte & !writable | new & writable) & !(new & clear);
        }
        let touches = |at: usize| from < at + 2 && at < from.saturating_add(buf.len());
        // The bit is write-only: it starts the reset and always reads 0.
        let flr = self.get16(EXPRESS_DEVICE_CONTROL) & DEVICE_CONTROL_FLR != 0;
        if flr {
            self.reset();
        }
        Effect {
            reset: flr,
            command: flr || touches(COMMAND),
        }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(to) = self.data.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    }

    fn put16(&mut self, at: usize, value: u16) {
        self.put(at, &value.to_le_bytes());
    }

    fn put32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    fn get16(&self, at: usize) -> u16 {
        let byte = |i| self.data.get(i).copied().unwrap_or(0);
        u16::from_le_bytes([byte(at), byte(at + 1)])
    }

    fn allow(&mut self, at: usize, mask: &[u8]) {
        if let Some(to) = self.writable.get_mut(at..at + mask.len()) {
            to.copy_from_slice(mask);
        }
    }

    fn write_one_to_clear(&mut self, at: usize, mask: &[u8]) {
        if let Some(to) = self.clear.get_mut(at..at + mask.len()) {
            to.copy_from_slice(mask);
        }
    }

    fn header(&mut self) {
        let id = self.identity;
        self.put16(0x00, id.vendor);
        self.put16(0x02, id.device);
        self.put16(STATUS, STATUS_CAPABILITIES);
        self.put32(0x08, id.class << 8);
        self.put16(0x2c, id.vendor);
        self.put16(0x2e, id.device);
        self.put(CAPABILITIES_POINTER, &[PM as u8]);
        // Interrupt pin 0: there is no INTx, drivers must use MSI-X.
        let command =
            COMMAND_MEMORY | COMMAND_MASTER | COMMAND_PARITY | COMMAND_SERR | COMMAND_INTX_DISABLE;
        self.allow(COMMAND, &command.to_le_bytes());
        self.write_one_to_clear(STATUS, &STATUS_W1C.to_le_bytes());
        self.allow(0x0c, &[0xff]);
        self.allow(INTERRUPT_LINE, &[0xff]);
        for (i, size) in id.bar_sizes.into_iter().enumerate() {
            let at = BAR0 + 8 * i;
            // Memory, 64 bits, not prefetchable; address bits below the size are fixed.
            self.put32(at, 0x4);
            self.allow(at, &(!(size.max(16) - 1)).to_le_bytes());
        }
    }

    fn power_management(&mut self) {
        // Version 3, no PME.
        self.put(PM, &[0x01, EXPRESS as u8, 0x03, 0x00]);
        // No_Soft_Reset: D3hot keeps the state.
        self.put16(PM_PMCSR, 0x0008);
        self.allow(PM_PMCSR, &[0x03, 0x00]);
    }

    fn express(&mut self) {
        // Version 2 endpoint.
        self.put(EXPRESS, &[0x10, MSIX as u8, 0x02, 0x00]);
        // 512 byte payloads, extended tags, role-based errors, function-level reset.
        self.put32(EXPRESS + 0x04, 0x2 | 1 << 5 | 1 << 15 | 1 << 28);
        // Relaxed ordering, no snoop, 512-byte read requests: the defaults of the specification.
        self.put16(EXPRESS_DEVICE_CONTROL, 0x2810);
        self.allow(EXPRESS_DEVICE_CONTROL, &[0xff, 0xff]);
        self.write_one_to_clear(EXPRESS + 0x0a, &[0x0f, 0x00]);
        // 32 GT/s on 16 lanes, as capability and as status.
        self.put32(EXPRESS + 0x0c, 0x5 | 16 << 4);
        self.allow(EXPRESS + 0x10, &[0xc3, 0x0f]);
        self.put16(EXPRESS + 0x12, 0x5 | 16 << 4);
        // Completion time-outs can be disabled; ranges A to D.
        self.put32(EXPRESS + 0x24, 0x1f);
        self.allow(EXPRESS + 0x28, &[0x1f, 0x00]);
        // Supported link speeds 2.5 to 32 GT/s.
        self.put32(EXPRESS + 0x2c, 0x3e);
        self.put16(EXPRESS + 0x30, 0x5);
        self.allow(EXPRESS + 0x30, &[0x0f, 0x00]);
    }

    fn msix(&mut self) {
        let id = self.identity;
        self.put(MSIX, &[0x11, 0x00]);
        self.put16(MSIX + 2, id.vectors.saturating_sub(1) & 0x7ff);
        self.allow(MSIX + 2, &[0x00, 0xc0]);
        // Both in BAR 2: the driver claims only BARs 0 and 4.
        self.put32(MSIX + 4, 2);
        self.put32(MSIX + 8, id.pba_offset | 2);
    }

    fn extended(&mut self) {
        // Extended capabilities start here whatever there is: an empty one leads to the next.
        let id = if self.identity.serial.is_some() {
            0x0003
        } else {
            0
        };
        self.put32(DSN, id | 1 << 16 | (AER as u32) << 20);
        let serial = self.identity.serial.unwrap_or(0);
        self.put(DSN + 4, &serial.to_le_bytes());
        // AER version 2: status registers clear on write, masks and severities are plain.
        self.put32(AER, 0x0001 | 2 << 16);
        self.write_one_to_clear(AER + 0x04, &0x01ff_f030u32.to_le_bytes());
        self.allow(AER + 0x08, &0x01ff_f030u32.to_le_bytes());
        self.put32(AER + 0x0c, 0x0006_2030);
        self.allow(AER + 0x0c, &0x01ff_f030u32.to_le_bytes());
        self.write_one_to_clear(AER + 0x10, &0x0000_f1c1u32.to_le_bytes());
        self.put32(AER + 0x14, 0x0000_2000);
        self.allow(AER + 0x14, &0x0000_f1c1u32.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> ConfigSpace {
        ConfigSpace::new(Identity {
            vendor: 0x1d9b,
            device: 0x0013,
            class: 0x02_0000,
            bar_sizes: [0x20_0000, 0x4000, 0x2_0000],
            vectors: 256,
            pba_offset: 0x2000,
            serial: Some(0x0011_22ff_fe33_4455),
        })
    }

    fn read32(space: &ConfigSpace, at: u64) -> u32 {
        let mut buf = [0; 4];
        space.read(at, &mut buf);
        u32::from_le_bytes(buf)
    }

    #[test]
    fn capabilities_form_one_list() {
        let space = space();
        let (mut at, mut ids) = (u64::from(read32(&space, 0x34) & 0xff), Vec::new());
        while at != 0 && ids.len() < 8 {
            ids.push(read32(&space, at) & 0xff);
            at = u64::from(read32(&space, at) >> 8 & 0xff);
        }
        assert_eq!(ids, [0x01, 0x10, 0x11]);
        assert_eq!(read32(&space, 0x100) & 0xffff, 0x0003);
        assert_eq!(read32(&space, 0x104), 0xfe33_4455);
        assert_eq!(read32(&space, 0x108), 0x0011_22ff);
        let next = u64::from(read32(&space, 0x100) >> 20);
        assert_eq!(read32(&space, next) & 0xffff, 0x0001);
        assert_eq!(read32(&space, next) >> 20, 0);
    }

    #[test]
    fn identity_and_read_only_bits_hold() {
        let mut space = space();
        space.write(0, &[0xff; 8]);
        assert_eq!(read32(&space, 0), 0x0013_1d9b);
        assert_eq!(read32(&space, 4) & 0xffff, 0x0546);
        assert!(space.bus_master());
    }

    #[test]
    fn bars_can_be_sized() {
        let mut space = space();
        for (at, low) in [
            (0x10, 0xffe0_0004),
            (0x18, 0xffff_c004),
            (0x20, 0xfffe_0004),
        ] {
            space.write(at, &[0xff; 8]);
            assert_eq!(read32(&space, at), low);
            assert_eq!(read32(&space, at + 4), u32::MAX);
        }
    }

    #[test]
    fn function_level_reset_is_reported_once_and_resets() {
        let mut space = space();
        let effect = space.write(0x04, &[0x06, 0x00]);
        assert_eq!(
            effect,
            Effect {
                reset: false,
                command: true
            }
        );
        let effect = space.write(0x58, &[0x10, 0xa8]);
        assert!(effect.reset && !space.bus_master());
        assert_eq!(read32(&space, 0x58) & 0x8000, 0);
        assert_eq!(space.write(0x58, &[0x10, 0x28]), Effect::default());
    }

    #[test]
    fn offsets_past_the_end_are_harmless() {
        let mut space = space();
        let mut buf = [0; 8];
        space.read(4092, &mut buf);
        assert_eq!(buf, [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        space.read(u64::MAX, &mut buf);
        assert_eq!(space.write(u64::MAX, &buf), Effect::default());
        assert_eq!(space.write(4095, &buf), Effect::default());
    }
}
