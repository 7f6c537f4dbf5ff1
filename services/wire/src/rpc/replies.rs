//! Replies and notices, to protobuf and back.

use parley_domain::{
    Code, Cursors, MessageId, NotificationKind, Position, ReceiptCounts, Rejection, Timestamp, UserId,
};

use super::requests::{group, texts, user, users};
use super::{BadMessage, proto};
use crate::code;
use crate::service::{Audience, GroupSummary, Notice, Reply};

pub(super) fn rejection_to(rejection: &Rejection) -> proto::Rejection {
    proto::Rejection {
        code: code::name(rejection.code).to_owned(),
        message: rejection.message.clone(),
        retry_after_ms: rejection.retry_after_ms,
    }
}

pub(super) fn rejection_from(rejection: proto::Rejection) -> Result<Rejection, BadMessage> {
    let code = Code::ALL.into_iter().find(|known| code::name(*known) == rejection.code);
    let code = code.ok_or(BadMessage("code"))?;
    Ok(Rejection { code, message: rejection.message, retry_after_ms: rejection.retry_after_ms })
}

fn summary_to(group: &GroupSummary) -> proto::GroupSummary {
    proto::GroupSummary {
        group_id: group.group_id.as_bytes().to_vec(),
        name: group.name.clone(),
        description: group.description.clone(),
        owner: group.owner.as_str().to_owned(),
        created_by: group.created_by.as_str().to_owned(),
        created_at_ms: group.created_at.as_millis(),
        updated_at_ms: group.updated_at.as_millis(),
        member_count: group.member_count,
        head_seq: group.head,
    }
}

fn summary_from(summary: proto::GroupSummary) -> Result<GroupSummary, BadMessage> {
    Ok(GroupSummary {
        group_id: group(&summary.group_id)?,
        name: summary.name,
        description: summary.description,
        owner: user(&summary.owner)?,
        created_by: user(&summary.created_by)?,
        created_at: Timestamp(summary.created_at_ms),
        updated_at: Timestamp(summary.updated_at_ms),
        member_count: summary.member_count,
        head: summary.head_seq,
    })
}

fn cursors_to(answer: &Result<Cursors, Rejection>) -> proto::CursorsAnswer {
    use proto::cursors_answer::Answer;
    let answer = match answer {
        Ok(cursors) => {
            Answer::Cursors(proto::Cursors { delivered_seq: cursors.delivered, read_seq: cursors.read })
        }
        Err(rejection) => Answer::Rejection(rejection_to(rejection)),
    };
    proto::CursorsAnswer { answer: Some(answer) }
}

fn cursors_from(answer: proto::CursorsAnswer) -> Result<Result<Cursors, Rejection>, BadMessage> {
    use proto::cursors_answer::Answer;
    Ok(match answer.answer.ok_or(BadMessage("answer"))? {
        Answer::Cursors(cursors) => Ok(Cursors { delivered: cursors.delivered_seq, read: cursors.read_seq }),
        Answer::Rejection(rejection) => Err(rejection_from(rejection)?),
    })
}

/// What came of a request.
pub(super) fn to(number: u64, result: &Result<Reply, Rejection>) -> proto::Reply {
    use proto::reply::Outcome;
    let outcome = match result {
        Ok(Reply::Group { group, created }) => {
            Outcome::Group(proto::Group { group: Some(summary_to(group)), created: *created })
        }
        Ok(Reply::Accepted { message_id, seq, position, created_at, duplicate }) => {
            let position = proto::Position { partition: position.partition, offset: position.offset };
            Outcome::Accepted(proto::Accepted {
                message_id: message_id.as_bytes().to_vec(),
                seq: *seq,
                position: Some(position),
                created_at_ms: created_at.as_millis(),
                duplicate: *duplicate,
            })
        }
        Ok(Reply::Cursors(answers)) => {
            Outcome::Cursors(proto::CursorsReply { answers: answers.iter().map(cursors_to).collect() })
        }
        Ok(Reply::Notified { online, pending }) => {
            Outcome::Notified(proto::Notified { online: *online, pending: *pending })
        }
        Ok(Reply::Receipts(counts)) => {
            let one = |counts: &ReceiptCounts| proto::ReceiptCounts {
                delivered: counts.delivered,
                read: counts.read,
                members: counts.members,
            };
            Outcome::Receipts(proto::Receipts { counts: counts.iter().map(one).collect() })
        }
        Ok(Reply::Done) => Outcome::Done(proto::Done {}),
        Ok(Reply::NotOwner) => Outcome::NotOwner(proto::NotOwner {}),
        Err(rejection) => Outcome::Rejection(rejection_to(rejection)),
    };
    proto::Reply { number, outcome: Some(outcome) }
}

