//! An S3 in one line of configuration.

use http::Uri;

use super::{S3Credentials, S3Options};
use crate::error::Error;

/// Part of every signature; what servers other than AWS usually call themselves.
const REGION: &str = "us-east-1";

impl S3Options {
    /// Options from `s3://BUCKET/PREFIX?endpoint=http://HOST:PORT&region=REGION&path_style=true`.
    ///
    /// Only the bucket must be there. The prefix gets a `/` at its end. Without `endpoint` it is AWS' own; the region is
    /// `us-east-1` by default. `path_style` is true by default if there is an endpoint, since few servers have a name for
    /// each bucket, and false without one. Nothing is percent-encoded. Credentials are never in the URL, which people
    /// print and log.
    ///
    /// # Errors
    /// [`Error::Configuration`], saying which part can't work.
    pub fn parse(url: &str, credentials: S3Credentials) -> Result<Self, Error> {
        let options = parse(url, credentials).map_err(|reason| Error::Configuration { reason })?;
        options.check()?;
        Ok(options)
    }

    /// Whether a URL can be meant, without credentials at hand.
    ///
    /// # Errors
    /// [`Error::Configuration`], saying which part can't work; nothing of the URL is repeated.
    pub fn check_url(url: &str) -> Result<(), Error> {
        let none = S3Credentials {
            access_key_id: String::new(),
            secret_access_key: String::new(),
            session_token: None,
        };
        parse(url, none).map(drop).map_err(|reason| Error::Configuration { reason })
    }
}

fn parse(url: &str, credentials: S3Credentials) -> Result<S3Options, &'static str> {
    let rest = url.strip_prefix("s3://").ok_or("the URL of an S3 begins with s3://")?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if bucket.contains('@') {
        return Err("the URL of an S3 must hold no credentials");
    }
    if bucket.is_empty() || !bucket.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        return Err("the URL of an S3 has no bucket name after s3:// (letters, digits, '-' and '.')");
    }
    let prefix = prefix.trim_end_matches('/');
    let is_prefix = prefix.is_empty() || is_made_of_key(prefix) && prefix.split('/').all(is_part);
    if !is_prefix {
        return Err("the prefix in the URL of an S3 is no key (letters, digits, '-', '_', '.' and '/')");
    }
    let (mut endpoint_url, mut region, mut path_style) = (None, None, None);
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let is_again = match name {
            "endpoint" => {
                let url = endpoint(value).ok_or("the endpoint of an S3 must be http(s)://host[:port]")?;
                endpoint_url.replace(url).is_some()
            }
            "region" if is_region(value) => region.replace(value.to_owned()).is_some(),
            "region" => return Err("the region of an S3 has other characters than letters, digits and '-'"),
            "path_style" => {
                let value = value.parse().map_err(|_| "path_style of an S3 is true or false")?;
                path_style.replace(value).is_some()
            }
            _ => {
                return Err(
                    "the URL of an S3 knows endpoint, region and path_style, nothing else, credentials least of all",
                );
            }
        };
        if is_again {
            return Err("the URL of an S3 says something twice");
        }
    }
    Ok(S3Options {
        bucket: bucket.to_owned(),
        prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
        region: region.unwrap_or_else(|| REGION.to_owned()),
        path_style: path_style.unwrap_or(endpoint_url.is_some()),
        endpoint_url,
        credentials,
    })
}

fn is_made_of_key(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b))
}

fn is_part(part: &str) -> bool {
    !matches!(part, "" | "." | "..")
}

