//! The structure holds: who may name whom, what is heavy stays in its room, sources are tidy, and the invariants that a
//! reader of the sources could check by eye.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};

use parley_tests::Value;
use parley_tests::repository::{Source, packages, read, sources};

const LINES_MAX: usize = 500;
/// Of a port, so that a provider is written in a day and read in an hour.
const PORT_METHODS_MAX: usize = 9;

/// Who may name whom: `parley → {edge, writer, projector} → {eventlog, readstore, media, keys} → wire → domain`.
const ROOMS: [(&str, &[&str]); 11] = [
    ("parley-domain", &[]),
    ("parley-wire", &["parley-domain"]),
    ("parley-keys", &["parley-wire", "parley-domain"]),
    ("parley-eventlog", &["parley-wire", "parley-domain"]),
    ("parley-readstore", &["parley-wire", "parley-domain"]),
    ("parley-media", &["parley-wire", "parley-domain"]),
    ("parley-writer", &STORES),
    ("parley-projector", &STORES),
    ("parley-edge", &STORES),
    ("parley", &ALL),
    // Clients that know nothing but the contract; `edge` for the echo server of the Autobahn suite.
    ("parley-tests", &["parley-domain", "parley-wire", "parley-edge"]),
];
const STORES: [&str; 6] =
    ["parley-eventlog", "parley-readstore", "parley-media", "parley-keys", "parley-wire", "parley-domain"];
const ALL: [&str; 9] = [
    "parley-edge",
    "parley-writer",
    "parley-projector",
    "parley-eventlog",
    "parley-readstore",
    "parley-media",
    "parley-keys",
    "parley-wire",
    "parley-domain",
];

/// Heavy dependencies, and the only rooms that may have them.
const HEAVY: [(&str, &[&str]); 20] = [
    ("fjall", &["parley-readstore", "parley-keys"]),
    ("aws-sdk-s3", &["parley-media"]),
    ("aws-smithy-runtime-api", &["parley-media"]),
    ("s3s", &["parley-media"]),
    ("axum", &["parley-edge", "parley"]),
    ("tower-http", &["parley-edge"]),
    ("fastwebsockets", &["parley-edge"]),
    ("jsonwebtoken", &["parley-edge"]),
    ("governor", &["parley-edge"]),
    ("prost", &["parley-wire"]),
    ("prost-build", &["parley-wire"]),
    ("tonic", &["parley-wire"]),
    ("schemars", &["parley-wire"]),
    ("clap", &["parley"]),
    ("toml", &["parley"]),
    ("metrics-exporter-prometheus", &["parley"]),
    ("parquet", &["parley"]),
    ("pulldown-cmark", &["parley"]),
    ("rdkafka", &["parley-eventlog"]),
    ("scylla", &["parley-readstore", "parley-keys"]),
];

/// Names of a package's dependencies; with or without those for its tests alone.
fn dependencies(package: &Value, with_dev: bool) -> BTreeSet<&str> {
    let all = package["dependencies"].as_array().unwrap().iter();
    let wanted = all.filter(|dependency| with_dev || dependency["kind"] != "dev");
    wanted.map(|dependency| dependency["name"].as_str().unwrap()).collect()
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap()
}

/// Fails with everything that was found at once.
fn none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

fn place(source: &Source, line: usize, text: &str) -> String {
    format!("{}:{line}: {}", source.path, text.trim())
}

#[test]
fn dependencies_point_one_way() {
    let packages = packages();
    let allowed: BTreeMap<&str, &[&str]> = ROOMS.into_iter().collect();
    let known: BTreeSet<&str> = allowed.keys().copied().collect();
    assert_eq!(packages.iter().map(name).collect::<BTreeSet<_>>(), known, "a new room is placed here first");
    let wrong = packages.iter().flat_map(|package| {
        let ours = dependencies(package, true).into_iter().filter(|dependency| known.contains(dependency));
        let wrong = ours.filter(|dependency| !allowed[name(package)].contains(dependency));
        wrong.map(|dependency| format!("{} names {dependency}", name(package))).collect::<Vec<_>>()
    });
    none("a dependency against the picture of ARCHITECTURE.md", wrong.collect());
}

