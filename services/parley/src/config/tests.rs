use super::layers::load_from;
use super::*;

fn effective(file: Option<&str>, env: &[(&str, &str)], set: &[&str]) -> Result<Effective, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("parley.toml");
    let mut args = ConfigArgs { set: set.iter().map(ToString::to_string).collect(), ..ConfigArgs::default() };
    if let Some(text) = file {
        std::fs::write(&path, text).unwrap();
        args.config = Some(path);
    }
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    load_from(&args, None, env)
}

fn with(file: Option<&str>, env: &[(&str, &str)], set: &[&str]) -> Result<Config, ConfigError> {
    effective(file, env, set).map(|effective| effective.config)
}

#[test]
fn each_layer_covers_the_one_below() {
    assert_eq!(with(None, &[], &[]).unwrap(), Config::default());
    let file = Some("[limits]\nsend_burst = 1\ntext_bytes = 1\n");
    assert_eq!(with(file, &[], &[]).unwrap().limits.send_burst, 1);
    let env = [("PARLEY_LIMITS__SEND_BURST", "2"), ("PARLEY_HTTP__ORIGINS", "https://a, https://b")];
    let config = with(file, &env, &[]).unwrap();
    assert_eq!((config.limits.send_burst, config.limits.text_bytes), (2, 1));
    assert_eq!(config.http.origins, ["https://a", "https://b"]);
    assert_eq!(with(file, &env, &["limits.send_burst=3"]).unwrap().limits.send_burst, 3);
    let args = ConfigArgs {
        set: vec!["data=/set".into(), "listen=1.1.1.1:1".into()],
        data: Some("/flag".into()),
        ..ConfigArgs::default()
    };
    let config = load_from(&args, Some("127.0.0.1:0"), Vec::new()).unwrap().config;
    assert_eq!((config.data.as_str(), config.listen.as_str()), ("/flag", "127.0.0.1:0"));
}

#[test]
fn texts_are_read_as_the_type_of_their_key() {
    let set = [
        "limits.sends_per_second=0",
        r#"http.origins=["https://a","https://b,c"]"#,
        "auth.issuer=7",
        "writer.shards= 3",
    ];
    let config = with(None, &[], &set).unwrap();
    assert_eq!((config.limits.sends_per_second, config.writer.shards), (0, 3));
    assert_eq!(config.http.origins, ["https://a", "https://b,c"]);
    assert_eq!(config.auth.issuer, "7");
    for (file, set) in [("telemetry.trace_share = 0", vec![]), ("", vec!["telemetry.trace_share=0"])] {
        assert!(with(Some(file), &[], &set).unwrap().telemetry.trace_share.abs() < f64::EPSILON);
    }
    assert!(with(None, &[], &["http.origins="]).unwrap().http.origins.is_empty());
}

#[test]
fn the_log_filter_of_other_programs_is_below_our_own() {
    let ours = ("PARLEY_TELEMETRY__FILTER", "warn");
    assert_eq!(with(None, &[("RUST_LOG", "debug")], &[]).unwrap().telemetry.filter, "debug");
    assert_eq!(with(None, &[ours, ("RUST_LOG", "debug")], &[]).unwrap().telemetry.filter, "warn");
    assert_eq!(with(None, &[("RUST_LOG", "")], &[]).unwrap(), Config::default());
}

