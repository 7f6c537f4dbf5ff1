//! One message, followed from its frame to its delivery in the spans that a collector gets.

use parley_tests::chat::text_data;
use parley_tests::collector::Collector;
use parley_tests::{Server, ServerOptions, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_one_trace_and_the_log_names_it() {
    let collector = Collector::start().await;
    let otlp = format!("telemetry.otlp={}", collector.url);
    let mut server = Server::start_with(ServerOptions::set(&[&otlp])).await;
    let group = server.rest("ann").await.group("g", &["bob"]).await;
    let mut bob = server.client("bob").await;
    bob.ask("ping", json!({})).await;
    let mut ann = server.quiet_client("ann").await;
    ann.must("send_group_message", text_data(&group, "one", "a secret text"), "group_message_accepted").await;
    bob.events(&group, 1).await;
    let [(_, frame), (_, append), (_, deliver)] = collector.message().await;
    let number = |name: &str| append.attributes.iter().any(|attribute| attribute.key == name);
    assert!(number("parley.seq") && number("messaging.kafka.offset"), "{append:?}");
    assert!(deliver.attributes.iter().any(|attribute| attribute.key == "parley.deliveries"), "{deliver:?}");
    assert!(frame.status.is_none_or(|status| status.code == 0));

    ann.refused("send_group_message", text_data(&group, "one", "another text")).await;
    let failed = |span: &parley_tests::collector::Span| {
        span.status.as_ref().is_some_and(|status| status.message == "idempotency_conflict")
    };
    collector.span("of a refusal", failed).await;
    let all = format!("{:?}", collector.spans());
    assert!(!all.contains("a secret text") && !all.contains("ann"), "numbers only: {all}");

    assert_eq!(server.terminate().await, Some(0));
    let (code, out, _) = server.run(&["log", "cat", "--json"]).await;
    assert_eq!(code, 0);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let traceparent = format!("00-{}-{}-01", hex(&append.trace_id), hex(&append.span_id));
    let named: Vec<_> = out.lines().filter(|line| line.contains(&traceparent)).collect();
    assert_eq!(named.len(), 1, "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_share_nothing_is_traced() {
    let collector = Collector::start().await;
    let otlp = format!("telemetry.otlp={}", collector.url);
    let mut server = Server::start_with(ServerOptions::set(&[&otlp, "telemetry.trace_share=0"])).await;
    let group = server.rest("ann").await.group("g", &["bob"]).await;
    server.quiet_client("ann").await.text(&group, "hello").await;
    assert_eq!(server.terminate().await, Some(0));
    assert!(collector.spans().is_empty(), "{:?}", collector.spans());
}
