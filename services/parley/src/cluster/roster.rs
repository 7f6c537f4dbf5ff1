//! Who is there: every process says in the log's roster what it is, under which address, and what it owns; and follows
//! what the others say.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::future::OptionFuture;
use parley_edge::{OwnedBy, Owners};
use parley_eventlog::providers::kafka::{Roster, RosterWatch, Sighting};
use parley_wire::seldom::Seldom;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often a process says that it is there, whether or not anything changed.
const SAY_EVERY: Duration = Duration::from_secs(2);
/// After so long without a word a process counts as gone. Only a hint: what it owns is decided in the log.
const GONE_AFTER: Duration = Duration::from_secs(10);
/// How long it takes at most until everybody who is there has been heard of.
pub(crate) const HEARD_AFTER: Duration = Duration::from_secs(3);
/// How often it is looked who is gone.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After so long without anybody's word, one's own included, the reader stands still, not the others: the roster is read anew.
const SILENCE: Duration = Duration::from_secs(12);
/// How long to wait after the roster couldn't be read or written.
const RETRY: Duration = Duration::from_millis(500);
/// Processes that are remembered.
const INSTANCES_MAX: usize = 4_096;

/// A part that a process plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Owns partitions.
    Writer,
    /// Writes read models.
    Projector,
    /// Holds sockets.
    Edge,
}

/// What a process says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Where it is called.
    pub(crate) rpc: String,
    /// What it does.
    pub(crate) roles: Vec<Role>,
    /// The partitions that it owns, with their terms.
    pub(crate) terms: BTreeMap<u32, u64>,
    /// Open sockets, of an edge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sockets: Option<u64>,
}

/// Who is there.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Present {
    /// Who owns what.
    pub(crate) owners: Arc<Owners>,
    /// Everybody's instance and entry.
    pub(crate) entries: BTreeMap<String, Entry>,
}

impl Present {
    fn of(entries: BTreeMap<String, Entry>) -> Self {
        let mut owners = Owners::default();
        for (instance, entry) in &entries {
            for (partition, term) in &entry.terms {
                let (instance, address) = (instance.clone(), entry.rpc.clone());
                owners.add(*partition, OwnedBy { instance, address, term: *term });
            }
        }
        Self { owners: Arc::new(owners), entries }
    }

    /// The addresses of those who play a part, except one.
    pub(crate) fn addresses(&self, role: Role, except: &str) -> Vec<String> {
        let others = self
            .entries
            .iter()
            .filter(|(instance, entry)| instance.as_str() != except && entry.roles.contains(&role));
        others.map(|(_, entry)| entry.rpc.clone()).collect()
    }
}

/// Says what this process is, at once when that changes and else now and then, until told to stop; then says goodbye.
pub(crate) async fn say(
    roster: Roster,
    instance: String,
    mut entry: watch::Receiver<Entry>,
    stop: CancellationToken,
) {
    let mut logged = false;
    loop {
        let json = serde_json::to_vec(&*entry.borrow_and_update()).unwrap_or_default();
        let said = roster.publish(&instance, json.into()).await;
        let wait = match &said {
            Ok(()) => SAY_EVERY,
            Err(_) => RETRY,
        };
        if let Err(error) = said
            && !std::mem::replace(&mut logged, true)
        {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the others can't be told that this process is there; trying on");
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(wait) => {}
            Ok(()) = entry.changed() => {}
        }
    }
    drop(tokio::time::timeout(RETRY, roster.leave(&instance)).await);
}

/// A process' own name and what it says of itself.
pub(crate) type Own = (String, watch::Receiver<Entry>);

