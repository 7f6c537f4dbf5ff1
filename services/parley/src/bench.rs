//! `parley bench`: the load generator. It drives a running server through the public API, checks every delivery, and says
//! what the server cost. A run in which anything was wrong is invalid, and its exit code is 2.

mod ledger;
mod member;
mod process;
mod report;
mod scenario;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::{self, ConfigArgs};
use crate::token::{Signer, parse_user};
use crate::{Usage, print_line};
use ledger::{Faults, Ledger};
use member::{Counts, Group, Member, Planned, SENDS_QUEUED_MAX};
use process::Usage as ServerUsage;
use report::Report;
use scenario::{IDLE_WAIT, Kind, Mode, Scenario};

/// How long the tokens of a run live.
const TOKEN_TTL: Duration = Duration::from_secs(3_600);
/// Connections and groups that are made at once.
const SETUP_AT_ONCE: usize = 64;
/// How long after the last send everything must have come.
const SETTLE_WAIT: Duration = Duration::from_secs(5);
/// Latencies are recorded up to a minute, in microseconds, to three digits.
const LATENCY_US_MAX: u64 = 60_000_000;

#[derive(Args)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// fanout-1x1000, groups-100x10, pair-1000x2, idle-10k or catchup-10k.
    #[arg(default_value = "groups-100x10")]
    scenario: String,
    /// The server, e.g. http://127.0.0.1:8080; with --data its data directory, for tokens. A closed loop needs a server
    /// with `--set limits.sends_per_second=0`.
    #[arg(long)]
    url: String,
    /// How the load is given.
    #[arg(long, value_enum, default_value = "open")]
    mode: Mode,
    /// Measured seconds.
    #[arg(long, default_value_t = 5.0)]
    secs: f64,
    /// Seconds of the same load before them.
    #[arg(long, default_value_t = 1.5)]
    warm: f64,
    /// Sends a second over all groups, in the open loop, instead of the scenario's.
    #[arg(long)]
    rate: Option<f64>,
    /// Bytes of a text.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(40..=16_384))]
    bytes: u32,
    /// Each member acknowledges so long after the first delivery that it hasn't; 0: never.
    #[arg(long, default_value_t = 200, value_name = "MS")]
    ack_every: u64,
    /// Shrinks the scenario, for a try.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// The server's process, for what it costs (Linux).
    #[arg(long)]
    pid: Option<u32>,
    /// Prints the outcome as one JSON object.
    #[arg(long)]
    json: bool,
}

/// A run that is set up.
struct Bench {
    args: BenchArgs,
    scenario: Scenario,
    signer: Signer,
    http: reqwest::Client,
    /// Keeps the users and groups of runs apart.
    tag: String,
    counts: Arc<Mutex<Counts>>,
    progress: ProgressBar,
}

