//! The versions of the read models in a keyspace: which one is live, and the next one beside it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use parley_domain::Epoch;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::CassandraOptions;
use super::cluster::Cluster;
use super::control::Control;
use super::migrations;
use super::model::CassandraModel;
use crate::{Error, ReadModel, ReadStore};

/// How long a process waits for another one that makes the first version; the tables take some seconds.
const FIRST_VERSION_WAIT: Duration = Duration::from_secs(20);
/// How often it looks.
const FIRST_VERSION_POLL: Duration = Duration::from_millis(250);

/// Read models in a keyspace.
pub struct CassandraReadStore {
    inner: Arc<Inner>,
    /// Ended with the store.
    watch: JoinHandle<()>,
}

struct Inner {
    cluster: Arc<Cluster>,
    epoch: Epoch,
    options: CassandraOptions,
    live: ArcSwap<CassandraModel>,
    /// The version that is being built by this process. Its lock is held over all of `create_next` and the switches, so
    /// that these exclude each other in this process; between processes the control row does.
    next: Mutex<Option<Arc<CassandraModel>>>,
    /// Held while another version becomes the one that is asked, so that an older one never replaces a newer one.
    following: Mutex<()>,
}

impl std::fmt::Debug for CassandraReadStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CassandraReadStore").field("live", &self.live_version()).finish_non_exhaustive()
    }
}

impl Drop for CassandraReadStore {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl CassandraReadStore {
    /// Connects, brings the schema up to date, and opens the live version, or makes an empty one. Any number of
    /// processes may do so at once.
    ///
    /// # Errors
    /// [`Error::Engine`] if the cluster can't be reached in time or doesn't do what it is asked. [`Error::OtherLog`] if the live
    /// version was built from another epoch. [`Error::Unfit`] if the schema is of a newer program, or tables of the live version
    /// are missing. Nothing is changed then: the caller may [`discard`](Self::discard) everything and begin anew.
    pub async fn open(options: CassandraOptions, epoch: Epoch) -> Result<Arc<Self>, Error> {
        let cluster = Arc::new(Cluster::connect(&options).await?);
        migrations::of_keyspace(&cluster).await?;
        let version = live_or_first(&cluster, epoch).await?;
        migrations::of_version(&cluster, version).await?;
        cluster.refresh_metadata().await?;
        if let Some(table) = migrations::missing(&cluster, version).await? {
            let keyspace = cluster.keyspace();
            return Err(Error::Unfit(format!(
                "table {table} is missing in keyspace {keyspace}. Restore it; or stop all roles and drop the keyspace, which has nothing \
                 that isn't in the log: they make it anew, and build the read models from the log"
            )));
        }
        let live =
            CassandraModel::open(Arc::clone(&cluster), version, options.requests_in_flight_max).await?;
        let inner = Arc::new(Inner {
            cluster,
            epoch,
            options,
            live: ArcSwap::from_pointee(live),
            next: Mutex::default(),
            following: Mutex::default(),
        });
        let watch = tokio::spawn(watch(Arc::clone(&inner)));
        Ok(Arc::new(Self { inner, watch }))
    }

    /// Throws away all versions in a keyspace, for a log of this epoch, so that [`open`](Self::open) makes an empty one.
    /// The read models can be rebuilt from the log.
    ///
    /// # Errors
    /// [`Error::Engine`], also if another process changes the versions at the same time; [`Error::Unfit`] if the schema
    /// is of a newer program.
    pub async fn discard(options: &CassandraOptions, epoch: Epoch) -> Result<(), Error> {
        let cluster = Cluster::connect(options).await?;
        migrations::of_keyspace(&cluster).await?;
        let Some(now) = Control::read_now(&cluster).await? else { return Ok(()) };
        if !now.replace(&cluster, now.discarded(epoch)).await? {
            return Err(raced());
        }
        // Whoever makes a version from here on gives it a higher number.
        migrations::drop_below(&cluster, now.last() + 1, &[]).await
    }
}

/// The live version; if there is none yet, one is made, by whichever process comes first. The others wait for it: all of
/// them making tables at once held a fresh keyspace up for a minute.
async fn live_or_first(cluster: &Cluster, epoch: Epoch) -> Result<u64, Error> {
    let mut has_waited = false;
    loop {
        let Some(now) = Control::read(cluster).await? else {
            Control::create(cluster, epoch).await?;
            continue;
        };
        if let Some(version) = now.live() {
            if now.epoch != epoch {
                return Err(Error::OtherLog { found: now.epoch, epoch });
            }
            return Ok(version);
        }
        let is_being_made = now.epoch == epoch && now.next().is_some();
        if is_being_made && !has_waited {
            wait_for_another(cluster, now).await?;
            has_waited = true;
            continue;
        }
        // One that was begun and not ended in time is gone on with: its tables are made only if they aren't there.
        let building = if is_being_made { now } else { now.discarded(epoch).with_next() };
        let Some(version) = building.next() else { return Err(Error::Damaged("the control row")) };
        if building != now && !now.replace(cluster, building).await? {
            continue;
        }
        migrations::of_version(cluster, version).await?;
        if building.replace(cluster, building.switched()).await? {
            info!(version, "made the first version of the read models");
        }
    }
}

/// Until the control row is another one, or the process that makes the first version has had time enough.
async fn wait_for_another(cluster: &Cluster, now: Control) -> Result<(), Error> {
    let deadline = tokio::time::Instant::now() + FIRST_VERSION_WAIT;
    while tokio::time::Instant::now() < deadline {
        tokio::time::sleep(FIRST_VERSION_POLL).await;
        if Control::read(cluster).await? != Some(now) {
            return Ok(());
        }
    }
    Ok(())
}

fn no_control() -> Error {
    Error::Unfit("their control row is missing: restart the roles, they make it anew".to_owned())
}

fn nothing_before() -> Error {
    Error::Unfit("there is no earlier version to switch back to".to_owned())
}

fn overtaken() -> Error {
    Error::Unfit("another process builds the next version now".to_owned())
}

fn raced() -> Error {
    Error::Engine("another process changed the versions of the read models at the same time".into())
}

/// Follows what other processes make of the control row.
async fn watch(inner: Arc<Inner>) {
    let mut is_reachable = true;
    loop {
        tokio::time::sleep(inner.options.refresh_interval).await;
        match inner.follow().await {
            Ok(()) => is_reachable = true,
            Err(error) => {
                if is_reachable {
                    let error = &error as &dyn std::error::Error;
                    warn!(error, "can't look which version of the read models is live; trying on");
                }
                is_reachable = false;
            }
        }
    }
}

impl Inner {
    async fn model(&self, version: u64) -> Result<Arc<CassandraModel>, Error> {
        let in_flight_max = self.options.requests_in_flight_max;
        CassandraModel::open(Arc::clone(&self.cluster), version, in_flight_max).await.map(Arc::new)
    }

