//! Everything that is asked of a version and written to it, prepared once.

use scylla::statement::prepared::PreparedStatement;

use super::cluster::Cluster;
use crate::Error;

/// Makes a struct of prepared statements from their texts.
macro_rules! statements {
    ($($name:ident: $cql:expr;)*) => {
        /// The prepared statements of a version.
        #[derive(Debug)]
        pub(super) struct Statements {
            $(pub(super) $name: PreparedStatement,)*
        }

        impl Statements {
            /// Prepares all of them.
            pub(super) async fn prepare(cluster: &Cluster, version: u64) -> Result<Self, Error> {
                Ok(Self { $($name: cluster.prepare($cql, version).await?,)* })
            }
        }
    };
}

statements! {
    // Writes. The timestamp comes last in an INSERT, and first in an UPDATE.
    put_event: "INSERT INTO {k}.timeline_{v} (group_id, bucket, seq, partition, offset, message_count, event) \
        VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
    put_event_rolled_back: "INSERT INTO {k}.timeline_{v} (group_id, bucket, seq, rolled_back) \
        VALUES (?, ?, ?, true) USING TIMESTAMP ?";
    put_rolled_back: "INSERT INTO {k}.rolled_back_{v} (group_id, bucket, seq, sender) VALUES (?, ?, ?, ?) \
        USING TIMESTAMP ?";
    put_message: "INSERT INTO {k}.messages_{v} (group_id, bucket, nth, seq) VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
    put_message_id: "INSERT INTO {k}.message_ids_{v} (group_id, bucket, message_id, seq) VALUES (?, ?, ?, ?) \
        USING TIMESTAMP ?";
    put_sent: "INSERT INTO {k}.sent_{v} (group_id, sender, bucket, seq, nth) VALUES (?, ?, ?, ?, ?) \
        USING TIMESTAMP ?";
    put_client_id: "INSERT INTO {k}.client_ids_{v} (group_id, sender, bucket, client_message_id, seq) \
        VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?";
    put_media: "INSERT INTO {k}.media_{v} (media_id, group_id, seq) VALUES (?, ?, ?) USING TIMESTAMP ?";
    put_joined: "INSERT INTO {k}.members_{v} (group_id, bucket, user_id, seq, step, at, role, added_by, kind) \
        VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?) USING TIMESTAMP ?";
    put_role: "INSERT INTO {k}.members_{v} (group_id, bucket, user_id, seq, step, at, role) \
        VALUES (?, ?, ?, ?, 2, ?, ?) USING TIMESTAMP ?";
    put_left: "INSERT INTO {k}.members_{v} (group_id, bucket, user_id, seq, step, at) \
        VALUES (?, ?, ?, ?, 3, ?) USING TIMESTAMP ?";
    put_user_joined: "INSERT INTO {k}.user_groups_{v} \
        (user_id, group_id, notified, seq, step, at, role, added_by, kind) \
        VALUES (?, ?, false, ?, 1, ?, ?, ?, ?) USING TIMESTAMP ?";
    put_user_role: "INSERT INTO {k}.user_groups_{v} (user_id, group_id, notified, seq, step, at, role) \
        VALUES (?, ?, false, ?, 2, ?, ?) USING TIMESTAMP ?";
    put_user_left: "INSERT INTO {k}.user_groups_{v} (user_id, group_id, notified, seq, step, at) \
        VALUES (?, ?, false, ?, 3, ?) USING TIMESTAMP ?";
    put_notified: "INSERT INTO {k}.user_groups_{v} (user_id, group_id, notified, seq) VALUES (?, ?, true, ?) \
        USING TIMESTAMP ?";
    put_delivered: "INSERT INTO {k}.cursors_{v} (group_id, user_id, delivered) VALUES (?, ?, ?) \
        USING TIMESTAMP ?";
    put_read: "INSERT INTO {k}.cursors_{v} (group_id, user_id, read) VALUES (?, ?, ?) USING TIMESTAMP ?";
    put_cursor_step: "INSERT INTO {k}.cursor_steps_{v} (group_id, user_id, bucket, cursor, value, at) \
        VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
    put_profile: "INSERT INTO {k}.profiles_{v} (user_id, display_name, has_avatar, avatar_url, at) \
        VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?";
    put_origin: "INSERT INTO {k}.groups_{v} (group_id, creator, created_at) VALUES (?, ?, ?) USING TIMESTAMP ?";
    put_description: "INSERT INTO {k}.groups_{v} (group_id, name, description) VALUES (?, ?, ?) \
        USING TIMESTAMP ?";
    put_owner: "INSERT INTO {k}.groups_{v} (group_id, owner) VALUES (?, ?) USING TIMESTAMP ?";
    put_member_count: "INSERT INTO {k}.groups_{v} (group_id, member_count) VALUES (?, ?) USING TIMESTAMP ?";
    put_changed: "INSERT INTO {k}.groups_{v} (group_id, updated_at) VALUES (?, ?) USING TIMESTAMP ?";
    put_head: "INSERT INTO {k}.groups_{v} (group_id, head, message_count) VALUES (?, ?, ?) USING TIMESTAMP ?";
    put_last_message: "INSERT INTO {k}.groups_{v} (group_id, last_message) VALUES (?, ?) USING TIMESTAMP ?";
    put_dissolved: "INSERT INTO {k}.groups_{v} (group_id, dissolved) VALUES (?, ?) USING TIMESTAMP ?";
    put_checkpoint: "INSERT INTO {k}.checkpoints_{v} (id, topic, partition, offset, claim, next_index) \
        VALUES (0, ?, ?, ?, ?, ?) USING TIMESTAMP ?";

    // Questions.
    checkpoints: "SELECT topic, partition, offset, claim, next_index FROM {k}.checkpoints_{v} WHERE id = 0";
    group: "SELECT creator, created_at, name, description, owner, member_count, updated_at, head, message_count, \
        last_message, dissolved FROM {k}.groups_{v} WHERE group_id = ?";
    head: "SELECT head, message_count, dissolved FROM {k}.groups_{v} WHERE group_id = ?";
    profile: "SELECT display_name, has_avatar, avatar_url, at FROM {k}.profiles_{v} WHERE user_id = ?";
    member_steps: "SELECT user_id, seq, step, at, role, added_by, kind FROM {k}.members_{v} \
        WHERE group_id = ? AND bucket = ? AND (user_id, seq) > (?, ?) LIMIT ?";
    user_steps: "SELECT group_id, notified, seq, step, at, role, added_by, kind FROM {k}.user_groups_{v} \
        WHERE user_id = ? AND (group_id, notified, seq) > (?, ?, ?) LIMIT ?";
    user_group_steps: "SELECT group_id, notified, seq, step, at, role, added_by, kind FROM {k}.user_groups_{v} \
        WHERE user_id = ? AND group_id = ?";
    cursor: "SELECT user_id, delivered, read FROM {k}.cursors_{v} WHERE group_id = ? AND user_id = ?";
    cursors_of: "SELECT user_id, delivered, read FROM {k}.cursors_{v} WHERE group_id = ? AND user_id IN ?";
    cursors_between: "SELECT user_id, delivered, read FROM {k}.cursors_{v} \
        WHERE group_id = ? AND user_id > ? AND user_id <= ? LIMIT ?";
    crossing: "SELECT value, at FROM {k}.cursor_steps_{v} \
        WHERE group_id = ? AND user_id = ? AND bucket = ? AND cursor = ? AND value >= ? LIMIT 1";
    events: "SELECT seq, partition, offset, event, rolled_back FROM {k}.timeline_{v} \
        WHERE group_id = ? AND bucket = ? AND seq >= ? AND seq <= ? LIMIT ?";
    events_at: "SELECT seq, partition, offset, event, rolled_back FROM {k}.timeline_{v} \
        WHERE group_id = ? AND bucket = ? AND seq IN ?";
    is_rolled_back: "SELECT rolled_back FROM {k}.timeline_{v} WHERE group_id = ? AND bucket = ? AND seq = ?";
    messages_up_to: "SELECT message_count FROM {k}.timeline_{v} \
        WHERE group_id = ? AND bucket = ? AND seq <= ? ORDER BY seq DESC LIMIT 1";
    nth_messages: "SELECT seq FROM {k}.messages_{v} WHERE group_id = ? AND bucket = ? AND nth >= ? AND nth <= ?";
    message_id: "SELECT seq FROM {k}.message_ids_{v} WHERE group_id = ? AND bucket = ? AND message_id = ?";
    client_id: "SELECT seq FROM {k}.client_ids_{v} \
        WHERE group_id = ? AND sender = ? AND bucket = ? AND client_message_id = ?";
    first_sent: "SELECT nth FROM {k}.sent_{v} WHERE group_id = ? AND sender = ? AND bucket = ? \
        AND seq > ? AND seq <= ? ORDER BY seq ASC LIMIT 1";
    last_sent: "SELECT nth FROM {k}.sent_{v} WHERE group_id = ? AND sender = ? AND bucket = ? \
        AND seq > ? AND seq <= ? ORDER BY seq DESC LIMIT 1";
    rolled_back: "SELECT seq, sender FROM {k}.rolled_back_{v} WHERE group_id = ? AND bucket = ? \
        AND seq > ? AND seq <= ? LIMIT ?";
    media: "SELECT group_id, seq FROM {k}.media_{v} WHERE media_id = ? LIMIT ?";
}
