//! Parsing by rules that may be replaced meanwhile.

use std::sync::Arc;

use super::Parse;
use crate::{
    domain::{
        batch::Batch,
        parse::{self, Ending},
        record::Block,
        rule::Rules,
    },
    stage::Live,
};

/// A parser that goes by the rules as they are when a batch begins, so that all of a batch is judged
/// by the same ones.
pub struct ByLiveRules {
    rules: Live<Arc<Rules>>,
    parser: parse::Parser,
}

impl ByLiveRules {
    /// `make` makes the parser, for these rules.
    #[must_use]
    pub fn new(rules: Live<Arc<Rules>>, make: impl FnOnce(Arc<Rules>) -> parse::Parser) -> Self {
        let parser = make(rules.get());
        Self { rules, parser }
    }
}

impl Parse for ByLiveRules {
    fn parse(&mut self, batch: &mut Batch, block: &Block) -> Ending {
        if batch.is_empty() {
            self.parser.use_rules(self.rules.get());
        }
        self.parser.parse(batch, block)
    }

    fn finish(&mut self, batch: &mut Batch) {
        self.parser.finish(batch);
    }

    fn reset(&mut self) {
        self.parser.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        event::Source,
        parse::count_messages,
        record::{Content, Meta, RecordRef},
        rule::{Priorities, RuleSettings, TicketDefaults},
    };

    /// Rules by which a change of this table is a fault.
    fn selecting(table: &str) -> Arc<Rules> {
        let rule = serde_json::json!({
            "name": "changes", "match": { "kind": ["change"], "table": [table] } });
        let rule: RuleSettings = serde_json::from_value(rule).unwrap();
        let defaults = TicketDefaults::default();
        Arc::new(Rules::compile(&[rule], &Priorities::default(), defaults).unwrap())
    }

    /// A block of one change of the table `orders`.
    fn change() -> Block {
        let body = br#"{"database":"shop","table":"orders","type":"insert","data":{"id":1}}"#;
        let meta = Meta::default().encode();
        let records = vec![RecordRef {
            sequence: 1,
            received_at: 1_000,
            source: Source::Maxwell,
            messages: count_messages(Source::Maxwell, body),
            content: Content::Body {
                meta: 0..meta.len(),
                body: meta.len()..meta.len() + body.len(),
            },
        }];
        Block { bytes: [meta.as_slice(), body].concat().into(), records }
    }

    #[test]
    fn a_batch_is_parsed_by_the_rules_of_its_beginning() {
        let rules = Live::new(selecting("orders"));
        let mut parser = ByLiveRules::new(rules.clone(), |it| parse::Parser::new("test", it));
        let mut batch = Batch::default();
        parser.parse(&mut batch, &change());
        rules.set(selecting("invoices"));
        parser.parse(&mut batch, &change());
        parser.finish(&mut batch);
        let count: u64 = batch.faults.iter().map(|fault| fault.count).sum();
        assert_eq!(count, 2, "both by the old rules");
        let mut next = Batch::default();
        parser.parse(&mut next, &change());
        parser.finish(&mut next);
        assert_eq!(next.faults.len(), 0, "by the new ones");
    }
}
