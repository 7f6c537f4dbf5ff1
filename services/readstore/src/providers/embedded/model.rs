//! One version of the read models: the port's questions, put to a consistent view.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use parley_domain::{Epoch, GroupId, MediaId, ProfileChanged, ReceiptCounts, Seq, UserId};
use tokio::sync::Semaphore;

use super::engine::{Closed, Engine, View};
use super::writing::Writing;
use super::{Options, canonical};
use crate::{
    Checkpoint, CheckpointKey, Directory, Error, EventRow, GroupRow, MembershipRow, MessageKey, Page, Rows,
    StatusRow, Timeline, UserGroupRow, Write,
};

/// Lists up to this long are read where they are asked for; longer ones would hold up other tasks of the thread.
const INLINE_MAX: usize = 32;

/// Longer lists that are read at once; whoever wants another one waits. Reading takes a processor, so more of them at once would only
/// take more threads, each with a stack and a heap: as many as clients connect at the same time.
const LONG_READS_MAX: usize = 16;

/// How far the projectors have come in each partition.
pub(super) type Checkpoints = BTreeMap<CheckpointKey, Checkpoint>;

/// One version of the read models, in a database of its own. Made by [`super::EmbeddedReadStore`].
pub struct EmbeddedModel {
    version: u64,
    engine: Arc<Engine>,
    writing: Writing,
    long_reads: Arc<Semaphore>,
}

impl std::fmt::Debug for EmbeddedModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedModel").field("version", &self.version).finish_non_exhaustive()
    }
}

impl EmbeddedModel {
    pub(super) fn create(dir: &Path, version: u64, epoch: Epoch, options: &Options) -> Result<Self, Error> {
        Self::new(version, Engine::create(dir, epoch, options)?)
    }

    pub(super) fn open(dir: &Path, version: u64, epoch: Epoch, options: &Options) -> Result<Self, Error> {
        Self::new(version, Engine::open(dir, epoch, options)?)
    }

    fn new(version: u64, engine: Engine) -> Result<Self, Error> {
        let long_reads = Arc::new(Semaphore::new(LONG_READS_MAX));
        Ok(Self { version, engine: Arc::new(engine), writing: Writing::begin()?, long_reads })
    }

    /// The number of this version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What is wrong with the database although it goes on, if anything.
    pub(super) fn trouble(&self) -> Option<&'static str> {
        self.engine.trouble()
    }

    /// Makes all that was applied durable. Blocks.
    pub(super) fn persist_now(&self) -> Result<(), Error> {
        self.engine.persist()
    }

    /// Tells whether the database has been closed, once all that hold it are gone.
    pub(super) fn watch(&self) -> Closed {
        self.engine.watch()
    }

    /// Reads something that is short.
    fn read<T>(&self, ask: impl FnOnce(&View) -> Result<T, Error>) -> Result<T, Error> {
        ask(&self.engine.view())
    }

    /// Reads something that may be long.
    async fn read_long<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&View) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        // It is never closed. The place goes with the read, which goes on when nobody waits for it any more.
        let place = Arc::clone(&self.long_reads).acquire_owned().await;
        let place = place.map_err(|error| Error::Engine(Box::new(error)))?;
        let engine = Arc::clone(&self.engine);
        blocking(move || {
            let _place = place;
            ask(&engine.view())
        })
        .await
    }
}

/// Runs something away from the threads that serve everybody.
pub(super) async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(run).await {
        Ok(result) => result,
        Err(error) => Err(Error::Engine(Box::new(error))),
    }
}

#[async_trait]
impl Directory for EmbeddedModel {
    async fn group(&self, group: GroupId) -> Result<Option<GroupRow>, Error> {
        self.read(|view| view.group(group))
    }

    async fn members(
        &self,
        group: GroupId,
        after: Option<&UserId>,
        limit: usize,
        cursors: bool,
    ) -> Result<Vec<MembershipRow>, Error> {
        let after = after.cloned();
        self.read_long(move |view| view.members(group, after.as_ref(), limit, cursors)).await
    }

    async fn membership(&self, group: GroupId, user: &UserId) -> Result<Option<MembershipRow>, Error> {
        self.read(|view| view.membership(group, user))
    }

    async fn user_groups(
        &self,
        user: &UserId,
        after: Option<GroupId>,
        limit: usize,
    ) -> Result<Vec<UserGroupRow>, Error> {
        let user = user.clone();
        self.read_long(move |view| view.user_groups(&user, after, limit)).await
    }

    async fn user_group(&self, user: &UserId, group: GroupId) -> Result<Option<UserGroupRow>, Error> {
        self.read(|view| view.user_group(user, group))
    }

    async fn is_in_groups(&self, user: &UserId, at_least: usize) -> Result<bool, Error> {
        let user = user.clone();
        self.read_long(move |view| view.is_in_groups(&user, at_least)).await
    }

    async fn profile(&self, user: &UserId) -> Result<Option<ProfileChanged>, Error> {
        self.read(|view| view.profile(user))
    }
}

#[async_trait]
impl Timeline for EmbeddedModel {
    async fn events(&self, group: GroupId, from: Seq, to: Seq, limit: usize) -> Result<Vec<EventRow>, Error> {
        let span = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
        if limit.min(span) <= INLINE_MAX {
            return self.read(|view| view.events(group, from, to, limit));
        }
        self.read_long(move |view| view.events(group, from, to, limit)).await
    }

    async fn messages(
        &self,
        group: GroupId,
        after: Seq,
        before: Seq,
        newest: bool,
        limit: usize,
    ) -> Result<(Vec<EventRow>, bool), Error> {
        if limit <= INLINE_MAX {
            return self.read(|view| view.messages(group, after, before, newest, limit));
        }
        self.read_long(move |view| view.messages(group, after, before, newest, limit)).await
    }

    async fn find(&self, group: GroupId, key: &MessageKey) -> Result<Option<Seq>, Error> {
        self.read(|view| view.find(group, key))
    }

    async fn statuses(
        &self,
        group: GroupId,
        seq: Seq,
        sender: &UserId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<StatusRow>, Error> {
        let (sender, after) = (sender.clone(), after.cloned());
        self.read_long(move |view| view.statuses(group, seq, &sender, after.as_ref(), limit)).await
    }

    async fn receipts(&self, group: GroupId, seq: Seq, sender: &UserId) -> Result<ReceiptCounts, Error> {
        let sender = sender.clone();
        self.read_long(move |view| view.receipts(group, seq, &sender)).await
    }

    async fn media(&self, media: MediaId, limit: usize) -> Result<Vec<(GroupId, Seq)>, Error> {
        if limit <= INLINE_MAX {
            return self.read(|view| view.media(media, limit));
        }
        self.read_long(move |view| view.media(media, limit)).await
    }
}

#[async_trait]
impl Rows for EmbeddedModel {
    async fn apply(
        &self,
        writes: Vec<Write>,
        checkpoints: Vec<(CheckpointKey, Checkpoint)>,
    ) -> Result<(), Error> {
        self.writing.apply(Arc::clone(&self.engine), writes, checkpoints).await
    }

    async fn checkpoints(&self) -> Result<Vec<(CheckpointKey, Checkpoint)>, Error> {
        self.read(View::checkpoints)
    }

    async fn canonical(
        &self,
        table: &'static str,
        after: Option<&[u8]>,
        limit: usize,
        page: Page,
    ) -> Result<Page, Error> {
        let after = after.map(<[u8]>::to_vec);
        self.read_long(move |view| view.canonical(table, after.as_deref(), limit, page)).await
    }

    fn tables(&self) -> &'static [&'static str] {
        canonical::TABLES
    }
}
