//! Pages that people wrote.

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

/// Where a link of a file in `schemas/docs` leads once it is served: every page and file lies under `/docs/`, by its own
/// name.
fn served(link: &str) -> String {
    if link.starts_with('#') || link.starts_with('/') || link.contains("://") {
        return link.to_owned();
    }
    let (path, fragment) = link.split_once('#').map_or((link, None), |(path, rest)| (path, Some(rest)));
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = name.strip_suffix(".md").unwrap_or(name);
    fragment.map_or_else(|| format!("/docs/{name}"), |fragment| format!("/docs/{name}#{fragment}"))
}

/// As it is known from where such files are usually read: lower case, `-` for blanks, nothing else but letters and digits.
fn slug(text: &str) -> String {
    let kept = text.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The text of a heading that begins at an event.
fn heading_text(events: &[Event<'_>]) -> String {
    let inside = events.iter().skip(1).take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
    let mut heading = String::new();
    for event in inside {
        if let Event::Text(text) | Event::Code(text) = event {
            heading.push_str(text);
        }
    }
    heading
}

/// HTML of a page. HTML in it is shown as text.
pub(super) fn render(text: &str) -> String {
    let mut events: Vec<Event<'_>> = Parser::new_ext(text, Options::ENABLE_TABLES).collect();
    for nth in 0..events.len() {
        let (_, after) = events.split_at_mut(nth);
        let id = match after.first() {
            Some(Event::Start(Tag::Heading { .. })) => slug(&heading_text(after)),
            _ => String::new(),
        };
        match after.first_mut() {
            Some(Event::Start(Tag::Heading { id: place, .. })) => *place = Some(CowStr::from(id)),
            Some(Event::Start(Tag::Link { dest_url, .. })) => *dest_url = CowStr::from(served(dest_url)),
            Some(event) => {
                if let Event::Html(raw) | Event::InlineHtml(raw) = event {
                    *event = Event::Text(raw.clone());
                }
            }
            None => {}
        }
    }
    let mut rendered = String::new();
    html::push_html(&mut rendered, events.into_iter());
    rendered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_have_names_links_lead_to_what_is_served_and_html_is_text() {
        let html = render(
            "## Gap `detection`, why\n\n[a](client.md#x) [b](../parley/events/v1/events.proto) [c](#y)\n\n<b>x</b>",
        );
        for expected in [
            "<h2 id=\"gap-detection-why\">",
            "href=\"/docs/client#x\"",
            "href=\"/docs/events.proto\"",
            "href=\"#y\"",
            "&lt;b&gt;",
        ] {
            assert!(html.contains(expected), "{expected}: {html}");
        }
    }
}
