//! Input for the benches, made here: the same on every machine.
#![allow(dead_code, reason = "each bench uses its part")]

use std::{fmt::Write as _, ops::Range};

pub(crate) mod parse;

use faultline_actors::domain::{
    event::Source,
    parse::count_messages,
    record::{Block, Content, Meta, RecordRef},
};

/// A small generator of numbers, so that lines differ as real ones do.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A row of an order, about 350 bytes, as Maxwell prints it.
pub(crate) fn maxwell_line(numbers: &mut Numbers, out: &mut String) {
    let id = numbers.below(10_000_000);
    let kind = match numbers.below(5) {
        0..3 => "insert",
        3 => "update",
        _ => "delete",
    };
    let _ = write!(
        out,
        r#"{{"database":"shop","table":"orders","type":"{kind}","ts":{},"xid":{},"xoffset":{},"data":{{"id":{id},"user_id":{},"state":"paid","total":{}.{:02},"currency":"EUR","items":[{},{}],"note":"left at the door, thanks \"neighbour\"","created_at":"2026-11-22 03:00:{:02}.123456","updated_at":null}}"#,
        1_795_316_400 + numbers.below(86_400),
        numbers.below(1_000_000),
        numbers.below(50),
        numbers.below(1_000_000),
        numbers.below(1_000),
        numbers.below(100),
        numbers.below(1_000),
        numbers.below(1_000),
        numbers.below(60),
    );
    if kind == "update" {
        out.push_str(r#","old":{"state":"open"}"#);
    }
    out.push_str("}\n");
}

pub(crate) fn maxwell_lines(count: usize) -> Vec<u8> {
    let mut numbers = Numbers::new(7);
    let mut out = String::new();
    for _ in 0..count {
        maxwell_line(&mut numbers, &mut out);
    }
    out.into_bytes()
}

/// A line of Heroku's router, about 260 bytes, one in a hundred of them a failure.
pub(crate) fn router_line(numbers: &mut Numbers) -> String {
    let failure =
        if numbers.below(100) == 0 { "error code=H12 desc=\"Request timeout\"" } else { "info" };
    let status = if failure == "info" { 200 } else { 503 };
    format!(
        "<158>1 2026-11-22T03:00:{:02}.{:06}+00:00 host heroku router - at={failure} method=GET path=\"/users/{}/orders?page=2\" host=shop.example.com request_id=8f3c5a9e-0000-4000-8000-{:012x} fwd=\"203.0.113.{}\" dyno=web.{} connect=1ms service={}ms status={status} bytes={} protocol=https\n",
        numbers.below(60),
        numbers.below(1_000_000),
        numbers.below(100_000),
        numbers.below(1 << 40),
        numbers.below(250),
        1 + numbers.below(4),
        numbers.below(300),
        numbers.below(90_000),
    )
}

/// A line of an application, about 290 bytes.
pub(crate) fn app_line(numbers: &mut Numbers) -> String {
    format!(
        "<190>1 2026-11-22T03:00:{:02}.{:06}+00:00 host app web.{} - method=GET path=/users/{}/orders format=html controller=OrdersController action=index status=200 duration={}.{} view={}.{} db={}.{} user_id={} ip=203.0.113.{} agent=\"Mozilla/5.0\" request_id=8f3c5a9e-0000-4000-8000-{:012x}\n",
        numbers.below(60),
        numbers.below(1_000_000),
        1 + numbers.below(4),
        numbers.below(100_000),
        numbers.below(300),
        numbers.below(100),
        numbers.below(100),
        numbers.below(100),
        numbers.below(100),
        numbers.below(100),
        numbers.below(1_000_000),
        numbers.below(250),
        numbers.below(1 << 40),
    )
}

/// Frames of a drain: half router lines, half application lines.
pub(crate) fn frames(count: usize, seed: u64) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    let line = |index: usize| match index % 2 {
        0 => router_line(&mut numbers),
        _ => app_line(&mut numbers),
    };
    framed((0..count).map(line))
}

/// Frames of a drain: application lines only.
pub(crate) fn app_frames(count: usize, seed: u64) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    framed((0..count).map(|_| app_line(&mut numbers)))
}

fn framed(lines: impl Iterator<Item = String>) -> Vec<u8> {
    lines.map(|line| format!("{} {line}", line.len())).collect::<String>().into_bytes()
}

/// An error report with a stack trace, about 700 bytes. With `fault` it says itself which fault it
/// belongs to; without, the trace does.
pub(crate) fn report(numbers: &mut Numbers, fault: Option<u64>) -> String {
    let pinned = fault.map_or(String::new(), |fault| format!(r#","fingerprint":"cart-{fault}""#));
    format!(
        r#"{{"message":"TypeError: cannot read property 'total' of undefined (order {})","stackTrace":"TypeError: cannot read property 'total' of undefined\n    at Cart.total (/app/src/cart.js:{}:19)\n    at Checkout.pay (/app/src/checkout.js:118:31)\n    at async Orders.create (/app/src/orders.js:54:5)\n    at async /app/node_modules/koa-router/lib/router.js:372:9\n    at async dispatch (/app/node_modules/koa-compose/index.js:42:32)","level":"error","environment":"production","service":"shop","timestamp":"2026-11-22T03:00:{:02}.{:03}Z"{pinned},"attributes":{{"orderId":{},"userId":{},"release":"2026.11.3"}}}}"#,
        numbers.below(1_000_000),
        numbers.below(400),
        numbers.below(60),
        numbers.below(1_000),
        numbers.below(1_000_000),
        numbers.below(100_000),
    )
}

/// The body with this number: `messages` reports, which go through `faults` in turn.
pub(crate) fn report_body(number: u64, messages: u64, faults: &Range<u64>) -> Vec<u8> {
    let mut numbers = Numbers::new(number);
    let one = |index: u64| {
        let turn = (number * messages + index) % (faults.end - faults.start);
        report(&mut numbers, Some(faults.start + turn))
    };
    format!("[{}]", (0..messages).map(one).collect::<Vec<_>>().join(",")).into_bytes()
}

/// A block of one record.
pub(crate) fn block(source: Source, body: &[u8]) -> Block {
    let meta = Meta { sender_is_logplex: true, service: "shop", ..Meta::default() }.encode();
    let records = vec![RecordRef {
        sequence: 1,
        received_at: 1_795_316_400_000_000,
        source,
        messages: count_messages(source, body),
        content: Content::Body { meta: 0..meta.len(), body: meta.len()..meta.len() + body.len() },
    }];
    Block { bytes: [&meta, body].concat().into(), records }
}

/// What the only record of such a block holds.
pub(crate) fn body_of(block: &Block) -> &[u8] {
    match &block.records[0].content {
        Content::Body { body, .. } => &block.bytes[body.clone()],
        _ => unreachable!("made by `block`"),
    }
}
