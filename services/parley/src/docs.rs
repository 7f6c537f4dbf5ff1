//! `/docs`: what clients and readers of the log rely on, rendered from what is published, so that it can't be stale.
//!
//! Static pages, each made once, without any script and without anything from elsewhere. The references are rendered from
//! the very documents that are served as JSON beside them; the other pages are `schemas/docs/*.md`.

mod html;
mod markdown;
mod reference;
mod schema;

use std::sync::LazyLock;

use axum::Router;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use parley_wire::documents;
use serde_json::Value;

/// Pages that people wrote: name, title, text.
const WRITTEN: [(&str, &str, &str); 4] = [
    ("client", "Write your own client", include_str!("../../../schemas/docs/client.md")),
    ("transcript", "A conversation, frame by frame", include_str!("../../../schemas/docs/transcript.md")),
    ("codes", "Error codes and close codes", include_str!("../../../schemas/docs/codes.md")),
    ("log", "The log, for analysts", include_str!("../../../schemas/docs/log.md")),
];

/// Files for programs: name, content type, bytes.
const FILES: [(&str, &str, &[u8]); 3] = [
    ("events.proto", TEXT, include_bytes!("../../../schemas/parley/events/v1/events.proto")),
    ("commands.proto", TEXT, include_bytes!("../../../schemas/parley/commands/v1/commands.proto")),
    ("parley.binpb", "application/octet-stream", include_bytes!("../../../schemas/parley.binpb")),
];

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// A page or file under `/docs/`.
struct Page {
    name: &'static str,
    kind: &'static str,
    body: Bytes,
}

static PAGES: LazyLock<Vec<Page>> = LazyLock::new(pages);
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        html::style_hash()
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// What a person may open, in the order of the navigation.
fn titles() -> Vec<(&'static str, &'static str)> {
    let references = [("rest", "REST reference"), ("websocket", "WebSocket reference")];
    let written = WRITTEN.iter().map(|(name, title, _)| (*name, *title));
    references.into_iter().chain(written).collect()
}

fn json(document: &Value) -> Bytes {
    serde_json::to_vec_pretty(document).unwrap_or_default().into()
}

fn pages() -> Vec<Page> {
    let titles = titles();
    let page = |name: &str, title: &str, main: &str| Bytes::from(html::page(name, title, &titles, main));
    let (openapi, asyncapi) = (documents::openapi(), documents::asyncapi());
    let mut pages = vec![
        Page { name: "", kind: HTML, body: page("", "Parley", &index(&titles)) },
        Page { name: "rest", kind: HTML, body: page("rest", "REST reference", &reference::rest(&openapi)) },
        Page {
            name: "websocket",
            kind: HTML,
            body: page("websocket", "WebSocket reference", &reference::websocket(&asyncapi)),
        },
        Page { name: "openapi.json", kind: JSON, body: json(&openapi) },
        Page { name: "asyncapi.json", kind: JSON, body: json(&asyncapi) },
    ];
    for (name, title, text) in WRITTEN {
        pages.push(Page { name, kind: HTML, body: page(name, title, &markdown::render(text)) });
    }
    for (name, kind, bytes) in FILES {
        pages.push(Page { name, kind, body: Bytes::from_static(bytes) });
    }
    pages
}

fn index(titles: &[(&str, &str)]) -> String {
    let item = |(name, title): &(&str, &str)| format!("<li><a href=\"/docs/{name}\">{title}</a></li>");
    let pages: String = titles.iter().map(item).collect();
    let files: String = ["openapi.json", "asyncapi.json"]
        .into_iter()
        .chain(FILES.iter().map(|(name, _, _)| *name))
        .map(|name| format!("<li><a href=\"/docs/{name}\"><code>{name}</code></a></li>"))
        .collect();
    format!(
        "<h1>Parley</h1><p>Group chat that loses nothing. What clients and readers of its log may rely on:</p>\
         <ul>{pages}</ul><h2>For programs</h2><ul>{files}</ul>"
    )
}

fn respond(page: &Page) -> Response {
    let headers: [(HeaderName, HeaderValue); 4] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(page.kind)),
        (header::CONTENT_SECURITY_POLICY, POLICY.clone()),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, page.body.clone()).into_response()
}

/// `/docs` and everything under it.
pub(crate) fn router() -> Router {
    let mut router = Router::new().route("/docs/", get(|| async { Redirect::permanent("/docs") }));
    for (nth, page) in PAGES.iter().enumerate() {
        let path = if page.name.is_empty() { "/docs".to_owned() } else { format!("/docs/{}", page.name) };
        let answer = move || async move {
            PAGES.get(nth).map_or_else(|| StatusCode::NOT_FOUND.into_response(), respond)
        };
        router = router.route(&path, get(answer));
    }
    router
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn text(page: &Page) -> String {
        String::from_utf8(page.body.to_vec()).unwrap()
    }

    fn pages_of_html() -> impl Iterator<Item = &'static Page> {
        PAGES.iter().filter(|page| page.kind == HTML)
    }

    /// The values of an attribute.
    fn values(html: &str, attribute: &str) -> Vec<String> {
        let start = format!(" {attribute}=\"");
        html.split(&start).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn nothing_runs_and_nothing_comes_from_elsewhere() {
        for page in pages_of_html() {
            let html = text(page);
            for forbidden in
                ["<script", "javascript:", " src=", "@import", "url(", " style=", "<iframe", "<link"]
            {
                assert!(!html.contains(forbidden), "{}: {forbidden}", page.name);
            }
            assert_eq!(html.matches("<style>").count(), 1);
            let ids = values(&html, "id");
            assert_eq!(
                ids.len(),
                ids.iter().collect::<BTreeSet<_>>().len(),
                "{}: an id occurs twice",
                page.name
            );
        }
        assert!(POLICY.to_str().unwrap().starts_with("default-src 'none'; style-src 'sha256-"));
    }

    #[test]
    fn links_lead_somewhere() {
        let known: BTreeSet<String> = PAGES.iter().map(|page| format!("/docs/{}", page.name)).collect();
        for page in pages_of_html() {
            let html = text(page);
            for link in values(&html, "href").iter().filter(|link| !link.starts_with("http")) {
                let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
                let target = match path {
                    "" => page,
                    "/docs" | "/" => continue,
                    path => {
                        assert!(known.contains(path), "{}: {link}", page.name);
                        PAGES.iter().find(|page| format!("/docs/{}", page.name) == path).unwrap()
                    }
                };
                let is_there =
                    fragment.is_empty() || values(&text(target), "id").iter().any(|id| id == fragment);
                assert!(is_there, "{}: {link}", page.name);
            }
        }
    }

    #[test]
    fn every_route_frame_and_schema_has_its_place() {
        let of = |name: &str| text(PAGES.iter().find(|page| page.name == name).unwrap());
        let (rest, socket) = (of("rest"), of("websocket"));
        let (openapi, asyncapi) = (documents::openapi(), documents::asyncapi());
        for path in openapi["paths"].as_object().unwrap().keys() {
            assert!(rest.contains(&html::escape(path)), "{path}");
        }
        for message in asyncapi["components"]["messages"].as_object().unwrap().values() {
            assert!(socket.contains(message["name"].as_str().unwrap()), "{message}");
        }
        for (document, page) in [(&openapi, &rest), (&asyncapi, &socket)] {
            for name in document["components"]["schemas"].as_object().unwrap().keys() {
                assert!(page.contains(&format!("id=\"schema-{name}\"")), "{name}");
            }
        }
    }
}