/// A heavy dependency of the tests is a client, not the engine that the room would be about.
#[test]
fn what_is_heavy_stays_in_its_room() {
    let mut wrong = Vec::new();
    for package in packages().iter().filter(|package| name(package) != "parley-tests") {
        for (heavy, rooms) in HEAVY {
            if dependencies(package, false).contains(heavy) && !rooms.contains(&name(package)) {
                wrong.push(format!("{} depends on {heavy}", name(package)));
            }
        }
    }
    none("heavy dependencies outside their room", wrong);
}

/// Invariant: vendors' names stay in their providers.
#[test]
fn vendors_are_named_in_their_providers_only() {
    const VENDORS: [&str; 7] =
        ["fjall::", "rdkafka::", "scylla::", "aws_sdk_s3::", "s3s::", "parquet::", "tonic::"];
    const ROOMS: [(&str, &str); 2] =
        [("parquet::", "services/parley/src/export"), ("tonic::", "services/wire/src/rpc")];
    let mut wrong = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| source.path.starts_with("services/"))
        .filter(|source| source.path.contains("/src/"))
    {
        for (number, line) in source.text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
            // A filter of the log quotes one.
            let names = |vendor: &&str| line.contains(*vendor) && !line.contains(&format!("\"{vendor}"));
            for vendor in VENDORS.into_iter().filter(names) {
                let room =
                    ROOMS.iter().find(|(name, _)| *name == vendor).map_or("/providers/", |(_, room)| *room);
                if !source.path.contains(room) {
                    wrong.push(place(source, number, line));
                }
            }
        }
    }
    none("a vendor named outside its provider", wrong);
}

/// Invariant: decide, evolve and project are pure.
#[test]
fn the_domain_is_pure() {
    let packages = packages();
    let domain = packages.iter().find(|package| name(package) == "parley-domain").unwrap();
    assert_eq!(
        dependencies(domain, false),
        BTreeSet::from(["bytes", "hashbrown", "thiserror", "uuid"]),
        "no runtime, no formats, no clock; bytes are shared and never copied"
    );
    assert_eq!(
        dependencies(domain, true),
        BTreeSet::from(["bytes", "hashbrown", "thiserror", "uuid", "proptest"])
    );
    let effects = [
        "async ",
        ".await",
        "std::time",
        "std::fs",
        "std::net",
        "std::thread",
        "std::env",
        "static mut",
        "Mutex",
        "Atomic",
    ];
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.service() == Some("domain")) {
        for (line, text) in
            source.code().filter(|(_, text)| effects.iter().any(|effect| text.contains(effect)))
        {
            wrong.push(place(source, line, text));
        }
    }
    none("effects in the domain", wrong);
}

/// Rules for what is in a line or a file; words that this very file would hold are put together here.
#[test]
fn sources_are_tidy() {
    let word = |parts: [&str; 2]| parts.concat();
    let left =
        [word(["todo", "!("]), word(["unimplemented", "!("]), word(["dbg", "!("]), word(["FIX", "ME"])];
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.path.ends_with(".rs")) {
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{} has {lines} lines: what is it made of?", source.path));
        }
        if source.path.ends_with("/mod.rs") {
            wrong.push(format!("{}: a module is named by its file", source.path));
        }
        for (line, text) in (1..).zip(source.text.lines()) {
            if left.iter().any(|left| text.contains(left.as_str())) {
                wrong.push(place(source, line, text));
            }
        }
    }
    none("untidy sources", wrong);
}

/// What is committed works on any machine: nothing names this one's paths, or where packages come from.
#[test]
fn nothing_names_a_machine_or_a_registry() {
    let path = ["/wo", "rk/"].concat();
    let hosts: Vec<String> = [
        ["crates", "io"],
        ["index.crates", "io"],
        ["npmjs", "org"],
        ["npmjs", "com"],
        ["yarnpkg", "com"],
        ["pypi", "org"],
        ["pythonhosted", "org"],
        ["proxy.golang", "org"],
        ["repo1.maven", "org"],
        ["repo.maven.apache", "org"],
        ["rubygems", "org"],
        ["docker", "io"],
        ["ghcr", "io"],
    ]
    .map(|parts| parts.join("."))
    .into();
    let mut wrong = Vec::new();
    for source in &sources() {
        for (line, text) in (1..).zip(source.text.lines()) {
            // Cargo's own name for its default registry, in the lock file; no host.
            let text =
                text.replace(&["registry+https://github.com/rust-lang/crates", "io-index"].join("."), "");
            if text.contains(&path) || hosts.iter().any(|host| text.contains(host.as_str())) {
                wrong.push(place(source, line, &text));
            }
        }
    }
    none("paths of a machine, or hosts of registries", wrong);
}

