//! What is logged, and how often.

use std::fmt::{Debug, Write as _};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::keys::*;
use super::*;

/// Keeps every event of this module as a line: level, then fields.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn of(&self, level: Level) -> Vec<String> {
        let start = level.to_string();
        self.0.lock().iter().filter(|line| line.starts_with(&start)).cloned().collect()
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().contains("::auth")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Line(String);
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                write!(self.0, " {}={value:?}", field.name()).unwrap();
            }
        }
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_failure_is_logged_once_and_its_end_once() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let file = TempFile::new(one_of_each());
    let pace = Pace { every: Duration::from_millis(2), gap: Duration::from_secs(3600) };
    let authenticator = Authenticator::with_pace(jwks_only(&file.0), Some(pace)).await.unwrap();
    let shutdown = CancellationToken::new();
    let script = async {
        for _ in 0..2 {
            file.replace("no key set");
            tokio::time::sleep(Duration::from_millis(200)).await;
            file.replace(one_of_each());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        shutdown.cancel();
    };
    tokio::join!(authenticator.run(shutdown.clone()), script);
    let warnings = lines.of(Level::WARN);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("can't refresh the JWKS, its old keys stay in use"), "{warnings:?}");
    let infos = lines.of(Level::INFO);
    assert_eq!(infos.len(), 3, "{infos:?}");
    assert!(infos[0].contains("keys=3") && infos[0].contains("refused=0"), "{infos:?}");
    assert!(infos[1].contains("can be read again"), "{infos:?}");
}

#[tokio::test]
async fn tokens_and_claims_are_not_logged() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let file = TempFile::new(one_of_each());
    let options = AuthOptions { jwks: jwks_only(&file.0).jwks, ..secret_only() };
    let authenticator = Authenticator::new(options).await.unwrap();
    let before = lines.0.lock().len();
    for (_, token) in bad_tokens::bad_tokens(SECRET, "alice", NOW_S) {
        authenticator.verify(&token, NOW).await.unwrap_err();
    }
    let header = json!({ "alg": "EdDSA", "kid": "d" });
    authenticator.verify(&eddsa(&header, &claims()), NOW).await.unwrap();
    assert_eq!(lines.0.lock().len(), before, "verifying logs nothing at all");
}
