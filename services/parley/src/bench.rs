//! `parley bench`: the load generator. It drives a running server through the public API, checks every delivery, and says
//! what the server cost. A run in which anything was wrong is invalid, and its exit code is 2.

mod ledger;
mod member;
mod process;
mod report;
mod scenario;

use std::io::{IsTerminal as _, Write as _};
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
use crate::http_client;
use crate::token::{Signer, parse_user};
use crate::{Usage, print_line};
use ledger::{Faults, Ledger};
use member::{Counts, Group, Member, Planned, SENDS_QUEUED_MAX};
use process::Usage as ServerUsage;
use report::Report;
use scenario::{IDLE_WAIT, Kind, Mode, Scenario};

/// How long the tokens of a run live, beside the time that is measured.
const SETUP_TTL: Duration = Duration::from_secs(3_600);
/// The longest run: a week.
const RUN_SECS_MAX: f64 = 604_800.0;
/// Connections and groups that are made at once.
const SETUP_AT_ONCE: usize = 64;
/// How long a call, or the next acceptance of those who are owed one, may take.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
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
    /// The server, e.g. http://127.0.0.1:8080; with --data its data directory, for tokens. A closed loop and
    /// catchup-10k need a server with `--set limits.sends_per_second=0`.
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
    check(args.scale, args.secs, args.warm, args.rate)?;
    let counts = Counts {
        begun: Instant::now(),
        is_measuring: false,
        deliveries: 0,
        accepted: 0,
        acknowledged: 0,
        delivery_us: Histogram::new_with_max(LATENCY_US_MAX, 3)?,
        acceptance_us: Histogram::new_with_max(LATENCY_US_MAX, 3)?,
        faults: Faults::default(),
        first_error: None,
    };
    let bench = Bench {
        scenario: scenario.scaled(args.scale),
        signer: Signer::of_server(config::load(&args.config, None)?)?,
        http: http_client::builder_for(&args.url).timeout(ANSWER_WAIT).build()?,
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
    if let Some(error) = &bench.counts.lock().first_error {
        drop(writeln!(std::io::stderr(), "parley: the first error: {error}"));
    }
    print_line(&if bench.args.json { serde_json::to_string(&report)? } else { report.to_string() })?;
    Ok(if report.is_valid() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// Whether a run can be of such a size and length.
fn check(scale: f64, secs: f64, warm: f64, rate: Option<f64>) -> Result<(), Usage> {
    if !(scale > 0.0 && scale <= 1.0) {
        return Err(Usage("--scale must be over 0 and up to 1".to_owned()));
    }
    if !(secs > 0.0 && secs <= RUN_SECS_MAX && (0.0..=RUN_SECS_MAX).contains(&warm)) {
        return Err(Usage(format!(
            "--secs must be over 0, --warm at least 0, and both at most {RUN_SECS_MAX}"
        )));
    }
    if !rate.is_none_or(|rate| rate > 0.0 && rate.is_finite()) {
        return Err(Usage("--rate must be over 0 sends a second".to_owned()));
    }
    Ok(())
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
        let ttl = SETUP_TTL + Duration::from_secs_f64(self.args.warm + self.args.secs);
        self.signer.token(&parse_user(&self.user(group, member))?, ttl)
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
        if let Err(error) = send_all(missed, group, &tx, &mut tasks).await {
            let broken = self.counts.lock().first_error.take();
            return Err(
                broken.map_or(error, |broken| anyhow::anyhow!("the sender's connection broke: {broken}"))
            );
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
    let (mut planned, every) = (Instant::now(), Duration::from_secs_f64(1.0 / rate.max(0.001)));
    for sender in senders.iter().cycle() {
        tokio::select! {
            () = end.cancelled() => return,
            () = tokio::time::sleep_until(planned) => {}
        }
        // A full queue is a stall of the server's, which the planned time shows; it mustn't outlast the run.
        tokio::select! {
            () = end.cancelled() => return,
            sent = sender.send(Planned(planned)) => if sent.is_err() { return },
        }
        planned += every;
    }
}

/// Sends so many, each as soon as the window has room for it; `tasks` is the sender's alone, which gives the room back.
async fn send_all(
    count: usize,
    group: &Group,
    sender: &mpsc::Sender<Planned>,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    for _ in 0..count {
        let permit = tokio::select! {
            permit = tokio::time::timeout(ANSWER_WAIT, group.window.acquire()) => permit,
            _ = tasks.join_next() => anyhow::bail!("the sender's connection broke"),
        };
        permit.with_context(|| format!("nothing was accepted for {} s", ANSWER_WAIT.as_secs()))??.forget();
        sender.send(Planned(Instant::now())).await.context("the sender's connection broke")?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn a_run_has_a_size_and_an_end() {
        assert!(check(1.0, 5.0, 0.0, None).is_ok() && check(0.1, RUN_SECS_MAX, 1.5, Some(0.5)).is_ok());
        for (scale, secs, warm, rate) in [
            (0.0, 5.0, 1.0, None),
            (1.1, 5.0, 1.0, None),
            (1.0, 0.0, 1.0, None),
            (1.0, f64::INFINITY, 1.0, None),
            (1.0, f64::NAN, 1.0, None),
            (1.0, 1e18, 1.0, None),
            (1.0, 5.0, -1.0, None),
            (1.0, 5.0, f64::INFINITY, None),
            (1.0, 5.0, 1.0, Some(0.0)),
            (1.0, 5.0, 1.0, Some(f64::INFINITY)),
            (1.0, 5.0, 1.0, Some(f64::NAN)),
        ] {
            assert!(check(scale, secs, warm, rate).is_err(), "{scale} {secs} {warm} {rate:?}");
        }
    }

    #[tokio::test]
    async fn an_open_loop_ends_though_nobody_takes_what_it_sends() {
        let (tx, _rx) = mpsc::channel(1);
        let end = CancellationToken::new();
        let sending = tokio::spawn(open_loop(vec![tx.clone()], 1e6, end.clone()));
        while tx.capacity() > 0 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        end.cancel();
        tokio::time::timeout(PATIENCE, sending).await.unwrap().unwrap();
    }

    /// Whoever is gone gives no permits back.
    #[tokio::test]
    async fn who_waits_for_a_sender_that_is_gone_is_told() {
        let ledger = Mutex::new(Ledger::new(1));
        let group = Group { id: Uuid::nil(), ledger, window: Semaphore::new(2) };
        let (tx, mut rx) = mpsc::channel(SENDS_QUEUED_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            rx.recv().await;
        });
        let sending = send_all(10, &group, &tx, &mut tasks);
        let error = tokio::time::timeout(PATIENCE, sending).await.unwrap().unwrap_err();
        assert!(error.to_string().contains("the sender's connection broke"), "{error}");
    }
}
