// SPDX-License-Identifier: GPL-2.0

//! Compares the driver's constants with those of the C driver.
//!
//! Needs the kernel source: the environment variable `KERNEL_SRC` names its root. Without it these
//! tests say so and pass. The driver's own declarations are read as text, so that nothing has to
//! be written down twice; a shared wrong constant would otherwise pass every test.

use std::{collections::BTreeMap, fs, path::Path};

use fbnic_unit::{fbnic_csr as csr, messages::id};

/// The text of the C driver's files, if there is a kernel source.
fn c_source(file: &str) -> Option<String> {
    let Some(root) = std::env::var_os("KERNEL_SRC") else {
        eprintln!("skipped: KERNEL_SRC is not set");
        return None;
    };
    let path = Path::new(&root)
        .join("drivers/net/ethernet/meta/fbnic")
        .join(file);
    Some(fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The text of a file of the driver.
fn own_source(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A macro of the header: its parameters and its body, comments and line breaks removed.
struct Macro {
    parameters: Vec<String>,
    body: String,
}

/// The macros of a C header by name.
fn macros(source: &str) -> BTreeMap<String, Macro> {
    let mut text = source.replace("\\\n", " ");
    while let Some(start) = text.find("/*") {
        let end = text[start..].find("*/").expect("comment is closed") + start + 2;
        text.replace_range(start..end, " ");
    }
    let mut out = BTreeMap::new();
    for line in text.lines() {
        let Some(rest) = line.trim().strip_prefix("#define ") else {
            continue;
        };
        let name_end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let (name, rest) = rest.split_at(name_end);
        let (parameters, body) = match rest.strip_prefix('(') {
            Some(rest) => {
                let (list, body) = rest.split_once(')').expect("parameters are closed");
                (list.split(',').map(|p| p.trim().to_owned()).collect(), body)
            }
            None => (Vec::new(), rest),
        };
        out.insert(
            name.trim_start_matches("FBNIC_").to_owned(),
            Macro {
                parameters,
                body: body.trim().to_owned(),
            },
        );
    }
    out
}

/// Evaluates an expression of numbers, `+`, `*` and parentheses. `None` for anything else.
fn evaluate(expression: &str) -> Option<usize> {
    fn sum(text: &mut &str) -> Option<usize> {
        let mut total = product(text)?;
        while let Some(rest) = text.trim_start().strip_prefix('+') {
            *text = rest;
            total += product(text)?;
        }
        Some(total)
    }
    fn product(text: &mut &str) -> Option<usize> {
        let mut total = atom(text)?;
        while let Some(rest) = text.trim_start().strip_prefix('*') {
            *text = rest;
            total *= atom(text)?;
        }
        Some(total)
    }
    fn atom(text: &mut &str) -> Option<usize> {
        *text = text.trim_start();
        if let Some(rest) = text.strip_prefix('(') {
            *text = rest;
            let value = sum(text)?;
            *text = text.trim_start().strip_prefix(')')?;
            return Some(value);
        }
        let end = text
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        *text = rest;
        match number.strip_prefix("0x") {
            Some(hex) => usize::from_str_radix(hex, 16).ok(),
            None => number.parse().ok(),
        }
    }
    let mut text = expression;
    let value = sum(&mut text)?;
    text.trim().is_empty().then_some(value)
}

impl Macro {
    /// Value of the macro with these arguments: a word index.
    fn index(&self, all: &BTreeMap<String, Macro>, arguments: &[usize]) -> Option<usize> {
        let mut body = self.body.clone();
        for (parameter, argument) in self.parameters.iter().zip(arguments) {
            body = body.replace(&format!("({parameter})"), &argument.to_string());
        }
        for name in ["QUEUE_STRIDE", "IPC_MBX_DESC_LEN"] {
            if let Some(inner) = all.get(name) {
                body = body.replace(&format!("FBNIC_{name}"), &inner.body);
            }
        }
        evaluate(&body)
    }

    /// Bits of a field: `(high, low)`.
    fn bits(&self) -> Option<(u32, u32)> {
        let arguments = |name: &str| {
            let inner = self.body.strip_prefix(name)?.strip_suffix(')')?;
            inner
                .split(',')
                .map(|number| number.trim().parse().ok())
                .collect::<Option<Vec<u32>>>()
        };
        if let Some(bit) = arguments("CSR_BIT(") {
            return Some((bit[0], bit[0]));
        }
        let bits = arguments("CSR_GENMASK(")?;
        Some((bits[0], bits[1]))
    }
}

/// Register files that declare types with `register!`.
const TYPED: [&str; 6] = [
    "fbnic_csr/qm.rs",
    "fbnic_csr/rxb.rs",
    "fbnic_csr/tce.rs",
    "fbnic_csr/rpc.rs",
    "fbnic_csr/mac.rs",
    "fbnic_csr/pul.rs",
];

/// A declared register: name, byte offset, fields.
type Declared = (String, usize, Vec<(String, u32, u32)>);

/// The registers that a file declares.
fn declared(source: &str) -> Vec<Declared> {
    let mut out: Vec<Declared> = Vec::new();
    let mut inside = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("register! {") {
            inside = true;
        }
        if !inside || line.starts_with("//") {
            continue;
        }
        if let Some(rest) = line.strip_prefix("pub ") {
            let (name, rest) = rest.split_once("(u32)").expect("register has a width");
            let offset = rest.split_once("@ 0x").expect("register has an offset").1;
            let offset = offset.split(' ').next().unwrap_or_default();
            let offset = usize::from_str_radix(offset, 16).expect("offset is a number");
            out.push((name.to_owned(), offset, Vec::new()));
        } else if let Some((bits, name)) = line.strip_suffix(';').and_then(|l| l.split_once(' ')) {
            let (high, low) = bits.split_once(':').expect("field has bits");
            let field = (
                name.trim().to_uppercase(),
                high.parse().expect("high bit"),
                low.parse().expect("low bit"),
            );
            out.last_mut().expect("field of a register").2.push(field);
        }
    }
    out
}

/// Names under which the header knows the fields of registers that it names by another.
const FIELDS_OF: [(&str, &str); 12] = [
    ("TCE_TXB_TEI_Q0_CTRL", "TCE_TXB_Q_CTRL"),
    ("TCE_TXB_TEI_Q1_CTRL", "TCE_TXB_Q_CTRL"),
    ("TCE_TXB_MC_Q_CTRL", "TCE_TXB_Q_CTRL"),
    ("TCE_TXB_RX_TEI_Q_CTRL", "TCE_TXB_Q_CTRL"),
    ("TCE_TXB_RX_BMC_Q_CTRL", "TCE_TXB_Q_CTRL"),
    ("TCE_TXB_TX_BMC_Q_CTRL", "TCE_TXB_Q_CTRL"),
    ("TCE_TXB_NTWRK_DWRR_CTRL_EXT", "TCE_TXB_NTWRK_DWRR_CTRL"),
    ("RXB_PAUSE_STORM_NET", "RXB_PAUSE_STORM"),
    ("RXB_ERR_INTR_MASK", "RXB_ERR_INTR_STS"),
    ("RXB_DWRR_RDE_WEIGHT0_EXT", "RXB_DWRR_RDE_WEIGHT0"),
    ("RXB_DWRR_RDE_WEIGHT1_EXT", "RXB_DWRR_RDE_WEIGHT1"),
    ("RXB_PBUF_CFG", "RXB_PBUF"),
];

/// Fields whose name differs.
const RENAMED: [(&str, &str); 7] = [
    ("QM_TQS_CTL0_LSO_TS", "QM_TQS_CTL0_LSO_TS_MASK"),
    ("FAB_AXI4_AR_SPACER_2_CFG_MASK", "FAB_AXI4_AR_SPACER_MASK"),
    (
        "FAB_AXI4_AR_SPACER_2_CFG_THRESHOLD",
        "FAB_AXI4_AR_SPACER_THREADSHOLD",
    ),
    ("RXB_PBUF_CREDIT_CREDIT", "RXB_PBUF_CREDIT_MASK"),
    ("SIG_PCS_INTR_STS_LINK_DOWN", "SIG_PCS_INTR_LINK_DOWN"),
    ("SIG_PCS_INTR_STS_LINK_UP", "SIG_PCS_INTR_LINK_UP"),
    ("SIG_PCS_INTR_MASK_LINK_DOWN", "SIG_PCS_INTR_LINK_DOWN"),
];

#[test]
fn typed_registers() {
    let Some(header) = c_source("fbnic_csr.h").map(|text| macros(&text)) else {
        return;
    };
    let (mut registers, mut fields) = (0, 0);
    for (name, offset, own_fields) in TYPED.iter().flat_map(|file| declared(&own_source(file))) {
        let c_name = match name.as_str() {
            "RXB_PAUSE_STORM_NET" => "RXB_PAUSE_STORM",
            name => name,
        };
        let index = header
            .get(c_name)
            .and_then(|register| register.index(&header, &[0]));
        assert_eq!(index.map(|index| 4 * index), Some(offset), "{name}");
        registers += 1;

        let prefix = FIELDS_OF
            .iter()
            .find(|(own, _)| *own == name)
            .map_or(name.as_str(), |(_, c)| c);
        for (field, high, low) in own_fields {
            let full = format!("{prefix}_{field}");
            let c_field = RENAMED
                .iter()
                .find(|(own, _)| *own == full)
                .map_or(full.as_str(), |(_, c)| c);
            let c_field = match c_field {
                "SIG_PCS_INTR_MASK_LINK_UP" => "SIG_PCS_INTR_LINK_UP",
                name => name,
            };
            let bits = header.get(c_field).and_then(Macro::bits);
            assert_eq!(bits, Some((high, low)), "{full}");
            fields += 1;
        }
    }
    // The declarations must have been found at all.
    assert!(registers > 60 && fields > 90, "{registers} {fields}");
}

#[test]
fn queue_registers() {
    let Some(header) = c_source("fbnic_csr.h").map(|text| macros(&text)) else {
        return;
    };
    let mut found = 0;
    for line in own_source("fbnic_csr/queue.rs").lines() {
        let Some(rest) = line.strip_prefix("pub const ") else {
            continue;
        };
        let Some((name, value)) = rest.split_once(": usize = 0x") else {
            continue;
        };
        let Some(register) = header.get(&format!("QUEUE_{name}")) else {
            continue;
        };
        let value = usize::from_str_radix(value.trim_end_matches(';'), 16).expect("offset");
        assert_eq!(
            register.index(&header, &[]).map(|i| 4 * i),
            Some(value),
            "{name}"
        );
        found += 1;
    }
    assert_eq!(found, 58);

    use csr::queue::*;
    let bits = |name: &str| header[name].bits().unwrap();
    let mask = |name: &str| {
        let (high, low) = bits(name);
        (1 << (high - low + 1)) - 1
    };
    assert_eq!(1 << bits("QUEUE_BDQ_CTL_PPQ_ENABLE").0, BDQ_CTL_PPQ_ENABLE);
    assert_eq!(
        1 << bits("QUEUE_RDE_CTL0_EN_HDR_SPLIT").0,
        RDE_CTL0_EN_HDR_SPLIT
    );
    for (name, shift) in [
        ("QUEUE_RDE_CTL0_DROP_MODE_MASK", RDE_CTL0_DROP_MODE_SHIFT),
        ("QUEUE_RDE_CTL0_MIN_HROOM_MASK", RDE_CTL0_MIN_HROOM_SHIFT),
        ("QUEUE_RDE_CTL0_MIN_TROOM_MASK", RDE_CTL0_MIN_TROOM_SHIFT),
        ("QUEUE_RDE_CTL1_MAX_HDR_MASK", RDE_CTL1_MAX_HDR_SHIFT),
        ("QUEUE_RDE_CTL1_PAYLD_OFF_MASK", RDE_CTL1_PAYLD_OFF_SHIFT),
        (
            "QUEUE_RDE_CTL1_PAYLD_PG_CL_MASK",
            RDE_CTL1_PAYLD_PG_CL_SHIFT,
        ),
        ("QUEUE_RDE_CTL1_PADLEN_MASK", RDE_CTL1_PADLEN_SHIFT),
        ("QUEUE_RDE_CTL1_PAYLD_PACK_MASK", RDE_CTL1_PAYLD_PACK_SHIFT),
    ] {
        assert_eq!(bits(name).1, shift, "{name}");
    }
    assert_eq!(mask("QUEUE_RDE_CTL0_MIN_HROOM_MASK"), RDE_CTL0_ROOM_MASK);
    assert_eq!(mask("QUEUE_RDE_CTL1_MAX_HDR_MASK"), RDE_CTL1_MAX_HDR_MASK);
}

/// A register whose place depends on an index.
type Family1 = (&'static str, fn(usize) -> usize);
/// A register whose place depends on two indices, in the order of the C macro.
type Family2 = (&'static str, fn(usize, usize) -> usize);

#[test]
fn computed_offsets() {
    let Some(header) = c_source("fbnic_csr.h").map(|text| macros(&text)) else {
        return;
    };
    let one: &[Family1] = &[
        ("INTR_STATUS", csr::intr::intr_status),
        ("INTR_SET", csr::intr::intr_set),
        ("INTR_CLEAR", csr::intr::intr_clear),
        ("INTR_SW_AC_MODE", csr::intr::intr_sw_ac_mode),
        ("INTR_MASK_SET", csr::intr::intr_mask_set),
        ("INTR_MASK_CLEAR", csr::intr::intr_mask_clear),
        ("INTR_MSIX_CTRL", csr::intr::intr_msix_ctrl),
        ("INTR_CQ_REARM", csr::intr::intr_cq_rearm),
        ("QUEUE", csr::queue::queue_base),
        ("RPC_RSS_KEY", csr::rpc::rpc_rss_key),
        ("RPC_ACT_TBL0", csr::rpc::rpc_act_tbl0),
        ("RPC_ACT_TBL1", csr::rpc::rpc_act_tbl1),
        ("RSFEC_CONTROL", csr::mac::rsfec_control),
    ];
    for (name, own) in one {
        for n in [0, 1, 7] {
            let index = header[*name].index(&header, &[n]);
            assert_eq!(index.map(|index| 4 * index), Some(own(n)), "{name}({n})");
        }
    }
    let two: &[Family2] = &[
        ("RPC_TCAM_ACT", csr::rpc::rpc_tcam_act),
        ("RPC_TCAM_MACDA", csr::rpc::rpc_tcam_macda),
        ("RPC_TCAM_IPSRC", csr::rpc::rpc_tcam_ipsrc),
        ("RPC_TCAM_IPDST", csr::rpc::rpc_tcam_ipdst),
        ("RPC_TCAM_OUTER_IPSRC", csr::rpc::rpc_tcam_outer_ipsrc),
        ("RPC_TCAM_OUTER_IPDST", csr::rpc::rpc_tcam_outer_ipdst),
        ("RPC_RSS_TBL", csr::rpc::rpc_rss_tbl),
        ("TCE_RAM_TCAM", csr::tce::tce_ram_tcam),
    ];
    for (name, own) in two {
        for (m, n) in [(0, 0), (1, 0), (0, 1), (3, 2)] {
            let index = header[*name].index(&header, &[m, n]);
            assert_eq!(index.map(|i| 4 * i), Some(own(m, n)), "{name}({m}, {n})");
        }
    }
    let pcs_page = header["PCS_PAGE"].index(&header, &[1]);
    assert_eq!(
        pcs_page.map(|i| 4 * (i + 5)),
        Some(csr::mac::pcs_page(1, 5))
    );
}

#[test]
fn plain_offsets() {
    let Some(header) = c_source("fbnic_csr.h").map(|text| macros(&text)) else {
        return;
    };
    for (file, names) in [
        ("fbnic_csr.rs", &["MASTER_SPARE_0"][..]),
        (
            "fbnic_csr/rpc.rs",
            &["RPC_ACT_TBL0_DEFAULT", "RPC_ACT_TBL1_DEFAULT"],
        ),
        (
            "fbnic_csr/tce.rs",
            &["TCE_TCAM_IDX2DEST_MAP", "TMI_DROP_CTRL"],
        ),
    ] {
        let source = own_source(file);
        for name in names {
            let (_, rest) = source
                .split_once(&format!("pub const {name}: usize = 0x"))
                .unwrap_or_else(|| panic!("{name} is declared"));
            let value = rest.split(';').next().unwrap_or_default().replace('_', "");
            let value = usize::from_str_radix(&value, 16).expect("offset");
            let index = header[*name].index(&header, &[]);
            assert_eq!(index.map(|index| 4 * index), Some(value), "{name}");
        }
    }
}

/// Every counter's offset must be that of a register of the header.
#[test]
fn counters_exist() {
    let Some(header) = c_source("fbnic_csr.h").map(|text| macros(&text)) else {
        return;
    };
    let known: Vec<usize> = header
        .values()
        .filter_map(|register| register.index(&header, &[0]))
        .map(|index| 4 * index)
        .collect();
    let source = own_source("fbnic_hw_stats.rs");
    let mut found = 0;
    for part in source.split("0x").skip(1) {
        let digits: String = part.chars().take_while(char::is_ascii_hexdigit).collect();
        let offset = usize::from_str_radix(&digits, 16).expect("number");
        if offset < 0x1000 {
            continue;
        }
        // A literal of registers with an index sits next to the stride; both are in the header.
        if offset != 0xffff {
            assert!(known.contains(&offset), "{offset:#x} is no register");
            found += 1;
        }
    }
    assert!(found > 80, "{found}");
}

#[test]
fn firmware_message_ids() {
    let Some(source) = c_source("fbnic_fw.h") else {
        return;
    };
    for (name, own) in [
        ("HOST_CAP_REQ", id::HOST_CAP_REQ),
        ("FW_CAP_RESP", id::FW_CAP_RESP),
        ("OWNERSHIP_REQ", id::OWNERSHIP_REQ),
        ("OWNERSHIP_RESP", id::OWNERSHIP_RESP),
        ("HEARTBEAT_REQ", id::HEARTBEAT_REQ),
        ("HEARTBEAT_RESP", id::HEARTBEAT_RESP),
        ("QSFP_READ_REQ", id::QSFP_READ_REQ),
        ("QSFP_READ_RESP", id::QSFP_READ_RESP),
        ("TSENE_READ_REQ", id::TSENE_READ_REQ),
        ("TSENE_READ_RESP", id::TSENE_READ_RESP),
        ("LOG_SEND_LOGS_REQ", id::LOG_SEND_LOGS_REQ),
        ("LOG_MSG_REQ", id::LOG_MSG_REQ),
        ("RPC_MAC_SYNC_REQ", id::RPC_MAC_SYNC_REQ),
    ] {
        let (_, rest) = source
            .split_once(&format!("FBNIC_TLV_MSG_ID_{name}\t"))
            .unwrap_or_else(|| panic!("{name} exists"));
        let value = rest
            .trim_start_matches(['\t', ' ', '='])
            .trim_start_matches("0x");
        let value = value.split(',').next().unwrap_or_default();
        assert_eq!(u16::from_str_radix(value, 16), Ok(own), "{name}");
    }
}
