//! The HTTP client of the commands that are clients themselves.

use std::net::IpAddr;

use reqwest::{Client, ClientBuilder};

/// A client for the server at `url`. What is on this machine isn't asked through a proxy (`HTTP_PROXY`): that would carry tokens
/// off it, and might well find another server there.
pub(crate) fn builder_for(url: &str) -> ClientBuilder {
    let builder = Client::builder();
    if is_loopback(url) { builder.no_proxy() } else { builder }
}

fn is_loopback(url: &str) -> bool {
    let url = reqwest::Url::parse(url);
    let host = url.as_ref().ok().and_then(reqwest::Url::host_str).unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address.parse().is_ok_and(|address: IpAddr| address.is_loopback() || address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_this_machine_is_told_by_its_host() {
        for (url, is_here) in [
            ("http://127.0.0.1:8080", true),
            ("http://127.1.2.3", true),
            ("http://0.0.0.0:8080", true),
            ("http://[::1]:8080", true),
            ("http://LOCALHOST:8080", true),
            ("http://localhost.example", false),
            ("http://192.0.2.1:8080", false),
            ("http://chat.example/127.0.0.1", false),
            ("no URL", false),
        ] {
            assert_eq!(is_loopback(url), is_here, "{url}");
        }
    }
}
