//! `GET /docs/runbook.md`, `GET /docs/operations.md`: what messages about alerts link to, as it was when
//! this was built. Nobody need log in: they hold no secret, and who is called at night has no session.
//! A browser gets a page with an anchor at each heading; everybody else the text itself.

use std::sync::OnceLock;

use axum::{
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html::push_html};

use super::file;

const RUNBOOK: &str = include_str!("../../../docs/runbook.md");
const OPERATIONS: &str = include_str!("../../../docs/operations.md");

pub(in crate::admin) async fn runbook(headers: HeaderMap) -> Response {
    static PAGE: OnceLock<String> = OnceLock::new();
    answer(&headers, RUNBOOK, &PAGE)
}

pub(in crate::admin) async fn operations(headers: HeaderMap) -> Response {
    static PAGE: OnceLock<String> = OnceLock::new();
    answer(&headers, OPERATIONS, &PAGE)
}

pub(in crate::admin) async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("manual.css"))
}

fn answer(headers: &HeaderMap, text: &'static str, page: &'static OnceLock<String>) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let response = if accept.is_some_and(|accept| accept.contains("text/html")) {
        file("text/html; charset=utf-8", page.get_or_init(|| html(text)))
    } else {
        file("text/plain; charset=utf-8", text)
    };
    ([(header::VARY, HeaderValue::from_static("accept"))], response).into_response()
}

/// A page of Markdown, whose first heading is its title.
fn html(markdown: &str) -> String {
    let title = markdown.lines().next().unwrap_or_default().trim_start_matches('#').trim();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Faultline: {title}</title>\n\
         <link rel=\"stylesheet\" href=\"/docs/manual.css\">\n</head>\n<body>\n<main>\n"
    );
    let mut events: Vec<Event<'_>> = Parser::new_ext(markdown, Options::ENABLE_TABLES).collect();
    let starts = events.iter().enumerate().filter(|(_, event)| is_heading(event));
    for start in starts.map(|(index, _)| index).collect::<Vec<_>>() {
        let anchor = anchor(&events[start + 1..]);
        if let Event::Start(Tag::Heading { id, .. }) = &mut events[start] {
            *id = Some(CowStr::from(anchor));
        }
    }
    push_html(&mut page, events.into_iter());
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn is_heading(event: &Event<'_>) -> bool {
    matches!(event, Event::Start(Tag::Heading { .. }))
}

/// The anchor of the heading whose content comes now, as GitHub makes it: links are written for that.
fn anchor(content: &[Event<'_>]) -> String {
    let mut heading = String::new();
    for event in content {
        match event {
            Event::End(TagEnd::Heading(_)) => break,
            Event::Text(text) | Event::Code(text) => heading.push_str(text),
            _ => {}
        }
    }
    let heading = heading.to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_heading_is_an_anchor_and_each_link_within_leads_to_one() {
        let pages = [RUNBOOK, OPERATIONS].map(html);
        for (page, other) in [(&pages[0], "operations.md"), (&pages[1], "runbook.md")] {
            assert!(page.contains("<h2 id=\""), "{page}");
            for link in page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
                let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
                let target = match file {
                    "" => page,
                    "operations.md" => &pages[1],
                    "runbook.md" => &pages[0],
                    file => {
                        assert_eq!(file, "/docs/manual.css", "{link}");
                        continue;
                    }
                };
                let has_anchor = target.contains(&format!(" id=\"{anchor}\""));
                assert!(anchor.is_empty() || has_anchor, "{link} of the page beside {other}");
            }
        }
        let page = html("# Title\n\n## `a-b`: c & D\n\n| x |\n|---|\n| <b> |\n");
        assert!(page.contains("<title>Faultline: Title</title>"), "{page}");
        assert!(page.contains("<h2 id=\"a-b-c--d\"><code>a-b</code>: c &amp; D</h2>"), "{page}");
        assert!(page.contains("<table>"), "{page}");
    }
}