pub(crate) async fn run(args: BenchArgs) -> anyhow::Result<ExitCode> {
    let scenario = Scenario::named(&args.scenario).ok_or_else(|| {
        let names: Vec<_> = scenario::ALL.iter().map(|scenario| scenario.name).collect();
        Usage(format!("there is no scenario {:?}; choose one of {}", args.scenario, names.join(", ")))
    })?;
    if !(args.scale > 0.0 && args.scale <= 1.0 && args.secs > 0.0 && args.warm >= 0.0) {
        return Err(Usage("--scale must be over 0 and up to 1, --secs over 0".to_owned()).into());
    }
    let counts = Counts {
        begun: Instant::now(),
        is_measuring: false,
        deliveries: 0,
        accepted: 0,
        acknowledged: 0,
        delivery_us: Histogram::new_with_max(LATENCY_US_MAX, 3)?,
        acceptance_us: Histogram::new_with_max(LATENCY_US_MAX, 3)?,
        faults: Faults::default(),
    };
    let bench = Bench {
        scenario: scenario.scaled(args.scale),
        signer: Signer::open(config::load(&args.config, None)?)?,
        http: reqwest::Client::new(),
        tag: Uuid::new_v4().simple().to_string().split_off(24),
        counts: Arc::new(Mutex::new(counts)),
        progress: progress(),
        args,
    };
    let report = match bench.scenario.kind {
        Kind::Load => bench.load().await?,
        Kind::Idle => bench.idle().await?,
        Kind::CatchUp(missed) => bench.catch_up(missed).await?,
    };
    bench.progress.finish_and_clear();
    print_line(&if bench.args.json { serde_json::to_string(&report)? } else { report.to_string() })?;
    Ok(if report.is_valid() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

impl Bench {
    fn user(&self, group: usize, member: usize) -> String {
        format!("bench-{}-{group}-{member}", self.tag)
    }

    fn token(&self, group: usize, member: usize) -> anyhow::Result<String> {
        self.signer.token(&parse_user(&self.user(group, member))?, TOKEN_TTL)
    }

    async fn make_group(&self, number: usize) -> anyhow::Result<Arc<Group>> {
        let token = self.token(number, 0)?;
        let members: Vec<_> = (1..self.scenario.members).map(|member| self.user(number, member)).collect();
        let body = json!({"name": format!("bench {} {number}", self.tag), "members": members});
        let request = self.http.post(format!("{}/v1/groups", self.args.url)).bearer_auth(token).json(&body);
        let answer: Value = request.send().await?.error_for_status()?.json().await?;
        let id = answer.get("group_id").and_then(Value::as_str).context("the answer has no group_id")?;
        let ledger = Mutex::new(Ledger::new(self.scenario.members));
        let window = Semaphore::new(self.scenario.in_flight_max);
        Ok(Arc::new(Group { id: id.parse()?, ledger, window }))
    }

    async fn make_groups(&self) -> anyhow::Result<Vec<Arc<Group>>> {
        self.progress.set_message(format!("making {} groups", self.scenario.groups));
        let making = (0..self.scenario.groups).map(|number| self.make_group(number));
        let made = futures::stream::iter(making).buffered(SETUP_AT_ONCE).try_collect();
        made.await.context("groups can't be made: does the server run there, with this data directory's key?")
    }

    async fn join(&self, group: &Arc<Group>, number: usize, member: usize) -> anyhow::Result<Member> {
        let ack_every = (self.args.ack_every > 0).then(|| Duration::from_millis(self.args.ack_every));
        let text = (self.args.bytes as usize, ack_every);
        let token = self.token(number, member)?;
        let joining = Member::join(&self.args.url, &token, group, &self.counts, 1, text);
        joining.await.context("a member can't connect")
    }

    /// Connects all members; for each group the way to its first one.
    async fn start(
        &self,
        groups: &[Arc<Group>],
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> anyhow::Result<Vec<mpsc::Sender<Planned>>> {
        let all = groups.len() * self.scenario.members;
        self.progress.set_message(format!("connecting {all} members"));
        let pairs = (0..groups.len()).flat_map(|group| (0..self.scenario.members).map(move |m| (group, m)));
        let joining = pairs.filter_map(|(number, member)| {
            let group = groups.get(number)?;
            Some(async move { Ok::<_, anyhow::Error>((member, self.join(group, number, member).await?)) })
        });
        let mut joined = futures::stream::iter(joining).buffered(SETUP_AT_ONCE);
        let mut senders = Vec::with_capacity(groups.len());
        while let Some((number, member)) = joined.try_next().await? {
            let (tx, rx) = mpsc::channel(SENDS_QUEUED_MAX);
            tasks.spawn(member.run(rx, stop.clone()));
            if number == 0 {
                senders.push(tx);
            }
        }
        Ok(senders)
    }

    async fn load(&self) -> anyhow::Result<Report> {
        let groups = self.make_groups().await?;
        let (mut tasks, stop, end) = (JoinSet::new(), CancellationToken::new(), CancellationToken::new());
        let senders = self.start(&groups, &mut tasks, &stop).await?;
        let mut sending = JoinSet::new();
        match self.args.mode {
            Mode::Open => drop(sending.spawn(open_loop(senders, self.rate(), end.clone()))),
            Mode::Closed => {
                for (group, sender) in groups.iter().cloned().zip(senders) {
                    sending.spawn(closed_loop(group, sender, end.clone()));
                }
            }
        }
        self.progress.set_message("warming up");
        tokio::time::sleep(Duration::from_secs_f64(self.args.warm)).await;
        let before = self.server()?;
        self.counts.lock().is_measuring = true;
        let begun = Instant::now();
        self.progress.set_message(format!("measuring for {} s", self.args.secs));
        tokio::time::sleep(Duration::from_secs_f64(self.args.secs)).await;
        self.counts.lock().is_measuring = false;
        let (seconds, after) = (begun.elapsed(), self.server()?);
        end.cancel();
        while sending.join_next().await.is_some() {}
        self.progress.set_message("waiting for what is under way");
        settle(&groups).await;
        stop.cancel();
        while tasks.join_next().await.is_some() {}
        let mut report = self.report(&groups);
        report.measured(&self.counts.lock(), seconds, before, after);
        Ok(report)
    }

    async fn idle(&self) -> anyhow::Result<Report> {
        let groups = self.make_groups().await?;
        let before = self.server()?;
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let _senders = self.start(&groups, &mut tasks, &stop).await?;
        self.progress.set_message("sitting still");
        tokio::time::sleep(IDLE_WAIT).await;
        let after = self.server()?;
        let mut report = self.report(&groups);
        report.idle(groups.len() * self.scenario.members, before, after);
        stop.cancel();
        while tasks.join_next().await.is_some() {}
        Ok(report)
    }

    async fn catch_up(&self, missed: usize) -> anyhow::Result<Report> {
        let groups = self.make_groups().await?;
        let group = groups.first().context("no group")?;
        // While the other one is away, a message is over once the sender has it.
        *group.ledger.lock() = Ledger::new(1);
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let (tx, rx) = mpsc::channel(SENDS_QUEUED_MAX);
        tasks.spawn(self.join(group, 0, 0).await?.run(rx, stop.clone()));
        self.progress.set_message(format!("sending {missed} messages"));
        for _ in 0..missed {
            group.window.acquire().await?.forget();
            tx.send(Planned(Instant::now())).await.context("the sender's connection broke")?;
        }
        settle(&groups).await;
        let mut report = self.report(&groups);
        // The second one has its own ledger: what it gets was over long ago.
        let late = Group { id: group.id, ledger: Mutex::new(Ledger::new(1)), window: Semaphore::new(0) };
        for _ in 0..missed {
            late.ledger.lock().send();
        }
        self.progress.set_message("catching up");
        let (late, begun) = (Arc::new(late), Instant::now());
        let mut member = self.join(&late, 0, 1).await?;
        member.until(1 + missed as u64).await?;
        report.caught_up(begun.elapsed());
        stop.cancel();
        while tasks.join_next().await.is_some() {}
        Ok(report)
    }

    fn rate(&self) -> f64 {
        self.args.rate.unwrap_or(self.scenario.sends_per_second)
    }

    fn server(&self) -> anyhow::Result<Option<ServerUsage>> {
        self.args.pid.map(ServerUsage::of).transpose()
    }

    fn report(&self, groups: &[Arc<Group>]) -> Report {
        let mut faults = self.counts.lock().faults;
        for group in groups {
            faults += group.ledger.lock().finish();
        }
        Report::new(&self.scenario, self.args.mode, faults)
    }
}

/// Sends at fixed times, the groups in turn.
async fn open_loop(senders: Vec<mpsc::Sender<Planned>>, rate: f64, end: CancellationToken) {
    let (begun, every) = (Instant::now(), Duration::from_secs_f64(1.0 / rate.max(0.001)));
    for (number, sender) in (0_u32..).zip(senders.iter().cycle()) {
        let planned = begun + every * number;
        tokio::select! {
            () = end.cancelled() => return,
            () = tokio::time::sleep_until(planned) => {}
        }
        // A full queue is a stall of the server's, which the planned time shows.
        if sender.send(Planned(planned)).await.is_err() {
            return;
        }
    }
}

/// Sends as soon as a message of the group is over.
async fn closed_loop(group: Arc<Group>, sender: mpsc::Sender<Planned>, end: CancellationToken) {
    loop {
        let permit = tokio::select! {
            () = end.cancelled() => return,
            permit = group.window.acquire() => permit,
        };
        let Ok(permit) = permit else { return };
        permit.forget();
        if sender.send(Planned(Instant::now())).await.is_err() {
            return;
        }
    }
}

/// Waits until nothing is under way, or the wait is over.
async fn settle(groups: &[Arc<Group>]) {
    let give_up = Instant::now() + SETTLE_WAIT;
    while Instant::now() < give_up && groups.iter().any(|group| group.ledger.lock().open() > 0) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
