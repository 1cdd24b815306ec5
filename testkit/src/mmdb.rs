//! A MaxMind database of countries, made by hand: enough of the format to be read.
//!
//! Source: "MaxMind DB File Format Specification" 2.0 (maxmind.github.io/MaxMind-DB).

use std::collections::BTreeMap;

/// One network: its address, the length of its prefix, its country.
pub type Network<'a> = ([u8; 4], u32, &'a str);

/// A database of IPv4 networks; of two that overlap, the later one holds.
#[must_use]
pub fn countries(networks: &[Network<'_>]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut offsets = BTreeMap::new();
    for (_, _, country) in networks {
        offsets.entry(*country).or_insert_with(|| {
            let offset = data.len();
            write_map(&mut data, 1);
            write_text(&mut data, "country");
            write_map(&mut data, 1);
            write_text(&mut data, "iso_code");
            write_text(&mut data, country);
            offset
        });
    }
    let tree = Tree::of(networks);
    let count = tree.nodes.len();
    let mut file = Vec::new();
    for record in tree.nodes.iter().flatten() {
        // Below the number of nodes stands the next node; that number itself is "nothing"; data
        // begins behind the separator of 16 bytes.
        let value = match record {
            Record::Nothing => count,
            Record::Node(node) => *node,
            Record::Country(country) => count + 16 + offsets[country],
        };
        file.extend_from_slice(&u32::try_from(value).expect("a small file").to_be_bytes()[1..]);
    }
    file.extend_from_slice(&[0; 16]);
    file.extend_from_slice(&data);
    file.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    write_metadata(&mut file, count);
    file
}

#[derive(Clone, Copy)]
enum Record<'a> {
    Nothing,
    Node(usize),
    Country(&'a str),
}

struct Tree<'a> {
    nodes: Vec<[Record<'a>; 2]>,
}

impl<'a> Tree<'a> {
    fn of(networks: &[Network<'a>]) -> Self {
        let mut tree = Self { nodes: vec![[Record::Nothing; 2]] };
        for (address, length, country) in networks {
            tree.insert(u32::from_be_bytes(*address), *length, country);
        }
        tree
    }

    fn insert(&mut self, address: u32, length: u32, country: &'a str) {
        let mut at = 0;
        for depth in 0..length {
            let bit = usize::from(address >> (31 - depth) & 1 == 1);
            if depth + 1 == length {
                self.nodes[at][bit] = Record::Country(country);
                return;
            }
            at = match self.nodes[at][bit] {
                Record::Node(node) => node,
                // What held for the whole network goes on to hold for both of its halves.
                whole => {
                    self.nodes.push([whole; 2]);
                    let node = self.nodes.len() - 1;
                    self.nodes[at][bit] = Record::Node(node);
                    node
                }
            };
        }
    }
}

fn write_metadata(out: &mut Vec<u8>, nodes: usize) {
    write_map(out, 9);
    for (name, value) in [
        ("binary_format_major_version", 2),
        ("binary_format_minor_version", 0),
        ("ip_version", 4),
        ("record_size", 24),
    ] {
        write_text(out, name);
        // Type 5, unsigned with 16 bits.
        out.extend_from_slice(&[5 << 5 | 2, 0, value]);
    }
    write_text(out, "node_count");
    // Type 6, unsigned with 32 bits.
    out.push(6 << 5 | 4);
    out.extend_from_slice(&u32::try_from(nodes).expect("a small file").to_be_bytes());
    write_text(out, "database_type");
    write_text(out, "Test-Country");
    write_text(out, "build_epoch");
    // Type 9, unsigned with 64 bits: beyond 7, a type's number minus 7 stands in the next byte.
    out.extend_from_slice(&[1, 2, 1]);
    write_text(out, "languages");
    // Type 11, an array.
    out.extend_from_slice(&[1, 4]);
    write_text(out, "en");
    write_text(out, "description");
    write_map(out, 1);
    write_text(out, "en");
    write_text(out, "made by hand");
}

/// Type 7; so many pairs follow.
fn write_map(out: &mut Vec<u8>, pairs: u8) {
    out.push(7 << 5 | pairs);
}

/// Type 2; below 29 bytes the length stands in the first byte.
fn write_text(out: &mut Vec<u8>, text: &str) {
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 29);
    out.push(2 << 5 | length.expect("a short text"));
    out.extend_from_slice(text.as_bytes());
}