fn is_region(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// `scheme://host[:port]` without a default port, which clients don't send in `Host` and so must not be signed. `None` if
/// there is anything else in it, such as a path or a password.
pub(crate) fn endpoint(url: &str) -> Option<String> {
    let url: Uri = url.parse().ok()?;
    let scheme = url.scheme_str()?;
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = url.authority()?;
    if !matches!(url.path(), "" | "/") || url.query().is_some() || authority.as_str().contains('@') {
        return None;
    }
    let host = authority.host();
    Some(match authority.port_u16() {
        Some(port) if port != default_port => format!("{scheme}://{host}:{port}"),
        _ => format!("{scheme}://{host}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> S3Credentials {
        S3Credentials {
            access_key_id: "a".to_owned(),
            secret_access_key: "s".to_owned(),
            session_token: None,
        }
    }

    /// Bucket, prefix, region, endpoint, path style.
    fn parts(url: &str) -> (String, String, String, Option<String>, bool) {
        let options = S3Options::parse(url, credentials()).unwrap();
        (options.bucket, options.prefix, options.region, options.endpoint_url, options.path_style)
    }

    #[test]
    fn a_url_says_where_the_bucket_is() {
        let text = str::to_owned;
        let aws = |region| (text("pictures"), text(""), text(region), None, false);
        assert_eq!(parts("s3://pictures"), aws("us-east-1"));
        assert_eq!(parts("s3://pictures/"), aws("us-east-1"));
        assert_eq!(parts("s3://pictures?region=eu-central-1"), aws("eu-central-1"));
        let own = |prefix: &str, endpoint: &str, path_style| {
            (text("parley"), text(prefix), text("us-east-1"), Some(text(endpoint)), path_style)
        };
        let local = "http://127.0.0.1:7070";
        let full = "s3://parley/chat/media?endpoint=http://127.0.0.1:7070&region=us-east-1&path_style=true";
        assert_eq!(parts(full), own("chat/media/", local, true));
        assert_eq!(parts("s3://parley/a/?endpoint=http://127.0.0.1:7070/"), own("a/", local, true));
        let by_name = "s3://parley?path_style=false&endpoint=https://s3.example.com:443";
        assert_eq!(parts(by_name), own("", "https://s3.example.com", false));
    }

    #[test]
    fn what_can_t_be_meant_is_refused_and_named() {
        for (url, named) in [
            ("", "s3://"),
            ("https://bucket", "s3://"),
            ("S3://bucket", "s3://"),
            ("s3://", "bucket"),
            ("s3:///prefix", "bucket"),
            ("s3://buck et", "bucket"),
            ("s3://bucket:7070", "bucket"),
            ("s3://key:secret@bucket", "credentials"),
            ("s3://bucket//prefix", "prefix"),
            ("s3://bucket/a/../b", "prefix"),
            ("s3://bucket/a%20b", "prefix"),
            ("s3://bucket?endpoint=127.0.0.1:7070", "endpoint"),
            ("s3://bucket?endpoint=http://a:b@host", "endpoint"),
            ("s3://bucket?endpoint=http://host/path", "endpoint"),
            ("s3://bucket?endpoint", "endpoint"),
            ("s3://bucket?region=", "region"),
            ("s3://bucket?region=eu/1", "region"),
            ("s3://bucket?path_style=yes", "path_style"),
            ("s3://bucket?path_style", "path_style"),
            ("s3://bucket?acl=public", "nothing else"),
            ("s3://bucket?region=a&region=b", "twice"),
        ] {
            let error = S3Options::parse(url, credentials()).unwrap_err();
            let Error::Configuration { reason } = &error else { panic!("{url}: {error:?}") };
            assert!(reason.contains(named), "{url}: {reason}");
        }
    }

    #[test]
    fn credentials_must_be_there() {
        let none = S3Credentials { access_key_id: String::new(), ..credentials() };
        let error = S3Options::parse("s3://bucket", none).unwrap_err();
        assert!(error.to_string().contains("credentials"), "{error}");
    }

    #[test]
    fn an_endpoint_is_scheme_host_and_port() {
        for (given, made) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://localhost:80/", "http://localhost"),
            ("https://chat.example.com:443", "https://chat.example.com"),
            ("https://chat.example.com", "https://chat.example.com"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(endpoint(given).as_deref(), Some(made));
        }
        for bad in
            ["", "127.0.0.1:8080", "ftp://x", "http://x/path", "http://x/?q", "http://a:b@x", "http://"]
        {
            assert!(endpoint(bad).is_none(), "{bad}");
        }
    }
}
