//! One group, step after step.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::Context as _;
use parley_domain::UserId;
use serde::Serialize;
use uuid::Uuid;

use super::plan::{Group, Step, rest};
use super::{Importer, Tally};

/// Connections lost in a row before an import gives up.
const LOST_MAX: u32 = 50;

/// Does all that is left to do in a group.
pub(super) async fn import(importer: &Importer, group: Group) -> anyhow::Result<()> {
    let Group { name, id, steps } = group;
    let context = || format!("group {name}");
    let fresh = importer.rest.create(id, &name).await.with_context(context)?;
    let steps = if fresh { steps } else { left(importer, id, steps).await.with_context(context)? };
    for step in steps {
        one(importer, id, step).await.with_context(context)?;
    }
    Ok(())
}

/// What an earlier run has left to do. Membership that is so already is not changed again.
async fn left(importer: &Importer, group: Uuid, steps: Vec<Step>) -> anyhow::Result<Vec<Step>> {
    let there: HashSet<String> = importer.rest.message_ids(group).await?.into_iter().collect();
    Tally::add(&importer.tally.already_there, there.len());
    let left = rest(steps, &there);
    if left.iter().any(|step| matches!(step, Step::Say { .. })) {
        return Ok(left);
    }
    // Only joins and leaves: what counts is who is in at the end.
    let mut at_the_end: HashMap<UserId, bool> = HashMap::new();
    for step in &left {
        match step {
            Step::Join(users) => at_the_end.extend(users.iter().map(|user| (user.clone(), true))),
            Step::Leave(user) => drop(at_the_end.insert(user.clone(), false)),
            Step::Say { .. } => {}
        }
    }
    let members: HashSet<String> = importer.rest.members(group).await?.into_iter().collect();
    let differs = |user: &UserId, is_in: bool| members.contains(user.as_str()) != is_in;
    let wrong = at_the_end.into_iter().filter(|(user, is_in)| differs(user, *is_in));
    Ok(wrong.map(|(user, is_in)| if is_in { Step::Join(vec![user]) } else { Step::Leave(user) }).collect())
}

async fn one(importer: &Importer, group: Uuid, step: Step) -> anyhow::Result<()> {
    match step {
        Step::Join(users) => {
            importer.rest.add(group, &users).await?;
            Tally::add(&importer.tally.joins, users.len());
        }
        Step::Leave(user) => {
            importer.rest.leave(group, &user).await?;
            Tally::add(&importer.tally.leaves, 1);
        }
        Step::Say { user, id, text } => say(importer, group, &user, &id, &text).await?,
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
    let frame = serde_json::to_string(&Frame { event: "send_group_message", id, data })?;
    let mut lost = 0;
    loop {
        let answer = match importer.sockets.ask(user, id, frame.clone()).await {
            Ok(Some(answer)) => answer,
            other if lost < LOST_MAX => {
                lost += 1;
                drop(other);
                tokio::time::sleep(Duration::from_millis(rand::random_range(50..500))).await;
                continue;
            }
            Ok(None) => anyhow::bail!("the connection was lost {LOST_MAX} times in a row"),
            Err(error) => return Err(error),
        };
        if answer.event == "group_message_accepted" {
            let tally = &importer.tally;
            Tally::add(if answer.data.duplicate { &tally.already_there } else { &tally.accepted }, 1);
            return Ok(());
        }
        if !answer.data.retryable {
            anyhow::bail!(
                "message {id} of {user} was refused: {}: {}",
                answer.data.code,
                answer.data.message
            );
        }
        Tally::add(&importer.tally.waits, 1);
        let wait = answer.data.retry_after_ms.unwrap_or(250);
        tokio::time::sleep(Duration::from_millis(wait + rand::random_range(0..20))).await;
    }
}
