//! The load generator: a process of its own that asks a server, checks what it answers, and reads the server's use of
//! CPU and memory at the moments between which it counts.

mod broadcast;
mod churn;
mod closed;
mod idle;
mod pattern;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::accounting::{CpuTime, CpuUse, busy_seconds, resident};
use crate::flags::Flags;
use crate::histogram::Histogram;
use crate::sys;

/// Figures by name: what one run of one peer comes to.
pub(crate) type Sample = BTreeMap<String, f64>;

/// What the load is to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) port: u16,
    /// The server, for its accounts.
    pub(crate) pid: u32,
    pub(crate) connections: usize,
    /// Bytes of a request.
    pub(crate) size: usize,
    /// Bytes of its answer.
    pub(crate) answer: usize,
    /// Requests on their way on each connection.
    pub(crate) in_flight: usize,
    /// One thread runs on each.
    pub(crate) cores: Vec<usize>,
    /// Where the server runs.
    pub(crate) server_cores: Vec<usize>,
    pub(crate) warm_up: Duration,
    pub(crate) measure: Duration,
}

/// `load SHAPE --port ...`: prints the sample as JSON.
pub(crate) fn main(shape: &str, flags: &Flags) -> Result<(), Failure> {
    let plan = Plan {
        port: flags.required("port")?,
        pid: flags.required("pid")?,
        connections: flags.required("connections")?,
        size: flags.required("size")?,
        answer: flags.required("answer")?,
        in_flight: flags.required("in-flight")?,
        cores: flags.cores("cores")?,
        server_cores: flags.cores("server-cores")?,
        warm_up: Duration::from_millis(flags.required("warm-up-ms")?),
        measure: Duration::from_millis(flags.required("measure-ms")?),
    };
    let sample = match shape {
        "closed" => closed::run(&plan)?,
        "churn" => churn::run(&plan)?,
        "broadcast" => broadcast::run(&plan)?,
        "idle" => idle::run(&plan)?,
        _ => return Err(format!("no load of the shape {shape:?}").into()),
    };
    println!("{}", serde_json::to_string(&sample)?);
    Ok(())
}

const WARMING_UP: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// What the threads of a load share with the one that keeps the time.
struct Shared {
    phase: AtomicU8,
    ready: AtomicUsize,
    counts: Vec<Count>,
}

/// On a cache line of its own, as each is written by another thread.
#[repr(align(128))]
struct Count(AtomicU64);

/// What one thread of a load uses to say what it has done.
pub(crate) struct Recorder<'a> {
    shared: &'a Shared,
    index: usize,
    is_measuring: bool,
    latencies: Histogram,
}

impl Recorder<'_> {
    /// Says that all connections are there.
    pub(crate) fn ready(&self) {
        self.shared.ready.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether to go on. To be asked before each batch.
    pub(crate) fn goes_on(&mut self) -> bool {
        match self.shared.phase.load(Ordering::Relaxed) {
            WARMING_UP => true,
            MEASURING => {
                if !self.is_measuring {
                    self.is_measuring = true;
                    self.latencies = Histogram::new();
                }
                true
            }
            _ => false,
        }
    }

    /// Counts so many messages that came back, with the latency of one of them.
    pub(crate) fn record(&mut self, messages: u64, latency: Duration) {
        let count = &self.shared.counts[self.index].0;
        // Only this thread writes it.
        count.store(count.load(Ordering::Relaxed) + messages, Ordering::Relaxed);
        self.latencies.record(latency.as_nanos() as u64);
    }
}

