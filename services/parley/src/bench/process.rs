//! What a process of this machine has used (Linux: `/proc`).

use anyhow::Context as _;

/// Ticks of the kernel's clock in a second, as `/proc` counts them on every Linux of today.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU and memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// Seconds, user and system.
    pub(super) cpu_s: f64,
    /// Resident memory.
    pub(super) rss_kb: f64,
}

impl Usage {
    /// Of a process.
    pub(super) fn of(pid: u32) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            std::fs::read_to_string(&path).with_context(|| format!("--pid {pid}: {path} can't be read"))
        };
        let usage = parse(&read("stat")?, &read("status")?);
        usage.with_context(|| format!("--pid {pid}: /proc can't be understood"))
    }
}

fn parse(stat: &str, status: &str) -> Option<Usage> {
    // The name, in brackets, may hold anything; 11 fields behind it stand the ticks.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let rss_kb = rss.split_whitespace().next()?.parse().ok()?;
    Some(Usage { cpu_s: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND, rss_kb })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_understood() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 1 1 1 1";
        let usage = parse(stat, "Name:\ta\nVmRSS:\t  2048 kB\n").unwrap();
        assert!((usage.cpu_s - 2.0).abs() < 1e-9 && (usage.rss_kb - 2_048.0).abs() < 1e-9);
        assert!(parse("", "").is_none());
    }
}