/// Follows who is there, until told to stop. This process itself, `own`, if it is one of them, is there whatever the roster says:
/// where it plays every part, it must not depend on hearing of itself.
pub(crate) async fn follow(
    roster: Roster,
    mut own: Option<Own>,
    present: watch::Sender<Present>,
    stop: CancellationToken,
) {
    let mut seen: HashMap<String, (Entry, Instant)> = HashMap::new();
    let mut trouble = Seldom::default();
    loop {
        let outcome = tokio::select! {
            () = stop.cancelled() => return,
            outcome = follow_on(&roster, &mut own, &mut seen, &present) => outcome,
        };
        if let Err(error) = outcome
            && trouble.is_due()
        {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "it can't be told who is there; trying on");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

/// Who is there now, as somebody hears who only asks. Whoever speaks within [`HEARD_AFTER`] is, whatever the clocks say.
pub(crate) async fn heard(roster: &Roster) -> Result<Present, parley_eventlog::ReadError> {
    let mut watch = roster.watch(GONE_AFTER).await?;
    let mut seen: HashMap<String, (Entry, Instant)> = HashMap::new();
    let until = Instant::now() + HEARD_AFTER;
    while let Ok(sightings) = tokio::time::timeout_at(until, watch.next()).await {
        for sighting in sightings? {
            take(&mut seen, Sighting { age: Duration::ZERO, ..sighting });
        }
    }
    Ok(Present::of(seen.into_iter().map(|(name, (entry, _))| (name, entry)).collect()))
}

async fn follow_on(
    roster: &Roster,
    own: &mut Option<Own>,
    seen: &mut HashMap<String, (Entry, Instant)>,
    present: &watch::Sender<Present>,
) -> Result<(), parley_eventlog::ReadError> {
    let mut opening = std::pin::pin!(roster.watch(GONE_AFTER));
    let mut watch: Option<RosterWatch> = None;
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut heard = Instant::now();
    // Until then it may be its own former self, before a restart.
    let alone_from = Instant::now() + GONE_AFTER;
    let mut twin = Seldom::default();
    loop {
        tokio::select! {
            opened = &mut opening, if watch.is_none() => {
                watch = Some(opened?);
                heard = Instant::now();
            }
            Some(sightings) = OptionFuture::from(watch.as_mut().map(RosterWatch::next)) => {
                for sighting in sightings? {
                    if Instant::now() > alone_from && is_twin(&sighting, own.as_ref()) && twin.is_due() {
                        let instance = sighting.instance.as_str();
                        tracing::error!(instance, "another process has this one's name, and each is taken for the other: set cluster.instance to a name of its own for each, or leave it out");
                    }
                    take(seen, sighting);
                }
                heard = Instant::now();
            }
            _ = look.tick() => seen.retain(|_, (_, at)| at.elapsed() < GONE_AFTER),
            Some(Ok(())) = OptionFuture::from(own.as_mut().map(|(_, entry)| entry.changed())) => {}
        }
        let now = present_of(seen, own.as_mut());
        present.send_if_modified(|known| {
            let changed = *known != now;
            if changed {
                *known = now;
            }
            changed
        });
        if own.is_some() && watch.is_some() && heard.elapsed() > SILENCE {
            return Err(parley_eventlog::ReadError::Io(std::io::ErrorKind::TimedOut.into()));
        }
    }
}

/// Whether somebody else speaks under this process' name.
fn is_twin(sighting: &Sighting, own: Option<&Own>) -> bool {
    let entry = sighting.json.as_ref().and_then(|json| serde_json::from_slice::<Entry>(json).ok());
    let is_recent = sighting.age < GONE_AFTER / 2;
    own.zip(entry).is_some_and(|((name, own), entry)| {
        is_recent && *name == sighting.instance && entry.rpc != own.borrow().rpc
    })
}

/// Who was heard of, and this process itself.
fn present_of(seen: &HashMap<String, (Entry, Instant)>, own: Option<&mut Own>) -> Present {
    let heard = seen.iter().map(|(name, (entry, _))| (name.clone(), entry.clone()));
    // The later one counts.
    Present::of(
        heard.chain(own.map(|(name, entry)| (name.clone(), entry.borrow_and_update().clone()))).collect(),
    )
}

fn take(seen: &mut HashMap<String, (Entry, Instant)>, sighting: Sighting) {
    let entry = sighting.json.and_then(|json| serde_json::from_slice::<Entry>(&json).ok());
    match entry {
        Some(entry) if sighting.age < GONE_AFTER && seen.len() < INSTANCES_MAX => {
            // As old as it is: who reads the past doesn't take it for the present.
            let at = Instant::now().checked_sub(sighting.age).unwrap_or_else(Instant::now);
            seen.insert(sighting.instance, (entry, at));
        }
        Some(_) => {}
        None => drop(seen.remove(&sighting.instance)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(rpc: &str, terms: &[(u32, u64)]) -> Entry {
        Entry {
            rpc: rpc.into(),
            roles: vec![Role::Writer],
            terms: terms.iter().copied().collect(),
            sockets: None,
        }
    }

    #[test]
    fn of_two_who_think_that_they_own_a_partition_the_later_one_does() {
        let entries = [("frozen", entry("a:1", &[(0, 5), (1, 9)])), ("present", entry("b:2", &[(0, 40)]))];
        let present =
            Present::of(entries.into_iter().map(|(name, entry)| (name.to_owned(), entry)).collect());
        assert_eq!(present.owners.owner(0).unwrap().instance, "present");
        assert_eq!(present.owners.owner(1).unwrap().address, "a:1");
        assert_eq!(present.addresses(Role::Writer, "frozen"), ["b:2"]);
        assert!(present.addresses(Role::Edge, "").is_empty());
    }

    #[test]
    fn this_process_is_there_as_it_is_now_whatever_was_heard_of_it() {
        let mut seen = HashMap::new();
        let (says, hears) = watch::channel(entry("a:1", &[(0, 6)]));
        let mut own = ("own".to_owned(), hears);
        assert_eq!(present_of(&seen, Some(&mut own)).owners.owner(0).unwrap().term, 6);
        says.send_replace(entry("a:1", &[(0, 7)]));
        seen.insert("own".to_owned(), (entry("a:1", &[(0, 5), (1, 6)]), Instant::now()));
        seen.insert("other".to_owned(), (entry("b:2", &[(2, 8)]), Instant::now()));
        let present = present_of(&seen, Some(&mut own));
        let terms: Vec<_> = present.owners.iter().map(|(partition, owner)| (partition, owner.term)).collect();
        assert_eq!((terms, present.entries.len()), (vec![(0, 7), (2, 8)], 2));
        let of_nobody = present_of(&seen, None);
        assert_eq!(of_nobody.owners.owner(0).unwrap().term, 5, "who only asks hears what all do");
    }

    #[test]
    fn what_was_said_long_ago_is_no_sign_of_life_and_a_goodbye_counts_at_once() {
        let mut seen = HashMap::new();
        let json = serde_json::to_vec(&entry("a:1", &[])).unwrap();
        let sighting = |age, json: Option<&[u8]>| Sighting {
            instance: "one".into(),
            json: json.map(bytes::Bytes::copy_from_slice),
            age: Duration::from_secs(age),
        };
        take(&mut seen, sighting(60, Some(&json)));
        assert!(seen.is_empty());
        take(&mut seen, sighting(0, Some(&json)));
        assert_eq!(seen.len(), 1);
        take(&mut seen, sighting(0, None));
        assert!(seen.is_empty());
    }
}
