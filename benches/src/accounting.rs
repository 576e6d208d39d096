//! What a process has used, asked from outside, so that it works the same for every peer.

use std::fs;
use std::io;

use crate::sys;

/// A process's CPU time so far. The total is exact; `/proc/PID/stat` counts user and system time in ticks of 10 ms, so
/// it only says how the total divides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuTime {
    total_ns: u64,
    user_ticks: u64,
    system_ticks: u64,
}

/// The CPU time between two moments, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CpuUse {
    pub(crate) total: f64,
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl CpuTime {
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let (user_ticks, system_ticks) = ticks(&fs::read_to_string(format!("/proc/{pid}/stat"))?)
            .ok_or_else(|| io::Error::other("/proc/PID/stat is not as expected"))?;
        Ok(Self { total_ns: sys::process_cpu_time(pid)?, user_ticks, system_ticks })
    }

    pub(crate) fn since(self, start: Self) -> CpuUse {
        let total = (self.total_ns - start.total_ns) as f64 / 1e9;
        let user_ticks = self.user_ticks.saturating_sub(start.user_ticks) as f64;
        let system_ticks = self.system_ticks.saturating_sub(start.system_ticks) as f64;
        let user = if user_ticks + system_ticks > 0.0 { total * user_ticks / (user_ticks + system_ticks) } else { 0.0 };
        CpuUse { total, user, system: total - user }
    }
}

/// The process's resident memory in bytes: all of it, and what belongs to no file.
pub(crate) fn resident(pid: u32) -> io::Result<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let all = kilobytes(&status, "VmRSS:").ok_or_else(|| io::Error::other("no VmRSS"))?;
    Ok((all, kilobytes(&status, "RssAnon:").unwrap_or(all)))
}

/// How long these cores have worked, for whomever, in seconds. Counted in ticks of 10 ms.
pub(crate) fn busy_seconds(cores: &[usize]) -> io::Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    Ok(cores.iter().filter_map(|core| busy_ticks(&stat, *core)).sum::<u64>() as f64 / 100.0)
}

/// User, nice, system, interrupts and what the hypervisor took: all but idle and waiting, fields 4 and 5. What runs for
/// guests, fields 9 and 10, is part of user and nice.
fn busy_ticks(stat: &str, core: usize) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix(&format!("cpu{core} ")))?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).filter_map(|field| field.parse().ok()).collect();
    Some(ticks.iter().sum::<u64>() - ticks.get(3)? - ticks.get(4)?)
}

/// utime and stime: fields 14 and 15. The second field, the name, may hold anything, so count from its last parenthesis.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "7 (a ) (b) S 1 7 7 0 -1 4194560 100 0 0 0 31 42 0 0 20 0 1 0";
        assert_eq!(ticks(stat), Some((31, 42)));
    }

    #[test]
    fn a_core_is_busy_but_for_idle_and_waiting() {
        let stat = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu1 1 2 3 100 50 4 5 6 1 1\ncpu10 7 0 0 1 1 0 0 0 0 0\n";
        assert_eq!([1, 10, 2].map(|core| busy_ticks(stat, core)), [Some(21), Some(7), None]);
    }

    #[test]
    fn the_total_divides_as_the_ticks_do() {
        let start = CpuTime { total_ns: 1_000_000_000, user_ticks: 10, system_ticks: 10 };
        let end = CpuTime { total_ns: 3_000_000_000, user_ticks: 60, system_ticks: 160 };
        assert_eq!(end.since(start), CpuUse { total: 2.0, user: 0.5, system: 1.5 });
    }

    #[test]
    fn own_time_and_memory_can_be_read() {
        let start = CpuTime::of(std::process::id()).unwrap();
        assert!(CpuTime::of(std::process::id()).unwrap().since(start).total >= 0.0);
        let (all, anonymous) = resident(std::process::id()).unwrap();
        assert!(all >= anonymous && anonymous > 0);
    }
}