/// The number of the request, and what came of it.
pub(super) fn from(reply: proto::Reply) -> Result<(u64, Result<Reply, Rejection>), BadMessage> {
    use proto::reply::Outcome;
    let result = match reply.outcome.ok_or(BadMessage("outcome"))? {
        Outcome::Group(group) => {
            let summary = summary_from(group.group.ok_or(BadMessage("group"))?)?;
            Ok(Reply::Group { group: summary, created: group.created })
        }
        Outcome::Accepted(accepted) => {
            let position = accepted.position.ok_or(BadMessage("position"))?;
            Ok(Reply::Accepted {
                message_id: MessageId::from_slice(&accepted.message_id).ok_or(BadMessage("message_id"))?,
                seq: accepted.seq,
                position: Position { partition: position.partition, offset: position.offset },
                created_at: Timestamp(accepted.created_at_ms),
                duplicate: accepted.duplicate,
            })
        }
        Outcome::Cursors(cursors) => {
            let answers: Result<_, _> = cursors.answers.into_iter().map(cursors_from).collect();
            Ok(Reply::Cursors(answers?))
        }
        Outcome::Notified(notified) => {
            Ok(Reply::Notified { online: notified.online, pending: notified.pending })
        }
        Outcome::Receipts(receipts) => {
            let one = |counts: proto::ReceiptCounts| ReceiptCounts {
                delivered: counts.delivered,
                read: counts.read,
                members: counts.members,
            };
            Ok(Reply::Receipts(receipts.counts.into_iter().map(one).collect()))
        }
        Outcome::Done(_) => Ok(Reply::Done),
        Outcome::NotOwner(_) => Ok(Reply::NotOwner),
        Outcome::Rejection(rejection) => Err(rejection_from(rejection)?),
    };
    Ok((reply.number, result))
}

/// A notice to some of its users.
pub(super) fn notice_to(notice: &Notice, some: &[UserId]) -> proto::Notice {
    let kind = match notice.kind {
        NotificationKind::Created => proto::NoticeKind::Created,
        NotificationKind::Added => proto::NoticeKind::Added,
    };
    proto::Notice {
        group: Some(summary_to(&notice.group)),
        kind: kind.into(),
        added_by: notice.added_by.as_str().to_owned(),
        seq: notice.seq,
        at_ms: notice.at.as_millis(),
        users: texts(some),
        only_unsubscribed: notice.audience != Audience::All,
        nobody: notice.audience == Audience::Nobody,
    }
}

/// The notice itself.
pub(super) fn notice_from(notice: proto::Notice) -> Result<Notice, BadMessage> {
    let kind = match notice.kind() {
        proto::NoticeKind::Created => NotificationKind::Created,
        proto::NoticeKind::Added => NotificationKind::Added,
        proto::NoticeKind::Unspecified => return Err(BadMessage("kind")),
    };
    Ok(Notice {
        group: summary_from(notice.group.ok_or(BadMessage("group"))?)?,
        kind,
        added_by: user(&notice.added_by)?,
        seq: notice.seq,
        at: Timestamp(notice.at_ms),
        users: users(&notice.users)?.into(),
        audience: match (notice.nobody, notice.only_unsubscribed) {
            (true, _) => Audience::Nobody,
            (false, true) => Audience::Unsubscribed,
            (false, false) => Audience::All,
        },
    })
}