    async fn control(&self) -> Result<Control, Error> {
        Control::read(&self.cluster).await?.ok_or_else(no_control)
    }

    /// The same, as it is behind every change that was begun.
    async fn control_now(&self) -> Result<Control, Error> {
        Control::read_now(&self.cluster).await?.ok_or_else(no_control)
    }

    /// Makes the live version the one that is asked, as far as a cheap look tells.
    async fn follow(&self) -> Result<(), Error> {
        let _turn = self.following.lock().await;
        self.follow_to(self.control().await?).await
    }

    /// Makes the live version the one that is asked, certainly.
    async fn follow_now(&self) -> Result<(), Error> {
        let _turn = self.following.lock().await;
        self.follow_to(self.control_now().await?).await
    }

    /// The same after a change that was made: that stands, and if it can't be followed at once, then a moment later.
    async fn follow_later(&self) {
        if let Err(error) = self.follow_now().await {
            warn!(
                error = &error as &dyn std::error::Error,
                "the read model was switched, but this process can't follow yet; trying on"
            );
        }
    }

    /// Called by one at a time.
    async fn follow_to(&self, now: Control) -> Result<(), Error> {
        let from = self.live.load().version();
        let Some(to) = now.live().filter(|to| *to != from) else { return Ok(()) };
        if now.epoch != self.epoch {
            return Err(Error::OtherLog { found: now.epoch, epoch: self.epoch });
        }
        self.cluster.refresh_metadata().await?;
        self.live.store(self.model(to).await?);
        info!(from, to, "switched the read model");
        Ok(())
    }

    /// Changes the control row from what it is now.
    async fn change(&self, now: Control, to: Control) -> Result<(), Error> {
        if now.replace(&self.cluster, to).await? { Ok(()) } else { Err(raced()) }
    }
}

#[async_trait]
impl ReadStore for CassandraReadStore {
    fn live(&self) -> Arc<dyn ReadModel> {
        self.inner.live.load_full()
    }

    fn live_version(&self) -> u64 {
        self.inner.live.load().version()
    }

    async fn refresh(&self) -> Result<(), Error> {
        self.inner.follow_now().await
    }

    async fn create_next(&self) -> Result<Arc<dyn ReadModel>, Error> {
        let inner = &self.inner;
        let mut next = inner.next.lock().await;
        *next = None;
        let now = inner.control_now().await?;
        let building = now.with_next();
        inner.change(now, building).await?;
        let version = building.next().ok_or(Error::Damaged("the control row"))?;
        // As it is now: this process may have stood still since it changed the row, and another one have gone on.
        let now = inner.control_now().await?;
        if now.next() != Some(version) {
            return Err(overtaken());
        }
        let kept: Vec<u64> = now.live().into_iter().chain(now.previous()).collect();
        migrations::drop_below(&inner.cluster, version, &kept).await?;
        migrations::of_version(&inner.cluster, version).await?;
        inner.cluster.refresh_metadata().await?;
        let model = inner.model(version).await?;
        *next = Some(Arc::clone(&model));
        Ok(model)
    }

    async fn switch(&self) -> Result<(), Error> {
        let mut next = self.inner.next.lock().await;
        let built = next.as_ref().map(|model| model.version());
        let built = built.ok_or_else(|| Error::Unfit("there is no next version to switch to".to_owned()))?;
        let now = self.inner.control_now().await?;
        // Unless an earlier try got through after all.
        if now.live() != Some(built) {
            if now.next() != Some(built) {
                return Err(overtaken());
            }
            self.inner.change(now, now.switched()).await?;
        }
        *next = None;
        self.inner.follow_later().await;
        Ok(())
    }

    async fn former(&self) -> Result<Arc<dyn ReadModel>, Error> {
        let previous = self.inner.control_now().await?.previous().ok_or_else(nothing_before)?;
        Ok(self.inner.model(previous).await?)
    }

    async fn switch_back(&self) -> Result<(), Error> {
        let _turn = self.inner.next.lock().await;
        let now = self.inner.control_now().await?;
        now.previous().ok_or_else(nothing_before)?;
        self.inner.change(now, now.switched_back()).await?;
        self.inner.follow_later().await;
        Ok(())
    }

    async fn persist(&self) -> Result<(), Error> {
        // What was acknowledged is as durable as the cluster makes it.
        Ok(())
    }
}
