//! One version of the read models: the port's questions.

use std::sync::Arc;

use async_trait::async_trait;
use parley_domain::{GroupId, MediaId, ProfileChanged, ReceiptCounts, Seq, UserId};
use tokio::sync::OnceCell;

use super::canonical::{self, Scans};
use super::cluster::Cluster;
use super::statements::Statements;
use crate::{
    Checkpoint, CheckpointKey, Directory, Error, EventRow, GroupRow, MembershipRow, MessageKey, Page, Rows,
    StatusRow, Timeline, UserGroupRow, Write,
};

/// One version of the read models. Made by [`super::CassandraReadStore`].
pub(super) struct CassandraModel {
    version: u64,
    cluster: Arc<Cluster>,
    statements: Statements,
    /// Prepared when two versions are compared, which is seldom.
    scans: OnceCell<Scans>,
    in_flight_max: usize,
}

impl CassandraModel {
    /// A version whose tables are there.
    pub(super) async fn open(
        cluster: Arc<Cluster>,
        version: u64,
        in_flight_max: usize,
    ) -> Result<Self, Error> {
        let statements = Statements::prepare(&cluster, version).await?;
        let in_flight_max = in_flight_max.max(1);
        Ok(Self { version, cluster, statements, scans: OnceCell::new(), in_flight_max })
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(super) fn statements(&self) -> &Statements {
        &self.statements
    }

    pub(super) fn scans(&self) -> &OnceCell<Scans> {
        &self.scans
    }

    /// Requests on their way at once, of one caller.
    pub(super) fn in_flight_max(&self) -> usize {
        self.in_flight_max
    }
}

#[async_trait]
impl Directory for CassandraModel {
    async fn group(&self, group: GroupId) -> Result<Option<GroupRow>, Error> {
        self.group_row(group).await
    }

    async fn members(
        &self,
        group: GroupId,
        after: Option<&UserId>,
        limit: usize,
        cursors: bool,
    ) -> Result<Vec<MembershipRow>, Error> {
        self.present_members(group, after, limit, cursors).await
    }

    async fn membership(&self, group: GroupId, user: &UserId) -> Result<Option<MembershipRow>, Error> {
        self.membership_of(group, user).await
    }

    async fn user_groups(
        &self,
        user: &UserId,
        after: Option<GroupId>,
        limit: usize,
    ) -> Result<Vec<UserGroupRow>, Error> {
        self.groups_of(user, after, limit).await
    }

    async fn user_group(&self, user: &UserId, group: GroupId) -> Result<Option<UserGroupRow>, Error> {
        self.group_of(user, group).await
    }

    async fn is_in_groups(&self, user: &UserId, at_least: usize) -> Result<bool, Error> {
        self.is_in_groups_now(user, at_least).await
    }

    async fn profile(&self, user: &UserId) -> Result<Option<ProfileChanged>, Error> {
        self.profile_of(user).await
    }
}

#[async_trait]
impl Timeline for CassandraModel {
    async fn events(&self, group: GroupId, from: Seq, to: Seq, limit: usize) -> Result<Vec<EventRow>, Error> {
        self.events_between(group, from, to, limit).await
    }

    async fn messages(
        &self,
        group: GroupId,
        after: Seq,
        before: Seq,
        newest: bool,
        limit: usize,
    ) -> Result<(Vec<EventRow>, bool), Error> {
        self.messages_between(group, after, before, newest, limit).await
    }

    async fn find(&self, group: GroupId, key: &MessageKey) -> Result<Option<Seq>, Error> {
        self.find_message(group, key).await
    }

    async fn statuses(
        &self,
        group: GroupId,
        seq: Seq,
        sender: &UserId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<StatusRow>, Error> {
        self.statuses_of(group, seq, sender, after, limit).await
    }

    async fn receipts(&self, group: GroupId, seq: Seq, sender: &UserId) -> Result<ReceiptCounts, Error> {
        self.receipts_of(group, seq, sender).await
    }

    async fn media(&self, media: MediaId, limit: usize) -> Result<Vec<(GroupId, Seq)>, Error> {
        self.messages_with(media, limit).await
    }
}

#[async_trait]
impl Rows for CassandraModel {
    async fn apply(
        &self,
        writes: Vec<Write>,
        checkpoints: Vec<(CheckpointKey, Checkpoint)>,
    ) -> Result<(), Error> {
        self.write(writes, checkpoints).await
    }

    async fn checkpoints(&self) -> Result<Vec<(CheckpointKey, Checkpoint)>, Error> {
        self.read_checkpoints().await
    }

    async fn canonical(
        &self,
        table: &'static str,
        after: Option<&[u8]>,
        limit: usize,
        page: Page,
    ) -> Result<Page, Error> {
        self.canonical_page(table, after, limit, page).await
    }

    fn tables(&self) -> &'static [&'static str] {
        canonical::TABLES
    }
}
