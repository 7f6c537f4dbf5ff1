//! One group, step after step.

use std::collections::HashMap;

use anyhow::Context as _;
use parley_domain::UserId;
use parley_wire::frame::names;
use serde::Serialize;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use uuid::Uuid;

use super::patience::{Patience, obeyed};
use super::plan::{Act, Group, Step};
use super::sockets::{Answer, NoAnswer, Refused};
use super::{Importer, Tally, resume};

/// Does all that is left to do in a group.
pub(super) async fn import(importer: &Importer, group: Group) -> anyhow::Result<()> {
    let Group { name, id, steps } = group;
    let in_group = || format!("group {name}");
    let fresh = importer.rest.create(id, &name).await.with_context(in_group)?;
    let steps = if fresh { steps } else { left(importer, id, steps).await.with_context(in_group)? };
    for Step { line, act } in steps {
        // One after the other, also where the same user goes on: of two lines under way the first could be refused (over
        // the rate, say) and the second not, and then they would be the wrong way round for good.
        one(importer, id, act).await.with_context(|| format!("line {line}, group {name}"))?;
    }
    Ok(())
}

/// What an earlier run has left to do.
async fn left(importer: &Importer, group: Uuid, steps: Vec<Step>) -> anyhow::Result<Vec<Step>> {
    let newest = newest(importer, group, &steps).await?;
    let rest = resume::behind(steps, newest.as_deref());
    Tally::add(&importer.tally.already_there, rest.done);
    if rest.steps.is_empty() {
        return Ok(rest.steps);
    }
    Ok(rest.settle(importer.rest.members(group).await?))
}

/// The newest message of the transcript that is there; others may have written behind it.
async fn newest(importer: &Importer, group: Uuid, steps: &[Step]) -> anyhow::Result<Option<String>> {
    let ours: HashMap<&str, &UserId> = steps
        .iter()
        .filter_map(|step| match &step.act {
            Act::Say { user, id, .. } => Some((id.as_str(), user)),
            Act::Join(_) | Act::Leave(_) => None,
        })
        .collect();
    let mut before = None;
    loop {
        let page = importer.rest.history(group, before).await?;
        for message in page.messages.iter().rev() {
            // An id is its sender's own: somebody else may use the same one.
            if ours
                .get(message.client_message_id.as_str())
                .is_some_and(|user| user.as_str() == message.sender)
            {
                return Ok(Some(message.client_message_id.clone()));
            }
        }
        match page.messages.first() {
            Some(oldest) if page.has_more => before = Some(oldest.seq),
            _ => return Ok(None),
        }
    }
}

async fn one(importer: &Importer, group: Uuid, act: Act) -> anyhow::Result<()> {
    match act {
        Act::Join(users) => {
            importer.rest.add(group, &users).await?;
            Tally::add(&importer.tally.joins, users.len());
        }
        Act::Leave(user) => {
            importer.rest.leave(group, &user).await?;
            Tally::add(&importer.tally.leaves, 1);
        }
        Act::Say { user, id, text } => say(importer, group, &user, &id, &text).await?,
    }
    Ok(())
}

#[derive(Serialize)]
struct Frame<'a> {
    event: &'static str,
    id: &'a str,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    group_id: Uuid,
    client_message_id: &'a str,
    r#type: &'static str,
    text: &'a str,
}

/// Sends until it is accepted; the same id is the same message, however often it is sent.
async fn say(importer: &Importer, group: Uuid, user: &UserId, id: &str, text: &str) -> anyhow::Result<()> {
    let data = Data { group_id: group, client_message_id: id, r#type: "text", text };
    let frame: Utf8Bytes =
        serde_json::to_string(&Frame { event: names::SEND_GROUP_MESSAGE, id, data })?.into();
    let mut patience = Patience::default();
    loop {
        let (told, why) = match importer.sockets.ask(user, id, frame.clone()).await {
            Ok(Answer::Accepted(accepted)) => {
                let tally = &importer.tally;
                Tally::add(if accepted.duplicate { &tally.already_there } else { &tally.accepted }, 1);
                return Ok(());
            }
            Ok(Answer::Refused(Refused { code, message, retryable, retry_after_ms })) => {
                let why = anyhow::anyhow!("message {id} of {user} was refused: {code}: {message}");
                if !retryable {
                    return Err(why);
                }
                // Over the rate is no fault, however long it lasts.
                if let (true, Some(millis)) = (code == "rate_limited", retry_after_ms) {
                    Tally::add(&importer.tally.waits, 1);
                    tokio::time::sleep(obeyed(millis)).await;
                    continue;
                }
                (retry_after_ms, why)
            }
            Err(error @ NoAnswer::ForGood(_)) => return Err(error).with_context(|| format!("user {user}")),
            Err(NoAnswer::Lost { why, retry_after_ms }) => (retry_after_ms, anyhow::anyhow!(why)),
        };
        Tally::add(&importer.tally.waits, 1);
        importer.trouble.note(&why);
        let Some(wait) = patience.next(told) else {
            return Err(why.context("the server is away, or busy, for too long"));
        };
        tokio::time::sleep(wait).await;
    }
}
