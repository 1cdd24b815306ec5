//! From words to a query.

use super::{
    Clause, Field, Filter, Operator, Order, Query,
    lex::{Token, tokens},
};
use crate::jira::settings::{Kind, Settings};

/// # Errors
/// What Jira would say.
pub(in crate::jira) fn parse(jql: &str, settings: &Settings) -> Result<Query, String> {
    let mut parser = Parser { tokens: tokens(jql)?, next: 0, settings };
    let has_filter = !parser.is_at_end() && !parser.is_keyword("order");
    let filter = if has_filter { Some(parser.any()?) } else { None };
    let mut order = Vec::new();
    if parser.takes_keyword("order") {
        if !parser.takes_keyword("by") {
            return Err(parser.unexpected("Expecting 'by'"));
        }
        loop {
            order.push(parser.order()?);
            if !parser.takes_sign(",") {
                break;
            }
        }
    }
    if !parser.is_at_end() {
        return Err(parser.unexpected("Expecting either 'OR' or 'AND'"));
    }
    Ok(Query { filter, order })
}

struct Parser<'a> {
    tokens: Vec<(usize, Token)>,
    next: usize,
    settings: &'a Settings,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn is_at_end(&self) -> bool {
        self.peek().is_none()
    }

    fn is_keyword(&self, keyword: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword))
    }

    fn takes_keyword(&mut self, keyword: &str) -> bool {
        let is = self.is_keyword(keyword);
        self.next += usize::from(is);
        is
    }

    fn takes_sign(&mut self, sign: &str) -> bool {
        let is = matches!(self.peek(), Some(Token::Sign(known)) if *known == sign);
        self.next += usize::from(is);
        is
    }

    fn unexpected(&self, expecting: &str) -> String {
        match self.tokens.get(self.next) {
            Some((place, token)) => {
                let (Token::Word(text) | Token::Text(text)) = token else {
                    let Token::Sign(sign) = token else { unreachable!("no other token") };
                    return format!(
                        "Error in the JQL Query: {expecting} but got '{sign}'. (line 1, character {place})"
                    );
                };
                format!(
                    "Error in the JQL Query: {expecting} but got '{text}'. (line 1, character {place})"
                )
            }
            None => format!("Error in the JQL Query: {expecting} before the end of the query."),
        }
    }

    fn any(&mut self) -> Result<Filter, String> {
        let mut parts = vec![self.all()?];
        while self.takes_keyword("or") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::Or(parts) })
    }

    fn all(&mut self) -> Result<Filter, String> {
        let mut parts = vec![self.one()?];
        while self.takes_keyword("and") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::And(parts) })
    }

    fn one(&mut self) -> Result<Filter, String> {
        if self.takes_keyword("not") {
            return Ok(Filter::Not(Box::new(self.one()?)));
        }
        if !self.takes_sign("(") {
            return Ok(Filter::Clause(self.clause()?));
        }
        let inner = self.any()?;
        if self.takes_sign(")") { Ok(inner) } else { Err(self.unexpected("Expecting ')'")) }
    }

    fn clause(&mut self) -> Result<Clause, String> {
        let (field, name) = self.field()?;
        let operator = self.operator()?;
        let values = self.values(operator)?;
        if !fits(&field, operator, self.settings) {
            return Err(format!(
                "The operator '{}' is not supported by the '{name}' field.",
                operator.sign()
            ));
        }
        Ok(Clause { field, operator, values })
    }

    fn field(&mut self) -> Result<(Field, String), String> {
        let Some(Token::Word(name) | Token::Text(name)) = self.peek().cloned() else {
            return Err(self.unexpected("Expecting a field name"));
        };
        let field = field(&name, self.settings).ok_or_else(|| {
            format!("Field '{name}' does not exist or you do not have permission to view it.")
        })?;
        self.next += 1;
        Ok((field, name))
    }

    fn operator(&mut self) -> Result<Operator, String> {
        let signs = [
            ("=", Operator::Is),
            ("!=", Operator::IsNot),
            ("~", Operator::Contains),
            ("!~", Operator::ContainsNot),
            ("<=", Operator::AtMost),
            (">=", Operator::AtLeast),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        for (sign, operator) in signs {
            if self.takes_sign(sign) {
                return Ok(operator);
            }
        }
        let is_negated = self.takes_keyword("not");
        if self.takes_keyword("in") {
            return Ok(if is_negated { Operator::NotIn } else { Operator::In });
        }
        if !is_negated && self.takes_keyword("is") {
            let is_not = self.takes_keyword("not");
            if !self.is_keyword("empty") && !self.is_keyword("null") {
                return Err(self.unexpected("Expecting 'EMPTY' or 'NULL'"));
            }
            return Ok(if is_not { Operator::IsNot } else { Operator::Is });
        }
        Err(self.unexpected("Expecting operator"))
    }

    fn values(&mut self, operator: Operator) -> Result<Vec<String>, String> {
        if !matches!(operator, Operator::In | Operator::NotIn) {
            if self.takes_keyword("empty") || self.takes_keyword("null") {
                return Ok(Vec::new());
            }
            return Ok(vec![self.value()?]);
        }
        if !self.takes_sign("(") {
            return Err(self.unexpected("Expecting '('"));
        }
        let mut values = vec![self.value()?];
        while self.takes_sign(",") {
            values.push(self.value()?);
        }
        if self.takes_sign(")") { Ok(values) } else { Err(self.unexpected("Expecting ')'")) }
    }

    fn value(&mut self) -> Result<String, String> {
        let Some(Token::Word(text) | Token::Text(text)) = self.peek().cloned() else {
            return Err(self.unexpected("Expecting either a value, list or function"));
        };
        self.next += 1;
        Ok(text)
    }

    fn order(&mut self) -> Result<Order, String> {
        let (field, name) = self.field()?;
        if !matches!(field, Field::Created | Field::Updated | Field::Key) {
            return Err(format!("This fake does not order by '{name}'."));
        }
        let is_descending = self.takes_keyword("desc");
        if !is_descending {
            self.takes_keyword("asc");
        }
        Ok(Order { field, is_descending })
    }
}