#[test]
fn what_is_wrong_says_which_key_and_where() {
    type Case = (
        Option<&'static str>,
        &'static [(&'static str, &'static str)],
        &'static [&'static str],
        &'static [&'static str],
    );
    let cases: &[Case] = &[
        (Some("nonsense = 1"), &[], &[], &["parley.toml", "unknown key \"nonsense\""]),
        (Some("[limits]\nnonsense = 1"), &[], &[], &["parley.toml", "limits.nonsense"]),
        (Some("[limits.send_burst]\nx = 1"), &[], &[], &["limits.send_burst", "not a section"]),
        (Some("limits = 1"), &[], &[], &["parley.toml: limits: must be a section"]),
        (Some("[limits]\nsend_burst = \"x\""), &[], &[], &["limits.send_burst: must be a whole number"]),
        (Some("[limits]\nsend_burst = -1"), &[], &[], &["parley.toml: limits.send_burst"]),
        (Some("[http]\norigins = [1]"), &[], &[], &["parley.toml: http.origins"]),
        (Some("partitions = 3"), &[], &[], &["parley.toml: partitions", "power of two"]),
        (Some("= ="), &[], &[], &["parley.toml"]),
        (None, &[("PARLEY_LIMITS__NONSENSE", "1")], &[], &["PARLEY_LIMITS__NONSENSE: unknown key"]),
        (None, &[("PARLEY_", "1")], &[], &["unknown key"]),
        (None, &[("PARLEY_LIMITS__TEXT_BYTES", "0")], &[], &["PARLEY_LIMITS__TEXT_BYTES", "at least 1"]),
        (None, &[], &["limits.send_burst=x"], &["--set: limits.send_burst", "must be a whole number"]),
        (None, &[], &["limits.send_burst=-1"], &["--set: limits.send_burst"]),
        (None, &[], &["limits.send_burst=4294967296"], &["--set: limits.send_burst"]),
        (None, &[], &["limits=1"], &["limits", "is a section"]),
        (None, &[], &["limits.send_burst"], &["KEY=VALUE"]),
        (None, &[], &["limits.ping_seconds=0"], &["--set: limits.ping_seconds", "at least 1"]),
    ];
    for (file, env, set, expected) in cases {
        is_refused(with(*file, env, set), expected);
    }
}

fn is_refused(outcome: Result<Config, ConfigError>, expected: &[&str]) {
    let error = outcome.unwrap_err().to_string();
    for part in expected {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
    assert!(!error.contains("hunter2"), "{error:?}");
}

/// Said when the configuration is read, not when what it names is used; and no password is repeated, wherever it was put.
#[test]
fn what_can_t_be_meant_is_refused_before_anything_is_made() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["http.origins=[1]"], &["--set: http.origins"]),
        (&["log=redis://x"], &["--set: log", "kafka://"]),
        (&["log=kafka://"], &["--set: log"]),
        (&["reads=cassandra://x"], &["reads", "kafka://"]),
        (&["rpc.tls_ca=ca.pem"], &["rpc.tls_ca", "all three"]),
        (&["rpc.listen=nowhere"], &["--set: rpc.listen", "ADDR:PORT"]),
        (&["auth.hs256_secret=short"], &["--set: auth.hs256_secret", "32 bytes"]),
        (&["auth.leeway_s=6"], &["--set: auth.leeway_s"]),
        (&["listen=nowhere"], &["--set: listen", "ADDR:PORT"]),
        (&["http.public_url=chat.example.com"], &["--set: http.public_url"]),
        (&["http.public_url=https://a/b"], &["--set: http.public_url"]),
        (&["telemetry.format=xml"], &["--set: telemetry.format"]),
        (&["telemetry.filter=a=b=c"], &["--set: telemetry.filter"]),
        (&["telemetry.trace_share=much"], &["--set: telemetry.trace_share", "a number"]),
        (&["telemetry.trace_share=1.5"], &["--set: telemetry.trace_share", "0 to 1"]),
        (&["telemetry.otlp=collector:4317"], &["--set: telemetry.otlp", "http://"]),
        (&["telemetry.otlp=http://me:hunter2@collector:4317"], &["--set: telemetry.otlp", "credentials"]),
        (&["http.origins=https://a/"], &["--set: http.origins", "browsers"]),
        (&["http.origins=*"], &["--set: http.origins"]),
        (&["log=kafka://me:hunter2@broker"], &["--set: log", "credentials"]),
        (&["media=s3://me:hunter2@host/bucket"], &["--set: media", "s3.secret_access_key"]),
        (&["log=Kafka://me:hunter2@broker"], &["--set: log", "credentials"]),
        (&["log= kafka://me:hunter2@broker"], &["--set: log", "credentials"]),
        (&["reads=cql://me:hunter2@host"], &["--set: reads", "credentials"]),
        (&["media=me:hunter2@host"], &["--set: media", "credentials"]),
        (&["data="], &["--set: data"]),
        (&["auth.jwks=ftp://me:hunter2@x"], &["--set: auth.jwks", "must be https"]),
        (&["auth.jwks=http://idp.example/keys"], &["--set: auth.jwks", "must be https"]),
        (&["media=s3://b?secret_access_key=hunter2"], &["--set: media", "nothing else"]),
        (&["media=s3://b?region=a/hunter2"], &["--set: media", "region"]),
        (&["log=kafka://h:1?sasl.password=hunter2"], &["--set: log", "\"h:1\"", "keys of their own"]),
        (&["log=kafka:/h?sasl.password=hunter2"], &["--set: log", "kafka://"]),
        (&["log=kafka://h:1/a/b"], &["--set: log", "prefix"]),
        (&["http.origins=https://a:443"], &["--set: http.origins", "scheme's own"]),
        (&["http.origins=https://A.example"], &["--set: http.origins", "small letters"]),
        (&["log=kafka://h:1;sasl.password=hunter2"], &["--set: log", "\"h:1\"", "keys of their own"]),
        (&["log=kafka:/h&password=hunter2"], &["--set: log", "\"kafka:/h\""]),
        (&["http.origins=App://a"], &["--set: http.origins", "small letters"]),
        (&["kafka.replication=2", "log=kafka://h:1"], &["--set: kafka.replication", "log.allow_single"]),
        (&["log=kafka://h:1", "reads=cassandra://h:1/A"], &["--set: reads", "keyspace"]),
        (&["log=kafka://h:1", "reads=cassandra://h:1/k?x"], &["--set: reads", "keys of their own"]),
    ];
    for (set, expected) in cases {
        is_refused(with(None, &[], set), expected);
    }
}