/// Runs one thread on each of the plan's cores, and measures while they run. `work` gets the index of its thread.
fn measure(
    plan: &Plan,
    threads: usize,
    work: impl Fn(usize, &mut Recorder<'_>) -> io::Result<()> + Sync,
) -> Result<Sample, Failure> {
    let counts = (0..threads).map(|_| Count(AtomicU64::new(0))).collect();
    let shared = Shared { phase: AtomicU8::new(WARMING_UP), ready: AtomicUsize::new(0), counts };
    let (shared, work) = (&shared, &work);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|index| {
                let core = plan.cores.get(index % plan.cores.len().max(1)).copied();
                scope.spawn(move || {
                    let mut recorder = Recorder { shared, index, is_measuring: false, latencies: Histogram::new() };
                    core.map_or(Ok(()), |core| sys::pin(&[core]))?;
                    match work(index, &mut recorder) {
                        // Another thread may have closed its connections already, which the server may not survive.
                        Err(error) if shared.phase.swap(OVER, Ordering::Relaxed) != OVER => Err(error),
                        _ => Ok(recorder.latencies),
                    }
                })
            })
            .collect();
        let window = keep_time(plan, shared, threads);
        shared.phase.store(OVER, Ordering::Relaxed);
        let mut latencies = Histogram::new();
        for worker in workers {
            latencies.merge(&worker.join().map_err(|_| "a thread of the load has panicked")??);
        }
        Ok(sample(plan, &window?, &latencies))
    })
}

/// What happened between the two moments.
struct Window {
    messages: u64,
    seconds: f64,
    cpu: CpuUse,
    /// What others have taken of the server's cores, in seconds.
    others: f64,
    resident: (u64, u64),
}

fn keep_time(plan: &Plan, shared: &Shared, threads: usize) -> Result<Window, Failure> {
    let patience = Instant::now() + Duration::from_secs(60);
    while shared.ready.load(Ordering::SeqCst) < threads {
        if shared.phase.load(Ordering::Relaxed) == OVER || Instant::now() > patience {
            return Err("the connections did not come about".into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(plan.warm_up);
    let messages = || shared.counts.iter().map(|count| count.0.load(Ordering::Relaxed)).sum::<u64>();
    shared.phase.compare_exchange(WARMING_UP, MEASURING, Ordering::Relaxed, Ordering::Relaxed).ok();
    let busy = busy_seconds(&plan.server_cores)?;
    let (cpu, before, start) = (CpuTime::of(plan.pid)?, messages(), Instant::now());
    thread::sleep(plan.measure);
    let (cpu, after, seconds) = (CpuTime::of(plan.pid)?.since(cpu), messages(), start.elapsed().as_secs_f64());
    let others = (busy_seconds(&plan.server_cores)? - busy - cpu.total).max(0.0);
    if after == before {
        return Err("the server has stopped answering".into());
    }
    Ok(Window { messages: after - before, seconds, cpu, others, resident: resident(plan.pid)? })
}

fn sample(plan: &Plan, window: &Window, latencies: &Histogram) -> Sample {
    let messages = window.messages as f64;
    let bytes = messages * (plan.size + plan.answer) as f64;
    let (p50, p99) = (latencies.quantile(0.5) as f64, latencies.quantile(0.99) as f64);
    let per_message = |seconds: f64| seconds * 1e6 / messages;
    figures([
        ("messages_per_s", messages / window.seconds),
        ("mb_per_s", bytes / 1e6 / window.seconds),
        ("cpu_us", per_message(window.cpu.total)),
        ("user_us", per_message(window.cpu.user)),
        ("system_us", per_message(window.cpu.system)),
        ("cpu_s_per_gb", window.cpu.total / (bytes / 1e9)),
        ("busy_percent", window.cpu.total / window.seconds * 100.0),
        ("others_percent", window.others / window.seconds / plan.server_cores.len().max(1) as f64 * 100.0),
        ("p50_us", p50 / 1e3),
        ("p99_us", p99 / 1e3),
        ("max_us", latencies.quantile(1.0) as f64 / 1e3),
        ("p99_over_p50", p99 / p50),
        ("rss_mib", window.resident.0 as f64 / f64::from(1 << 20)),
    ])
}

pub(crate) fn figures<const N: usize>(figures: [(&str, f64); N]) -> Sample {
    figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Source addresses in turn, so that the ports of one of them do not run out.
pub(crate) fn source(connection: u64) -> Ipv4Addr {
    let [_, _, high, low] = (connection % 60_000 + 256).to_be_bytes()[4..] else { unreachable!("four bytes") };
    Ipv4Addr::new(127, 1, high, low)
}
