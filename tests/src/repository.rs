//! The repository as data, for tests that hold its structure.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Where the workspace lies.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The text of a file that must be there.
#[must_use]
pub fn read(file: &str) -> String {
    let path = root().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A text file and where it lies, from the root.
#[derive(Debug)]
pub struct Source {
    /// With `/` between its parts.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// What is built or stored beside the sources; `.gitignore` says the same.
const LEFT_OUT: [&str; 9] = [
    "target",
    "parley-data",
    "parley-engines",
    "parley-cluster",
    ".cache",
    ".git",
    "node_modules",
    "__pycache__",
    ".pytest_cache",
];

/// All text files of the repository that are or will be committed.
#[must_use]
pub fn sources() -> Vec<Source> {
    let (root, mut sources) = (root(), Vec::new());
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), entry.file_name());
            let is_left_out =
                LEFT_OUT.iter().any(|left_out| *left_out == name) || name.to_string_lossy().ends_with(".log");
            if is_left_out {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                let path = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                sources.push(Source { path, text });
            }
        }
    }
    assert!(sources.len() > 100, "the walk found {} files", sources.len());
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    sources
}

impl Source {
    /// The service whose program this is part of: `edge` of `services/edge/src/…`.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        let (service, rest) = self.path.strip_prefix("services/")?.split_once('/')?;
        rest.starts_with("src/").then_some(service)
    }

    /// Numbers and texts of its lines, without those that are comments.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines()).filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

/// What cargo knows of the workspace's own packages.
#[must_use]
pub fn packages() -> Vec<Value> {
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}