#[test]
fn what_can_be_meant_is_taken() {
    for set in [
        "log=kafka://a:9092, b:9092,[::1]:9092/staging",
        "log=kafka://broker_1:9092/",
        "media=s3://bucket/corner?endpoint=http://127.0.0.1:7070&region=us-east-1",
        "http.origins=null,http://localhost:3000,https://a:444,http://a:443,capacitor://localhost,app://MyApp,http://[::1]:3000",
        "auth.jwks=http://127.0.0.1:1/keys",
        "auth.jwks=keys.json",
    ] {
        with(None, &[], &[set]).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn secrets_are_not_shown_and_neither_are_they_in_errors() {
    let secret = "0123456789abcdef0123456789abcdef";
    let shown = effective(None, &[("PARLEY_AUTH__HS256_SECRET", secret)], &[]).unwrap();
    assert_eq!(shown.config.auth.hs256_secret, secret);
    let text = shown.to_toml().unwrap();
    assert!(!text.contains(secret) && text.contains("\"[secret]\"  # PARLEY_AUTH__HS256_SECRET"), "{text}");
    assert!(!toml::to_string(&shown.config.redacted()).unwrap().contains(secret));
    for key in ["cassandra.password", "s3.secret_access_key", "s3.session_token"] {
        let shown = effective(None, &[], &[&format!("{key}={secret}")]).unwrap();
        assert!(!toml::to_string(&shown.config.redacted()).unwrap().contains(secret), "{key}");
    }
    let error = with(None, &[("PARLEY_AUTH__HS256_SECRET", "hunter2")], &[]).unwrap_err();
    assert!(!error.to_string().contains("hunter2"));
    let url = with(None, &[], &["auth.jwks=https://me:hunter2@idp.example/keys?key=hunter3"]).unwrap();
    assert!(!toml::to_string(&url.redacted()).unwrap().contains("hunter"));
}

#[test]
fn what_is_shown_can_be_read_back_and_says_what_was_set() {
    let shown = effective(None, &[("PARLEY_LIMITS__SEND_BURST", "2")], &["listen=127.0.0.1:1"]).unwrap();
    let text = shown.to_toml().unwrap();
    assert!(text.contains("listen = \"127.0.0.1:1\"  # --set\n"), "{text}");
    assert!(text.contains("send_burst = 2  # PARLEY_LIMITS__SEND_BURST\n"), "{text}");
    assert_eq!(text.matches('#').count(), 2);
    assert_eq!(with(Some(&text), &[], &[]).unwrap(), shown.config);
}
