//! `parley log cat`.

use std::collections::HashMap;
use std::io::Write as _;

use clap::Args;
use parley_domain::{Event, Fact, Stamp, Validity, Verdict};
use parley_eventlog::{StoredRecord, Topic, TopicPartition};
use parley_wire::frame::{role_name, rollback_name};
use parley_wire::{event, time};
use serde_json::{Value, json};

use super::{configured, inspect};
use crate::config::ConfigArgs;

#[derive(Args)]
pub(crate) struct CatArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only records of this group.
    #[arg(long, value_name = "ID")]
    group: Option<uuid::Uuid>,
    /// Only records from this offset of their partition on.
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    from: u64,
    /// One JSON object a line; void records and claims too.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &CatArgs) -> anyhow::Result<()> {
    let inspection = inspect(&configured(&args.config)?)?;
    let group = args.group.map(|group| group.to_string());
    let mut validity: HashMap<TopicPartition, Validity> = HashMap::new();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for stored in inspection {
        let stored = stored?;
        let verdict = parley_eventlog::admit(validity.entry(stored.at).or_default(), &stored);
        let key = stored.record.key.as_deref();
        let wanted = group.as_ref().is_none_or(|group| key == Some(group.as_bytes()));
        if stored.offset < args.from || !wanted || (!args.json && verdict != Verdict::Valid) {
            continue;
        }
        let record = describe(&stored, verdict);
        let line = if args.json { record.to_string() } else { plain(&record) };
        if is_read_no_more(writeln!(out, "{line}"))? {
            return Ok(());
        }
    }
    is_read_no_more(out.flush()).map(drop)
}

/// `head` has seen enough: no error.
fn is_read_no_more(written: std::io::Result<()>) -> anyhow::Result<bool> {
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(true),
        other => Ok(other.map(|()| false)?),
    }
}

fn plain(record: &Value) -> String {
    let text = |name: &str| {
        let value = record.get(name).unwrap_or(&Value::Null);
        value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
    };
    let kind = text("type");
    let kind = kind.rsplit('.').next().unwrap_or_default();
    format!(
        "{} {} {}/{} {:<18} {} {}",
        text("time"),
        text("topic"),
        text("partition"),
        text("offset"),
        kind,
        text("subject"),
        text("value")
    )
}

fn describe(stored: &StoredRecord, verdict: Verdict) -> Value {
    let record = &stored.record;
    let (claim, index) = match record.stamp {
        Stamp::Claim | Stamp::Unclaimed => (Value::Null, Value::Null),
        Stamp::Event { claim, index } => (claim.into(), index.into()),
    };
    let mut described = json!({
        "topic": stored.at.topic.name(),
        "partition": stored.at.partition,
        "offset": stored.offset,
        "type": record.kind,
        "id": record.id.to_string(),
        "time": time::format(record.time),
        "source": &*record.source,
        "subject": record.key.as_deref().map(|key| String::from_utf8_lossy(key).into_owned()),
        "claim": claim,
        "index": index,
        "void": verdict == Verdict::Void,
        "value": value(stored),
    });
    if let (Some(trace), Some(fields)) = (record.trace.as_deref(), described.as_object_mut()) {
        fields.insert("traceparent".into(), trace.traceparent().into());
    }
    described
}

fn value(stored: &StoredRecord) -> Value {
    let bytes = stored.record.value.clone();
    if stored.record.stamp == Stamp::Claim {
        return json!({"bytes": bytes.len()});
    }
    let size = bytes.len();
    let described = match stored.at.topic {
        Topic::Events => event::decode_fact(&stored.record.kind, bytes).map(|fact| fact_value(&fact)),
        Topic::Acks => event::decode_cursors(bytes).map(|cursors| {
            let advances = cursors.advances.iter().map(|advance| {
                json!({
                    "user": advance.user.as_str(),
                    "delivered_seq": advance.delivered,
                    "read_seq": advance.read,
                    "notified_seq": advance.notified,
                    "delivered_before_seq": advance.delivered_before,
                    "read_before_seq": advance.read_before,
                })
            });
            json!({"advances": advances.collect::<Vec<_>>()})
        }),
        Topic::Users => event::decode_profile(bytes).map(|profile| {
            json!({
                "user": profile.user.as_str(),
                "display_name": profile.display_name,
                "avatar_url": profile.avatar_url,
            })
        }),
    };
    described.unwrap_or_else(|error| json!({"bytes": size, "unknown": error.to_string()}))
}

fn fact_value(fact: &Fact) -> Value {
    let mut value = match &fact.event {
        Event::GroupCreated { name, description, creator, members, .. } => json!({
            "name": name,
            "description": description,
            "creator": creator.as_str(),
            "members": members.len(),
        }),
        Event::MembersAdded { actor, users, member_count }
        | Event::MembersRemoved { actor, users, member_count } => {
            let users: Vec<&str> = users.iter().map(|user| user.as_str()).collect();
            json!({"actor": actor.as_str(), "users": users, "member_count": member_count})
        }
        Event::RoleChanged { actor, user, role } => {
            json!({"actor": actor.as_str(), "user": user.as_str(), "role": role_name(*role)})
        }
        Event::OwnerTransferred { actor, owner } => json!({"actor": actor.as_str(), "owner": owner.as_str()}),
        Event::GroupUpdated { actor, name, description } => {
            json!({"actor": actor.as_str(), "name": name, "description": description})
        }
        Event::GroupDissolved { actor } => json!({"actor": actor.as_str()}),
        // Sealed content stays sealed here: the log's reader has no keys.
        Event::MessageSent(message) => json!({
            "message_id": message.message_id.to_string(),
            "client_message_id": message.client_message_id.as_str(),
            "sender": message.sender.as_str(),
            "sender_nth": message.sender_nth,
            "message_type": format!("{:?}", message.kind).to_lowercase(),
            "text_bytes": message.text_bytes,
            "sealed_bytes": message.sealed.len(),
            "key_id": message.key_id.to_string(),
            "media_id": message.media.as_ref().map(|media| media.media_id.to_string()),
        }),
        Event::MessageRolledBack { message_id, message_seq, sender, reason } => json!({
            "message_id": message_id.to_string(),
            "message_seq": message_seq,
            "sender": sender.as_str(),
            "reason": rollback_name(*reason),
        }),
    };
    if let Some(fields) = value.as_object_mut() {
        fields.insert("seq".into(), fact.seq.into());
        fields.insert("message_count".into(), fact.message_count.into());
    }
    value
}
