//! The structure holds: who may name whom, what is heavy stays in its room, files are tidy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use parley_tests::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Each package's own dependencies, development aside.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter().map(|package| {
        let all = package["dependencies"].as_array().unwrap().iter().filter(|dependency| dependency["kind"] != "dev");
        let names = all.map(|dependency| dependency["name"].as_str().unwrap().to_owned());
        (package["name"].as_str().unwrap().to_owned(), names.collect())
    });
    packages.collect()
}

#[test]
fn dependencies_point_one_way() {
    let allowed: [(&str, &[&str]); 10] = [
        ("domain", &[]),
        ("wire", &["domain"]),
        ("keys", &["domain", "wire"]),
        ("eventlog", &["domain", "wire"]),
        ("readstore", &["domain", "wire"]),
        ("media", &["domain", "wire"]),
        ("writer", &["domain", "wire", "keys", "eventlog", "readstore"]),
        ("projector", &["domain", "wire", "eventlog", "readstore"]),
        ("edge", &["domain", "wire", "keys", "eventlog", "readstore", "media"]),
        ("parley", &["domain", "wire", "keys", "eventlog", "readstore", "media", "writer", "projector", "edge"]),
    ];
    let all = dependencies();
    for (room, may) in allowed {
        let package = if room == "parley" { room.to_owned() } else { format!("parley-{room}") };
        for dependency in all[&package].iter().filter_map(|name| name.strip_prefix("parley-")) {
            assert!(may.contains(&dependency), "{room} must not name {dependency}");
        }
    }
    assert_eq!(all.len(), allowed.len() + 1, "a new room must be placed here");
}

#[test]
fn what_is_heavy_stays_in_its_room() {
    let homes: [(&str, &[&str]); 12] = [
        ("fjall", &["parley-readstore", "parley-keys"]),
        ("aws-sdk-s3", &["parley-media"]),
        ("s3s", &["parley-media"]),
        ("axum", &["parley-edge", "parley"]),
        ("fastwebsockets", &["parley-edge"]),
        ("jsonwebtoken", &["parley-edge"]),
        ("prost", &["parley-wire"]),
        ("clap", &["parley"]),
        ("toml", &["parley"]),
        ("bincode", &["parley-readstore"]),
        ("rdkafka", &[]),
        ("scylla", &[]),
    ];
    for (package, dependencies) in dependencies() {
        for (heavy, may) in homes {
            let named = dependencies.iter().any(|name| name == heavy);
            assert!(!named || may.contains(&package.as_str()) || package == "parley-tests", "{heavy} must not be in {package}");
        }
        if package == "parley-domain" {
            assert_eq!(dependencies, ["thiserror", "uuid"], "the core is pure");
        }
    }
}

fn tracked(suffixes: &[&str]) -> Vec<(String, String)> {
    let output = Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root()).output().unwrap();
    let names = String::from_utf8(output.stdout).unwrap();
    let wanted = names.lines().filter(|name| suffixes.iter().any(|suffix| name.ends_with(suffix)));
    let files: Vec<_> = wanted
        .filter_map(|name| Some((name.to_owned(), std::fs::read_to_string(root().join(name)).ok()?)))
        .collect();
    assert!(files.len() > 3, "git lists the files");
    files
}

#[test]
fn files_are_tidy() {
    for (name, text) in tracked(&[".rs"]) {
        let lines = text.lines().count();
        assert!(lines <= 500, "{name} has {lines} lines: what is it really made of?");
        assert!(!name.ends_with("/mod.rs"), "{name}: no mod.rs");
        for left in ["todo", "unimplemented", "dbg"].map(|word| format!("{word}!(")) {
            assert!(!text.contains(&left), "{name} has {left}");
        }
        assert!(!text.contains(&["FIX", "ME"].concat()), "{name} has something left open");
    }
    let machine = ["/wo", "rk/"].concat();
    let registries = ["crates", "npmjs", "pypi"].map(|name| match name {
        "crates" => "static.crates.io".replace('.', "\u{2e}"),
        "npmjs" => format!("registry.{name}.org"),
        other => format!("{other}.org"),
    });
    for (name, text) in tracked(&[".rs", ".md", ".toml", ".json", ".proto", "scripts/run", "scripts/test", ".sh"]) {
        assert!(!text.contains(&machine), "{name} names a path of some machine");
        for registry in registries.iter().filter(|_| !name.ends_with("shape.rs")) {
            assert!(!text.contains(registry.as_str()), "{name} names {registry}");
        }
    }
}

#[test]
fn names_of_the_wire_stay_in_wire_and_writers_write_alone() {
    for (name, text) in tracked(&[".rs"]) {
        let in_service = name.starts_with("services/") && name.contains("/src/");
        if in_service && !name.starts_with("services/wire/") && !name.starts_with("services/parley/src/import/") {
            for event in ["group_message_accepted", "subscribed_to_group", "a_group_created", "group_event"] {
                assert!(!text.contains(&format!("\"{event}\"")), "{name} names {event}: use parley_wire::frame::names");
            }
        }
        let appends = text.contains("log.append(");
        assert!(!appends || !in_service || name.starts_with("services/writer/") || name.starts_with("services/eventlog/"), "{name} appends");
        let applies = text.contains("model.apply(");
        assert!(!applies || !in_service || name.starts_with("services/projector/") || name.starts_with("services/readstore/"), "{name} writes rows");
    }
}
