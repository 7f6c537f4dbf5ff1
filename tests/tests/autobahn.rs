//! Autobahn's sections 1 to 7, 9 and 10 against the edge's WebSocket guard. Needs Python 2.7; where there is none, says so.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use parley_tests::{Value, json};

const SUITE: &str = "autobahntestsuite==25.10.1";
const STARTER: &str = "import site, sys; site.addsitedir(sys.argv.pop(1)); from autobahntestsuite.wstest import run; sys.exit(run())";

/// A command that runs Python 2.7, whether it is on the path or in pyenv.
fn python() -> Option<Vec<(String, String)>> {
    let works = |env: &[(String, String)]| {
        let mut command = Command::new("python2.7");
        command
            .args(["-m", "pip", "--version"])
            .envs(env.iter().cloned())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let pyenv = vec![("PYENV_VERSION".to_owned(), "2.7.18".to_owned())];
    [Vec::new(), pyenv].into_iter().find(|env| works(env))
}

fn install(env: &[(String, String)], dir: &Path) {
    if dir.join("autobahntestsuite").exists() {
        return;
    }
    let mut command = Command::new("python2.7");
    command
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"])
        .arg(dir)
        .arg(SUITE);
    assert!(command.envs(env.iter().cloned()).status().unwrap().success(), "{SUITE} can't be installed");
}

fn echo_server() -> (std::process::Child, u16) {
    let binary = parley_tests::binary().with_file_name("ws-echo");
    let mut child = Command::new(binary).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim().parse().unwrap())
}

#[test]
fn no_case_of_autobahn_fails() {
    let Some(env) = python() else {
        eprintln!(
            "\n#### NOT RUN: Autobahn needs Python 2.7 with pip, and there is none on this machine ####\n"
        );
        return;
    };
    let work: PathBuf = parley_tests::binary().with_file_name("autobahn");
    std::fs::create_dir_all(&work).unwrap();
    install(&env, &work.join("suite"));
    let (mut server, port) = echo_server();
    let reports = work.join("reports");
    drop(std::fs::remove_dir_all(&reports));
    let spec = json!({
        "outdir": reports,
        "servers": [{"agent": "parley", "url": format!("ws://127.0.0.1:{port}")}],
        "cases": ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"],
        "exclude-cases": [],
        "exclude-agent-cases": {},
    });
    let path = work.join("fuzzingclient.json");
    std::fs::write(&path, spec.to_string()).unwrap();
    let mut client = Command::new("python2.7");
    client.args(["-c", STARTER]).arg(work.join("suite")).args(["-m", "fuzzingclient", "-s"]).arg(&path);
    let output = client.envs(env).output().unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    let index = std::fs::read_to_string(reports.join("index.json"))
        .unwrap_or_else(|_| panic!("no report: {}", String::from_utf8_lossy(&output.stderr)));
    let index: Value = serde_json::from_str(&index).unwrap();
    let cases = index["parley"].as_object().unwrap();
    assert!(cases.len() > 250, "{} cases were run", cases.len());
    let fine = |value: &Value| matches!(value.as_str(), Some("OK" | "NON-STRICT" | "INFORMATIONAL"));
    let failed: Vec<String> = cases
        .iter()
        .filter(|(_, case)| !fine(&case["behavior"]) || !fine(&case["behaviorClose"]))
        .map(|(name, case)| format!("{name}: {} {}", case["behavior"], case["behaviorClose"]))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    eprintln!("Autobahn: {} cases, none failed", cases.len());
}
