//! What a run gave.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::ledger::Faults;
use super::member::Counts;
use super::process::Usage;
use super::scenario::{Mode, Scenario};

/// Milliseconds at some shares of all.
#[derive(Debug, Clone, Copy, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

#[allow(clippy::cast_precision_loss, reason = "at most a minute, in microseconds")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

impl Latency {
    fn of(micros: &Histogram<u64>) -> Self {
        let at = |share| millis(micros.value_at_quantile(share));
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: millis(micros.max()) }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} / {:.2} / {:.2} / {:.2} ms", self.p50, self.p99, self.p999, self.max)
    }
}

/// One run. Figures that it didn't take are left out.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    scenario: &'static str,
    mode: &'static str,
    valid: bool,
    check: Faults,
    #[serde(skip_serializing_if = "Option::is_none")]
    sends_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acks_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acceptance_ms: Option<Latency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_ms: Option<Latency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_cores: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_us_per_send: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rss_kb_per_connection: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    catchup_ms: Option<f64>,
}

#[allow(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
impl Report {
    pub(super) fn new(scenario: &Scenario, mode: Mode, faults: Faults) -> Self {
        Self {
            scenario: scenario.name,
            mode: match mode {
                Mode::Open => "open",
                Mode::Closed => "closed",
            },
            valid: faults == Faults::default(),
            check: faults,
            sends_per_s: None,
            deliveries_per_s: None,
            acks_per_s: None,
            acceptance_ms: None,
            delivery_ms: None,
            server_cores: None,
            cpu_us_per_send: None,
            rss_kb_per_connection: None,
            catchup_ms: None,
        }
    }

    /// Whether nothing was wrong, and anything was measured.
    pub(super) fn is_valid(&self) -> bool {
        self.valid
    }

    pub(super) fn measured(
        &mut self,
        counts: &Counts,
        took: Duration,
        before: Option<Usage>,
        after: Option<Usage>,
    ) {
        let a_second = |count: u64| Some(count as f64 / took.as_secs_f64());
        self.valid &= counts.accepted > 0 && counts.deliveries > 0;
        self.sends_per_s = a_second(counts.accepted);
        self.deliveries_per_s = a_second(counts.deliveries);
        self.acks_per_s = a_second(counts.acknowledged);
        self.acceptance_ms = Some(Latency::of(&counts.acceptance_us));
        self.delivery_ms = Some(Latency::of(&counts.delivery_us));
        if let (Some(before), Some(after)) = (before, after) {
            let cpu_s = after.cpu_s - before.cpu_s;
            self.server_cores = Some(cpu_s / took.as_secs_f64());
            self.cpu_us_per_send = Some(cpu_s * 1e6 / counts.accepted.max(1) as f64);
        }
    }

    pub(super) fn idle(&mut self, connections: usize, before: Option<Usage>, after: Option<Usage>) {
        if let (Some(before), Some(after)) = (before, after) {
            self.rss_kb_per_connection = Some((after.rss_kb - before.rss_kb) / connections.max(1) as f64);
        }
    }

    pub(super) fn caught_up(&mut self, took: Duration) {
        self.catchup_ms = Some(took.as_secs_f64() * 1_000.0);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}, {} loop: {}",
            self.scenario,
            self.mode,
            if self.valid { "valid" } else { "INVALID" }
        )?;
        let number = |f: &mut fmt::Formatter<'_>, name: &str, value: Option<f64>| match value {
            Some(value) => writeln!(f, "  {name:<24}{value:.1}"),
            None => Ok(()),
        };
        number(f, "sends/s", self.sends_per_s)?;
        number(f, "deliveries/s", self.deliveries_per_s)?;
        number(f, "acknowledgements/s", self.acks_per_s)?;
        for (name, latency) in [("accepted", self.acceptance_ms), ("delivered", self.delivery_ms)] {
            if let Some(latency) = latency {
                writeln!(f, "  {name:<24}{latency} (p50 / p99 / p999 / max)")?;
            }
        }
        number(f, "server's cores", self.server_cores)?;
        number(f, "CPU us a send", self.cpu_us_per_send)?;
        number(f, "kB RSS a connection", self.rss_kb_per_connection)?;
        number(f, "caught up in ms", self.catchup_ms)?;
        let Faults { gaps, repeats, inversions, mismatches, missing, errors } = self.check;
        write!(
            f,
            "  checks                  {gaps} gaps, {repeats} repeats, {inversions} inversions, {mismatches} mismatches, \
             {missing} missing, {errors} errors"
        )
    }
}
