//! `parley status`: what runs, who owns which partition, how far the read models are.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use parley_edge::Hub;
use parley_eventlog::{Bound, EventLog, Topic, TopicPartition};
use parley_readstore::ReadStore;
use serde::{Deserialize, Serialize};

use crate::admin::{self, Request};
use crate::cluster::{self, roster::Role};
use crate::config::{self, Config, ConfigArgs};
use crate::{print_line, telemetry};

#[derive(Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Prints it as one JSON object.
    #[arg(long)]
    json: bool,
}

/// What is told; also what goes through the admin socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// The log's incarnation.
    pub(crate) epoch: String,
    /// The processes that are there.
    pub(crate) instances: Vec<Instance>,
    /// Open sockets, over all edges; null if an edge doesn't say.
    pub(crate) sessions: Option<u64>,
    /// Records that are in the log and not in the read models; null if these can't be asked.
    pub(crate) projector_lag_records: Option<u64>,
    /// Why the log takes no appends, if so.
    pub(crate) log_trouble: Option<String>,
    /// By partition.
    pub(crate) partitions: Vec<Partition>,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Instance {
    /// What it is called.
    pub(crate) instance: String,
    /// What it does.
    pub(crate) roles: Vec<Role>,
    /// Open sockets, if it is an edge that says so.
    pub(crate) sessions: Option<u64>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Partition {
    /// Which.
    pub(crate) partition: u32,
    /// The instance that owns it; null if nobody says so.
    pub(crate) owner: Option<String>,
    /// By topic, the offset that the next record will get.
    pub(crate) head: BTreeMap<String, u64>,
    /// Records of all its topics that are not in the read models; null if these can't be asked.
    pub(crate) lag_records: Option<u64>,
}

pub(crate) async fn run(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config, None)?;
    telemetry::log(&config.quiet().telemetry)?;
    let status = match config.is_shared() {
        true => cluster::status::ask(&config).await?,
        false => of_data_dir(&config).await?,
    };
    if args.json {
        print_line(&serde_json::to_string(&status)?)?;
    } else {
        status.lines().iter().try_for_each(|line| print_line(line))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn of_data_dir(config: &Config) -> anyhow::Result<Status> {
    let dir = config.data_dir();
    let told = admin::ask(&dir, &Request::Status {}, |_| {}).await?;
    let told = told.with_context(|| {
        format!("no server runs on {}: name its directory with --data, or start one", dir.display())
    })?;
    Ok(serde_json::from_value(told)?)
}

/// Of the server that is this process: it plays every role, and owns every partition.
pub(crate) async fn of_server(
    log: &dyn EventLog,
    reads: &dyn ReadStore,
    hub: &Hub,
) -> anyhow::Result<Status> {
    let instance = format!("parley-{}", std::process::id());
    let sessions = Some(hub.sockets() as u64);
    let roles = vec![Role::Writer, Role::Projector, Role::Edge];
    let instances = vec![Instance { instance: instance.clone(), roles, sessions }];
    of_log(log, Some(reads), instances, |_| Some(instance.clone())).await
}

/// With what the log and the read models say.
pub(crate) async fn of_log(
    log: &dyn EventLog,
    reads: Option<&dyn ReadStore>,
    instances: Vec<Instance>,
    owner: impl Fn(u32) -> Option<String>,
) -> anyhow::Result<Status> {
    let count = log.partitions().get();
    let all = |topic| (0..count).map(move |partition| TopicPartition { topic, partition });
    let places: Vec<TopicPartition> = Topic::ALL.into_iter().flat_map(all).collect();
    // What is projected is asked first, so that it never seems to be ahead.
    let checkpoints = match reads {
        Some(reads) => Some(
            reads.live().checkpoints().await.context("the read models can't be asked how far they are")?,
        ),
        None => None,
    };
    let ends = log.offsets(&places, Bound::End).await.context("the log can't be asked where it ends")?;
    let mut partitions: Vec<Partition> = (0..count)
        .map(|partition| Partition {
            partition,
            owner: owner(partition),
            head: BTreeMap::new(),
            lag_records: checkpoints.is_some().then_some(0),
        })
        .collect();
    for (at, end) in places.into_iter().zip(ends) {
        let Some(told) = usize::try_from(at.partition).ok().and_then(|nth| partitions.get_mut(nth)) else {
            continue;
        };
        told.head.insert(at.topic.name().to_owned(), end);
        if let (Some(checkpoints), Some(lag)) = (&checkpoints, &mut told.lag_records) {
            let key = (at.topic as u8, at.partition);
            let reached = checkpoints.iter().find(|(known, _)| *known == key).map_or(0, |(_, at)| at.offset);
            *lag += end.saturating_sub(reached);
        }
    }
    let edges = instances.iter().filter(|instance| instance.roles.contains(&Role::Edge));
    Ok(Status {
        epoch: log.epoch().to_string(),
        sessions: edges.map(|edge| edge.sessions).sum(),
        projector_lag_records: partitions.iter().map(|partition| partition.lag_records).sum(),
        log_trouble: log.trouble().map(|trouble| trouble.to_string()),
        instances,
        partitions,
    })
}

fn shown(number: Option<u64>) -> String {
    number.map_or_else(|| "?".to_owned(), |number| number.to_string())
}

fn role_names(roles: &[Role]) -> String {
    let names = roles.iter().map(|role| match role {
        Role::Writer => "writer",
        Role::Projector => "projector",
        Role::Edge => "edge",
    });
    names.collect::<Vec<_>>().join(", ")
}

impl Status {
    /// For people.
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for instance in &self.instances {
            let sessions = match (instance.roles.contains(&Role::Edge), instance.sessions) {
                (true, sessions) => format!("{} sessions", shown(sessions)),
                (false, _) => String::new(),
            };
            lines.push(
                format!("{:<28} {:<26} {sessions}", instance.instance, role_names(&instance.roles))
                    .trim_end()
                    .to_owned(),
            );
        }
        if self.instances.is_empty() {
            lines.push("no process says that it is there".to_owned());
        }
        let without = self.partitions.iter().filter(|partition| partition.owner.is_none()).count();
        lines.push(format!(
            "{} partitions, {without} without owner; {} sessions; read models {} records behind",
            self.partitions.len(),
            shown(self.sessions),
            shown(self.projector_lag_records)
        ));
        if let Some(trouble) = &self.log_trouble {
            lines.push(format!("the log takes no appends: {trouble}"));
        }
        lines.push(String::new());
        lines.push(format!(
            "{:>9}  {:<28} {:>10} {:>10} {:>10} {:>8}",
            "partition", "owner", "events", "acks", "users", "behind"
        ));
        for partition in &self.partitions {
            let head = |topic: Topic| shown(partition.head.get(topic.name()).copied());
            lines.push(format!(
                "{:>9}  {:<28} {:>10} {:>10} {:>10} {:>8}",
                partition.partition,
                partition.owner.as_deref().unwrap_or("nobody"),
                head(Topic::Events),
                head(Topic::Acks),
                head(Topic::Users),
                shown(partition.lag_records)
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_says_is_a_question_mark_and_not_a_zero() {
        let instance = |name: &str, roles: &[Role], sessions| Instance {
            instance: name.into(),
            roles: roles.to_vec(),
            sessions,
        };
        let partition = |partition, owner: Option<&str>, lag_records| Partition {
            partition,
            owner: owner.map(ToOwned::to_owned),
            head: BTreeMap::from([("parley.events".to_owned(), 7)]),
            lag_records,
        };
        let status = Status {
            epoch: String::new(),
            instances: vec![instance("w", &[Role::Writer], None), instance("e", &[Role::Edge], None)],
            sessions: None,
            projector_lag_records: Some(3),
            log_trouble: Some("disk full".into()),
            partitions: vec![partition(0, Some("w"), Some(3)), partition(1, None, None)],
        };
        let text = status.lines().join("\n");
        for expected in
            ["2 partitions, 1 without owner; ? sessions; read models 3 records behind", "disk full"]
        {
            assert!(text.contains(expected), "{text}");
        }
        let last = text.lines().last().unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(last, ["1", "nobody", "7", "?", "?", "?"]);
    }
}
