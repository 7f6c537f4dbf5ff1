//! The frame that all pages have, and how text becomes HTML.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use base64::Engine as _;

/// In every page, so that a page is one file; the policy names its hash.
const STYLE: &str = include_str!("style.css");

/// Text that stands in HTML, or in an attribute.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Text whose parts between backquotes are code.
pub(super) fn inline(text: &str) -> String {
    let mut html = String::new();
    for (nth, part) in text.split('`').enumerate() {
        let part = escape(part);
        if nth % 2 == 1 {
            let _ = write!(html, "<code>{part}</code>");
        } else {
            html.push_str(&part);
        }
    }
    html
}

/// The hash of the pages' style, as a content security policy names it.
pub(super) fn style_hash() -> String {
    let hash = digest::digest(&digest::SHA256, STYLE.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(hash)
}

/// A whole page.
pub(super) fn page(name: &str, title: &str, pages: &[(&str, &str)], main: &str) -> String {
    let mut nav = String::new();
    for (other, title) in pages {
        let here = if *other == name { " aria-current=\"page\"" } else { "" };
        let _ = write!(nav, "<a href=\"/docs/{other}\"{here}>{}</a>", escape(title));
    }
    let title = if name.is_empty() { "Parley".to_owned() } else { format!("{} - Parley", escape(title)) };
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title><style>{STYLE}</style></head>\
         <body><header><a class=\"home\" href=\"/docs\">Parley</a><nav>{nav}</nav></header><main>{main}</main></body></html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(inline("a < b `x & \"y\"` c"), "a &lt; b <code>x &amp; &quot;y&quot;</code> c");
    }
}