/// Invariant: event names of the wire are in `wire`. Checked for names of several words; `error` may mean something else.
#[test]
fn names_of_the_wire_stay_in_wire() {
    let names = read("services/wire/src/frame/outgoing.rs");
    let names = names.lines().filter_map(|line| line.trim().strip_prefix("pub const ")?.split('"').nth(1));
    let literals: Vec<String> =
        names.filter(|name| name.contains('_')).map(|name| format!("\"{name}\"")).collect();
    assert!(literals.len() > 15, "the names were found");
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.service().is_some_and(|service| service != "wire"))
    {
        for (line, text) in
            source.code().filter(|(_, text)| literals.iter().any(|name| text.contains(name.as_str())))
        {
            wrong.push(place(source, line, text));
        }
    }
    none("names of frames outside wire: use parley_wire::frame::names", wrong);
}

/// Calls of a method outside the services that may make them. Headers have a method of the same name.
fn calls(method: &str, may: &[&str]) -> Vec<String> {
    let call = format!(".{method}(");
    let mut wrong = Vec::new();
    for source in
        sources().iter().filter(|source| source.service().is_some_and(|service| !may.contains(&service)))
    {
        // A file's own tests set up what they need.
        let product = source.code().take_while(|(_, text)| *text != "mod tests {");
        for (line, text) in product.filter(|(_, text)| text.contains(&call)) {
            let of_headers = ["headers", "headers_mut()"].map(|headers| format!("{headers}{call}"));
            if !of_headers.iter().any(|headers| text.contains(headers.as_str())) {
                wrong.push(place(source, line, text));
            }
        }
    }
    wrong
}

/// Invariant: only the writer appends; the log itself tests that it can.
#[test]
fn only_the_writer_appends() {
    none("appends outside the writer", calls("append", &["writer", "eventlog"]));
}

/// Invariant: only the projector writes rows; the read store tests that it can, and the domain folds in memory.
#[test]
fn only_the_projector_writes_rows() {
    none("rows written outside the projector", calls("apply", &["projector", "readstore", "domain"]));
}

/// Invariant: every queue is bounded.
#[test]
fn no_queue_is_unbounded() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.service().is_some()) {
        let unbounded = |text: &str| {
            ["unbounded_channel", "mpsc::unbounded", "unbounded()"].iter().any(|one| text.contains(one))
        };
        wrong.extend(
            source.code().filter(|(_, text)| unbounded(text)).map(|(line, text)| place(source, line, text)),
        );
    }
    none("unbounded queues", wrong);
}

#[test]
fn ports_are_small() {
    let mut count = 0;
    for room in ["eventlog", "readstore", "media", "keys"] {
        let source = read(&format!("services/{room}/src/port.rs"));
        for port in source.split("\npub trait ").skip(1) {
            let methods = port.split("\n}").next().unwrap();
            let methods = methods
                .lines()
                .map(str::trim)
                .filter(|line| line.starts_with("fn ") || line.starts_with("async fn "));
            let methods = methods.count();
            let name = port.split(|c: char| !c.is_alphanumeric()).next().unwrap();
            assert!(methods <= PORT_METHODS_MAX, "{room}: {name} has {methods} methods");
            count += 1;
        }
    }
    assert!(count >= 6, "the ports were found");
}

/// Every package takes its version and edition from the workspace, and every service its lints. (Tests have lints of their
/// own: they fail by panicking.)
#[test]
fn packages_follow_the_workspace() {
    for package in packages() {
        let manifest = std::fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        for line in ["version.workspace = true", "edition.workspace = true", "license.workspace = true"] {
            assert!(manifest.contains(line), "{}: {line}", name(&package));
        }
        let has_lints = manifest.contains("[lints]\nworkspace = true");
        assert!(has_lints || name(&package) == "parley-tests", "{}: the workspace's lints", name(&package));
    }
}
