//! The file: lines, gzipped or not, each checked before anything is sent.

use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

use anyhow::Context as _;
use flate2::read::MultiGzDecoder;
use parley_domain::{UserId, check_name};
use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::plan::{Builder, Plan};
use crate::Usage;

/// The longest line.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Deserialize)]
struct Line<'a> {
    group: String,
    kind: Kind,
    user: String,
    /// Tells messages apart, whatever it is; the server gives them its own time.
    #[serde(borrow)]
    at: Option<&'a RawValue>,
    text: Option<String>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Message,
    Join,
    Leave,
}

/// Reads a transcript. A bad line is a [`Usage`] error that says which and why.
pub(super) fn read(path: &Path) -> anyhow::Result<Plan> {
    let cannot = || format!("{} can't be read", path.display());
    let mut file = BufReader::new(std::fs::File::open(path).with_context(cannot)?);
    if file.fill_buf().with_context(cannot)?.starts_with(&[0x1f, 0x8b]) {
        lines(BufReader::new(MultiGzDecoder::new(file)), path)
    } else {
        lines(file, path)
    }
}

fn lines(mut from: impl BufRead, path: &Path) -> anyhow::Result<Plan> {
    let mut builder = Builder::default();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        // Bounded: a file that is no transcript may have no line ends at all.
        let bytes = from
            .by_ref()
            .take(LINE_BYTES_MAX + 1)
            .read_until(b'\n', &mut line)
            .with_context(|| format!("{}, line {number}, can't be read", path.display()))?;
        if bytes == 0 {
            break;
        }
        let added = if bytes as u64 > LINE_BYTES_MAX {
            Err(format!("longer than {LINE_BYTES_MAX} bytes"))
        } else {
            add(&mut builder, number, line.trim_ascii())
        };
        added.map_err(|why| Usage(format!("{}, line {number}: {why}", path.display())))?;
    }
    Ok(builder.finish())
}

/// What is wrong with a line, without the library's words, which may quote what somebody said.
fn why(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        Category::Data => "not an object with group, kind (message, join or leave), user and text",
        Category::Syntax | Category::Eof | Category::Io => "no JSON",
    };
    format!("{what} (column {})", error.column())
}

fn add(builder: &mut Builder, number: u64, line: &[u8]) -> Result<(), String> {
    if line.is_empty() {
        return Ok(());
    }
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| why(&error))?;
    let user = UserId::parse(&line.user).map_err(|error| format!("user: {error}"))?;
    check_name(&line.group).map_err(|rejection| format!("group: {}", rejection.message))?;
    match (line.kind, line.text) {
        (Kind::Join, _) => builder.join(number, &line.group, user),
        // Every URL library takes these for steps in a path, so there is no call that names them.
        (Kind::Leave, _) if matches!(user.as_str(), "." | "..") => {
            return Err(format!("a user named {user} can't leave: no URL can name it"));
        }
        (Kind::Leave, _) => builder.leave(number, &line.group, user),
        (Kind::Message, Some(text)) => {
            builder.say(number, &line.group, user, line.at.map(RawValue::get), text);
        }
        (Kind::Message, None) => return Err("a message needs a text, which may be empty".into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::plan::Act;
    use super::*;

    fn parse(bytes: &[u8]) -> anyhow::Result<Plan> {
        lines(bytes, Path::new("some.jsonl"))
    }

    #[test]
    fn empty_texts_blank_lines_and_a_missing_last_line_end_are_fine() {
        let plan = parse(
            b"{\"group\":\"g\",\"at\":\"x\",\"kind\":\"message\",\"user\":\"a\",\"text\":\"\"}\r\n\n\
              {\"group\":\"g\",\"kind\":\"join\",\"user\":\"b\",\"more\":1}",
        )
        .unwrap();
        assert_eq!((plan.groups.len(), plan.users, plan.messages), (1, 2, 1));
    }

    #[test]
    fn the_time_tells_messages_apart_whatever_it_is() {
        let ids = |at: &str| {
            let line = format!(r#"{{"group":"g","at":{at},"kind":"message","user":"a","text":"t"}}"#);
            let steps = parse(line.as_bytes()).unwrap().groups.remove(0).steps;
            steps
                .into_iter()
                .find_map(|step| if let Act::Say { id, .. } = step.act { Some(id) } else { None })
        };
        let times = ["\"2026-01-01T00:00:00Z\"", "\"2026-01-02T00:00:00Z\"", "1", "1.0", "null", "{\"s\":1}"];
        let distinct: std::collections::HashSet<_> = times.into_iter().map(ids).collect();
        assert_eq!(distinct.len(), times.len());
        assert!(!distinct.contains(&None) && distinct.contains(&ids("1")));
    }

    #[test]
    fn a_bad_line_is_bad_usage_and_named() {
        let good = br#"{"group":"g","kind":"join","user":"u"}"#;
        let bad: [&[u8]; 10] = [
            b"{",
            br#"{"group":"g","kind":"x","user":"u"}"#,
            br#"{"group":"g","kind":"message","user":"u"}"#,
            br#"{"group":"g","kind":"join","user":""}"#,
            br#"{"group":"g","kind":"leave","user":".."}"#,
            br#"{"group":" ","kind":"join","user":"u"}"#,
            br#"{"group":"g","kind":"secret","user":"u"}"#,
            br#""secret""#,
            b"{\"group\":\"g\xff\",\"kind\":\"join\",\"user\":\"u\"}",
            &vec![b' '; 1024 * 1024 + 1],
        ];
        for line in bad {
            let error = parse(&[good, b"\n".as_slice(), line].concat()).err().unwrap();
            assert!(error.is::<Usage>() && error.to_string().starts_with("some.jsonl, line 2: "), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn gzipped_or_not_is_seen_by_the_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let text = br#"{"group":"g","kind":"message","user":"u","text":"t"}"#;
        let mut gzipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzipped, text).unwrap();
        for (name, bytes) in [("plain.gz", text.to_vec()), ("gzipped.jsonl", gzipped.finish().unwrap())] {
            std::fs::write(dir.path().join(name), bytes).unwrap();
            assert_eq!(read(&dir.path().join(name)).unwrap().messages, 1);
        }
    }
}
