//! The parser over a whole body, and the least that reading the body could cost.

use faultline_actors::domain::{batch::Batch, maxwell::lines, parse::Parser, record::Block};
use memchr::memchr;
use serde::{Deserialize, de::IgnoredAny};
use simd_json::Buffers;

/// The parser stage; gives the number of events.
pub(crate) fn parse_all(parser: &mut Parser, block: &Block) -> usize {
    let mut batch = Batch::default();
    parser.parse(&mut batch, block);
    parser.finish(&mut batch);
    batch.events.len()
}

/// What simd-json alone needs to read a line into a struct.
#[derive(Deserialize)]
#[expect(dead_code, reason = "read for the cost of reading it")]
struct Row<'a> {
    #[serde(borrow)]
    database: &'a str,
    #[serde(borrow)]
    table: &'a str,
    #[serde(borrow, rename = "type")]
    kind: &'a str,
    ts: i64,
    xid: Option<u64>,
    data: IgnoredAny,
    old: Option<IgnoredAny>,
}

/// simd-json into a struct, line by line; gives the number of lines.
pub(crate) fn maxwell_limit(body: &[u8], buffers: &mut Buffers, scratch: &mut Vec<u8>) -> usize {
    let mut count = 0;
    for line in lines(body) {
        scratch.clear();
        scratch.extend_from_slice(line);
        let row: Row<'_> = simd_json::serde::from_slice_with_buffers(scratch, buffers).unwrap();
        std::hint::black_box(&row);
        count += 1;
    }
    count
}

/// Framing, header, UTF-8 check and a hash with memchr alone.
pub(crate) fn logplex_limit(body: &[u8]) -> u64 {
    let (mut at, mut sum) = (0, 0u64);
    while at < body.len() {
        let space = memchr(b' ', &body[at..]).unwrap();
        let length: usize =
            body[at..at + space].iter().fold(0, |n, byte| n * 10 + usize::from(byte - b'0'));
        let frame = &body[at + space + 1..at + space + 1 + length];
        at += space + 1 + length;
        let mut rest = frame;
        for _ in 0..6 {
            rest = &rest[memchr(b' ', rest).unwrap() + 1..];
        }
        sum ^= xxhash_rust::xxh3::xxh3_64(std::str::from_utf8(rest).unwrap().as_bytes());
    }
    sum
}