impl Operator {
    fn sign(self) -> &'static str {
        match self {
            Self::Is => "=",
            Self::IsNot => "!=",
            Self::In => "in",
            Self::NotIn => "not in",
            Self::Contains => "~",
            Self::ContainsNot => "!~",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
        }
    }
}

fn field(name: &str, settings: &Settings) -> Option<Field> {
    let number = name.strip_prefix("cf[").and_then(|name| name.strip_suffix(']'));
    let is_custom = |known: &&crate::jira::settings::CustomField| match number {
        Some(number) => number.parse() == Ok(known.number),
        None => known.name.eq_ignore_ascii_case(name),
    };
    if let Some(known) = settings.custom_fields.iter().find(is_custom) {
        return Some(Field::Custom(known.number));
    }
    Some(match name.to_ascii_lowercase().as_str() {
        "project" => Field::Project,
        "key" | "issuekey" | "issue" | "id" => Field::Key,
        "issuetype" | "type" => Field::IssueType,
        "summary" => Field::Summary,
        "description" => Field::Description,
        "labels" => Field::Labels,
        "status" => Field::Status,
        "statuscategory" => Field::StatusCategory,
        "resolution" => Field::Resolution,
        "priority" => Field::Priority,
        "assignee" => Field::Assignee,
        "created" => Field::Created,
        "updated" => Field::Updated,
        _ => return None,
    })
}

/// Whether Jira has this operator for this field.
fn fits(field: &Field, operator: Operator, settings: &Settings) -> bool {
    use Operator as O;
    let is_text = match field {
        Field::Summary | Field::Description => true,
        Field::Custom(number) => settings
            .custom_fields
            .iter()
            .any(|known| known.number == *number && matches!(known.kind, Kind::Text)),
        _ => false,
    };
    match operator {
        O::Contains | O::ContainsNot => is_text,
        O::Less | O::AtMost | O::Greater | O::AtLeast => {
            matches!(field, Field::Created | Field::Updated)
        }
        O::Is | O::IsNot | O::In | O::NotIn => {
            !is_text && !matches!(field, Field::Created | Field::Updated)
        }
    }
}
