//! A group without its members, as clients see it: one list of its fields, whether the owner of its partition or a read
//! model told of it.

use parley_readstore::GroupRow;
use parley_wire::rest::GroupBody;
use parley_wire::service::GroupSummary;
use parley_wire::time;
use uuid::Uuid;

/// As the owner of its partition has it.
pub(crate) fn of_summary(group: GroupSummary, epoch: Uuid) -> GroupBody {
    GroupBody {
        group_id: group.group_id.0,
        name: group.name,
        description: group.description,
        owner: group.owner.to_string(),
        created_by: group.created_by.to_string(),
        created_at: time::format(group.created_at),
        updated_at: time::format(group.updated_at),
        member_count: group.member_count,
        members: None,
        head_seq: group.head,
        epoch,
    }
}

/// As a read model has it.
pub(crate) fn of_row(group: &GroupRow, epoch: Uuid) -> GroupBody {
    let summary = GroupSummary {
        group_id: group.group_id,
        name: group.name.clone(),
        description: group.description.clone(),
        owner: group.owner.clone(),
        created_by: group.creator.clone(),
        created_at: group.created_at,
        updated_at: group.updated_at,
        member_count: group.member_count,
        head: group.head,
    };
    of_summary(summary, epoch)
}
